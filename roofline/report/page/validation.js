/* Draw predicted over measured time from the columns in the page: a column of words is {words, codes}, one of figures an array. */

const read = (id) => JSON.parse(document.getElementById(id).textContent);
const cell = (column, i) => (Array.isArray(column) ? column[i] : column.words[column.codes[i]]);
const plain = (value) => String(value).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

/* Break a long line so that a hover box stays on the screen. */
const lines = (text) => plain(text).replace(/(.{70}\S*) /g, "$1<br>   ");

function hover(data, i) {
  return data.hover.map(([label, key]) => [label, cell(data.columns[key], i)])
    .filter(([, value]) => value !== "").map(([label, value]) => `${plain(label)}  ${lines(value)}`).join("<br>");
}

/* Sort the rows of a plot into groups by the words of one column, the largest group first. */
function groups(data, key) {
  const found = new Map();
  data.columns.measured.forEach((_, i) => {
    const name = String(cell(data.columns[key], i));
    if (!found.has(name)) found.set(name, []);
    found.get(name).push(i);
  });
  return [...found].sort((a, b) => b[1].length - a[1].length);
}

function colour(data, name, i) {
  return data.colours && data.colours[name] ? css(data.colours[name]) : COLOURS[i % COLOURS.length];
}

function points(data, [name, rows], i, bars) {
  const pick = (key) => rows.map((row) => data.columns[key][row]);
  const [x, y] = [pick("measured"), pick("predicted")];
  const own = colour(data, name, i);
  const trace = {
    type: "scatter", mode: "markers", name: plain(`${name || "-"} (${rows.length})`), x, y,
    text: rows.map((row) => hover(data, row)), hovertemplate: "%{text}<extra></extra>",
    marker: {
      color: own, size: rows.length > 400 ? 5 : 7, opacity: 0.75, symbol: SYMBOLS[Math.floor(i / COLOURS.length) % SYMBOLS.length],
    },
  };
  if (bars && data.columns.low) {
    const [low, high] = [pick("low"), pick("high")];
    trace.error_y = {
      type: "data", symmetric: false, array: high.map((v, k) => v - y[k]), arrayminus: low.map((v, k) => y[k] - v), thickness: 0.6,
      width: 0, color: own,
    };
  }
  return trace;
}

/* The diagonal, and the band of 20 % to either side of it. */
function guides(ends) {
  const line = (factor, more) => ({
    type: "scatter", mode: "lines", x: ends, y: ends.map((v) => v * factor), hoverinfo: "skip", line: { width: 0 },
    showlegend: false, ...more,
  });
  return [
    line(0.8, {}), line(1.2, { fill: "tonexty", fillcolor: css("--band"), name: "within 20 %", showlegend: true }),
    line(1, { line: { width: 1, color: css("--soft") }, name: "exact", showlegend: true }),
  ];
}

/* The shortest and the longest time of either kind, and some room. */
function range(data) {
  const all = [...data.columns.measured, ...data.columns.predicted].filter((v) => v > 0);
  return [all.reduce((a, b) => Math.min(a, b)) / 2, all.reduce((a, b) => Math.max(a, b)) * 2];
}

function layout(wide) {
  const axis = (title) => ({
    title: { text: title }, type: "log", dtick: wide ? 1 : "D2", gridcolor: css("--line"), linecolor: css("--line"), zeroline: false,
    exponentformat: "none",
  });
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: css("--ink"), family: "system-ui, sans-serif", size: 13 },
    margin: { l: 70, r: 10, t: 35, b: 55 }, hovermode: "closest", xaxis: axis("measured (ms)"), yaxis: axis("predicted (ms)"),
    hoverlabel: { bgcolor: css("--paper"), bordercolor: css("--line"), font: { color: css("--ink") }, align: "left" },
    legend: { traceorder: "normal" }, modebar: { bgcolor: "rgba(0,0,0,0)", color: css("--soft"), activecolor: css("--ink") },
  };
}

function draw(id) {
  const data = read(`${id}-data`), ends = range(data), wide = ends[1] / ends[0] > 3000;
  const key = document.getElementById(`${id}-key`), bars = document.getElementById(`${id}-bars`);
  const show = () => {
    const traces = groups(data, key.value).map((group, i) => points(data, group, i, bars && bars.checked));
    Plotly.react(`${id}-plot`, [...guides(ends), ...traces], layout(wide), OPTIONS);
  };
  for (const control of [key, bars]) if (control) control.addEventListener("change", show);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  show();
}

run(async () => {
  await loadPlotly();
  document.querySelectorAll(".plot").forEach((element) => draw(element.id.replace(/-plot$/, "")));
});

/* Draw the networks of a search: any figure against any other, the front, and the limits. */

const GROUPS = {
  "over a limit": { colour: "--soft", symbol: "x-thin-open", size: 6, opacity: 0.6 },
  feasible: { colour: "--memory", symbol: "circle", size: 7, opacity: 0.55 },
  front: { colour: "--overhead", symbol: "diamond", size: 9, opacity: 1 },
};

function points(data, name, x, y) {
  const look = GROUPS[name], colour = css(look.colour), across = data.values[x], up = data.values[y];
  const rows = data.group.map((group, i) => (group === name ? i : -1)).filter((i) => i >= 0 && across[i] !== null && up[i] !== null);
  if (name === "front") rows.sort((a, b) => across[a] - across[b]);
  const joined = name === "front" && data.joined && x === data.x && y === data.y;
  return {
    type: "scatter", mode: joined ? "lines+markers" : "markers", name: `${name} (${rows.length})`,
    x: rows.map((i) => across[i]), y: rows.map((i) => up[i]), text: rows.map((i) => data.hover[i].split("\n").map(plotText).join("<br>")),
    hovertemplate: "%{text}<extra></extra>", line: { color: colour, width: 1, shape: "hv" },
    marker: { color: colour, symbol: look.symbol, size: look.size, opacity: look.opacity, line: { color: colour, width: 1 } },
  };
}

/* A dashed line, with its name, where a limit lies. */
function limits(data, x, y) {
  const style = { type: "line", line: { color: css("--warn"), dash: "dash", width: 1.5 } };
  const shapes = [], annotations = [], mark = { text: "limit", showarrow: false, font: { color: css("--warn"), size: 11.5 } };
  if (x in data.limits) {
    const at = data.limits[x];
    shapes.push({ ...style, x0: at, x1: at, yref: "paper", y0: 0, y1: 1 });
    annotations.push({ ...mark, x: at, yref: "paper", y: 1, xanchor: "right", yanchor: "top" });
  }
  if (y in data.limits) {
    const at = data.limits[y];
    shapes.push({ ...style, y0: at, y1: at, xref: "paper", x0: 0, x1: 1 });
    annotations.push({ ...mark, y: at, xref: "paper", x: 1, xanchor: "right", yanchor: "bottom" });
  }
  return { shapes, annotations };
}

function draw(data) {
  const [x, y] = [byId("x-axis").value, byId("y-axis").value];
  const title = (column) => plotText(data.axes.find((a) => a.column === column).title);
  const names = Object.keys(GROUPS).filter((name) => data.group.includes(name));
  const straight = { rangemode: "tozero", exponentformat: "none" };
  plot("search-plot", names.map((name) => points(data, name, x, y)),
    base({ ...limits(data, x, y), xaxis: axis(title(x), straight), yaxis: axis(title(y), straight) }));
}

run(async () => {
  if (!byId("search-data")) return;
  await loadPlotly();
  const data = JSON.parse(byId("search-data").textContent);
  [byId("x-axis").value, byId("y-axis").value] = [data.x, data.y];
  for (const id of ["x-axis", "y-axis"]) byId(id).addEventListener("change", () => draw(data));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw(data));
  draw(data);
  document.body.dataset.ready = "yes";
});

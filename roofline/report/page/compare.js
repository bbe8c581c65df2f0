/* Several predictions side by side: one roofline, where the time goes, and why fewer MACs are not always faster. */

let views = [];

const colourOf = (i) => COLOURS[i % COLOURS.length];
const symbolOf = (i) => SYMBOLS[i % SYMBOLS.length];
const labelOf = (view) => printable(view.label);

/* A ratio to the first: what is twice as long is 2.00. */
const ratio = (value, first) => (first > 0 && Number.isFinite(value / first) ? `\u00d7${significant(value / first, 3)}` : "");

function drawDifferences() {
  const bytes = (v) => scaled(v, "B"),
    first = views[0];
  const figures = [
    ["latency", (v) => v.totals.latency_seconds, seconds],
    ["items/s", (v) => v.totals.throughput_items_per_second, (x) => significant(x)],
    ["limit", (v) => v.totals.lower_bound_seconds, seconds],
    ["MACs", (v) => v.totals.macs, (x) => scaled(x, "")],
    ["bytes", (v) => v.totals.bytes, bytes],
    ["FLOP/B", (v) => v.totals.flops / v.totals.bytes, (x) => significant(x, 2)],
    ["kernels", (v) => v.kernels.length, String],
    ["memory", (v) => v.totals.peak_memory_bytes, bytes],
  ];
  const share = (v, bound) => v.totals.seconds_by_bound[v.bounds.indexOf(bound)] / v.totals.latency_seconds;
  const head = ["", ...figures.map(([name]) => name), ...PARTS.map((bound) => `${bound}-bound`)].map((name) =>
    make("th", { scope: "col" }, name),
  );
  const rows = views.map((v) =>
    make(
      "tr",
      {},
      make("th", { scope: "row", title: labelOf(v) }, shorten(v.label, 40)),
      ...figures.map(([, get, write]) => make("td", {}, write(get(v)), make("small", {}, v === first ? "" : ratio(get(v), get(first))))),
      ...PARTS.map((bound) => make("td", {}, percent(share(v, bound)))),
    ),
  );
  byId("differences-table").replaceChildren(
    make("table", { class: "differences" }, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows)),
  );
}

const counted = ([view, n]) => `${n} ${n === 1 ? "kernel" : "kernels"} of ${shorten(view.label, 40)}`;

/* The devices of all subjects, each with the roofs that any subject on it uses. */
function devices() {
  const found = new Map();
  for (const view of views) {
    const held = found.get(view.device.id) || { device: view.device, used: { engines: [], memory: [] } };
    for (const sort of ["engines", "memory"]) held.used[sort] = [...new Set([...held.used[sort], ...view.cell.roofs[sort]])];
    found.set(view.device.id, held);
  }
  return [...found.values()];
}

function drawSubjects() {
  const shown = views.map((view) => view.kernels.filter((k) => k.flops > 0 && k.bytes > 0)),
    all = devices(),
    areas = all.map((d) => extent(shown.flat(), d.device, d.used));
  const area = {
    x: [smallest(areas.map((a) => a.x[0])), largest(areas.map((a) => a.x[1]))],
    y: [smallest(areas.map((a) => a.y[0])), largest(areas.map((a) => a.y[1]))],
  };
  const many = all.length > 1,
    most = largest(shown.flat().map((k) => k.seconds)),
    styles = ["solid", "dashdot", "dot"];
  const lines = all.flatMap(({ device, used }, d) =>
    roofTraces(device, used, area.x)
      .filter((t) => t.visible === true && !(many && t.line.dash === "dash"))
      .map((t) => ({
        ...t,
        name: many ? `${device.id} ${t.name}` : t.name,
        legendgroup: `${device.id} ${t.legendgroup}`,
        line: many ? { ...t.line, dash: styles[d % 3] } : t.line,
      })),
  );
  const points = views.map((view, i) => {
    const members = [...shown[i]].sort((a, b) => b.seconds - a.seconds);
    return {
      type: "scatter",
      mode: "markers",
      name: plotText(shorten(view.label, 40)),
      x: members.map((k) => k.intensity),
      y: members.map((k) => k.achieved),
      hovertext: members.map((k) => `${plotText(shorten(view.label, 60))}<br>${hover(k, view)}`),
      hoverinfo: "text",
      marker: {
        size: members.map((k) => dot(k, most)),
        color: colourOf(i),
        symbol: symbolOf(i),
        opacity: 0.65,
        line: { width: 0.8, color: css("--paper") },
      },
    };
  });
  const log = (title, range) => axis(title, { type: "log", range: range.map(Math.log10), exponentformat: "power", dtick: 1 });
  const labels = many ? [] : roofLabels(all[0].device, all[0].used, area.x),
    element = byId("roofline-plot");
  plot(
    "roofline-plot",
    [...lines, ...points],
    base({ xaxis: log("arithmetic intensity (FLOP/B)", area.x), yaxis: log("achieved (FLOP/s)", area.y) }),
  );
  const settle = () => Plotly.relayout(element, { annotations: laid(labels, element) });
  element.removeAllListeners("plotly_relayout");
  settle();
  element.on("plotly_relayout", (change) => Object.keys(change).some((name) => /^[xy]axis|autosize|width/.test(name)) && settle());
  const absent = views.map((view, i) => [view, view.kernels.length - shown[i].length]).filter(([, n]) => n);
  byId("roofline-absent").textContent = absent.length ? `Without FLOPs, and so not shown: ${absent.map(counted).join(", ")}.` : "";
}

function drawBars() {
  const share = State.now.bars === "share",
    kinds = grouped(
      views.flatMap((v) => v.kernels),
      (k) => k.kind,
    ).map((g) => g.name),
    order = views.map((_, i) => i);
  const totals = views.map((v) => grouped(v.kernels, (k) => k.kind)),
    unit = (v) => (share ? 100 / v.totals.latency_seconds : 1e3);
  const kept = kinds.slice(0, COLOURS.length - 1),
    rest = new Set(kinds.slice(COLOURS.length - 1));
  const traces = [...kept, ...(rest.size ? ["others"] : [])].map((kind, i) => {
    const time = order.map((v) =>
      sum(totals[v].filter((g) => (kind === "others" ? rest.has(g.name) : g.name === kind)).map((g) => g.seconds)),
    );
    return {
      type: "bar",
      orientation: "h",
      name: kind,
      y: order,
      x: time.map((t, j) => t * unit(views[j])),
      marker: { color: colourOf(i), line: { width: 0.6, color: css("--paper") } },
      hovertext: time.map((t, j) =>
        [`<b>${plotText(shorten(views[j].label, 60))}</b>`, `${kind}  ${seconds(t)}, ${percent(t / views[j].totals.latency_seconds)}`].join(
          "<br>",
        ),
      ),
      hoverinfo: "text",
    };
  });
  const layout = base({
    barmode: "stack",
    height: 150 + views.length * 42 + (narrow() ? 120 : 0),
    legend: { orientation: "h", y: -60 / (60 + views.length * 42), yanchor: "top", x: 0, traceorder: "normal" },
    xaxis: axis(share ? "share of the time (%)" : "time (ms)", { rangemode: "tozero", exponentformat: "none" }),
    yaxis: axis("", {
      autorange: "reversed",
      tickvals: order,
      ticktext: order.map((v) => plotText(shorten(views[v].label, narrow() ? 16 : 34))),
      showgrid: false,
    }),
  });
  plot("bars-plot", traces, layout);
}

/* Lines along which FLOP/s are equal, one a decade, where they cross the plot. */
function equalRates(x, y) {
  const [low, high] = [Math.floor(Math.log10((2 * x[0]) / y[1])), Math.ceil(Math.log10((2 * x[1]) / y[0]))];
  const rates = Array.from({ length: Math.max(high - low + 1, 0) }, (_, i) => 10 ** (low + i));
  const at = (rate) => Math.min(x[1], (rate * y[1]) / 2),
    inside = rates.filter((rate) => (2 * at(rate)) / rate > y[0]);
  return {
    traces: inside.map((rate) => ({
      type: "scatter",
      mode: "lines",
      x,
      y: x.map((macs) => ((2 * macs) / rate) * 1e3),
      line: { width: 1, color: css("--line") },
      hoverinfo: "skip",
      showlegend: false,
    })),
    labels: inside.map((rate) => ({
      x: Math.log10(at(rate)),
      y: Math.log10(((2 * at(rate)) / rate) * 1e3),
      text: scaled(rate, "FLOP/s"),
      showarrow: false,
      font: { size: 10.5, color: css("--soft") },
      bgcolor: css("--paper"),
      xanchor: "right",
      yanchor: "bottom",
    })),
  };
}

function drawScatter() {
  const macs = views.map((v) => v.totals.macs),
    time = views.map((v) => v.totals.latency_seconds),
    room = (values, by) => [smallest(values) / by, largest(values) * by];
  const usable = macs.every((m) => m > 0);
  byId("scatter").hidden = !usable;
  if (!usable) return;
  const x = room(macs, 2.5),
    y = room(time, 3),
    guides = equalRates(x, y);
  const points = views.map((view, i) => ({
    type: "scatter",
    mode: "markers",
    name: plotText(shorten(view.label, 40)),
    x: [macs[i]],
    y: [time[i] * 1e3],
    marker: { size: 13, color: colourOf(i), symbol: symbolOf(i) },
    error_y: {
      type: "data",
      symmetric: false,
      array: [(view.totals.high_seconds - time[i]) * 1e3],
      arrayminus: [(time[i] - view.totals.low_seconds) * 1e3],
      thickness: 1.2,
      width: 4,
      color: colourOf(i),
    },
    hovertext: [
      [
        `<b>${plotText(shorten(view.label, 60))}</b>`,
        `${scaled(macs[i], "MACs")} in ${seconds(time[i])}`,
        `80 % between ${seconds(view.totals.low_seconds)} and ${seconds(view.totals.high_seconds)}`,
        scaled(view.totals.flops / time[i], "FLOP/s"),
        `mostly ${view.totals.bound}-bound`,
      ].join("<br>"),
    ],
    hoverinfo: "text",
  }));
  const layout = base({
    annotations: guides.labels,
    xaxis: axis("work (MACs)", { type: "log", range: x.map(Math.log10), dtick: "D2", exponentformat: "SI" }),
    yaxis: axis("latency (ms)", { type: "log", range: y.map((s) => Math.log10(s * 1e3)), dtick: "D2", exponentformat: "none" }),
  });
  plot("scatter-plot", [...guides.traces, ...points], layout);
  byId("scatter-text").textContent = paradox(macs, time);
}

/* The pair that shows best that fewer MACs need not be faster. */
function paradox(macs, time) {
  let best = null;
  macs.forEach((m, i) =>
    macs.forEach((n, j) => {
      if (!(m < n && time[i] > time[j])) return;
      const strength = (n / m) * (time[i] / time[j]);
      if (!best || strength > best.strength) best = { i, j, strength };
    }),
  );
  if (macs.every((m) => m === macs[0])) return "All do the same work.";
  if (!best) return "Here fewer MACs are never slower.";
  const { i, j } = best,
    name = (k) => shorten(views[k].label, 40);
  const [fewer, longer] = [significant(macs[j] / macs[i], 2), significant(time[i] / time[j], 3)];
  return `${name(i)} has ${fewer} times fewer MACs than ${name(j)} and takes ${longer} times as long.`;
}

const VIEWS = {
  differences: drawDifferences,
  roofline: drawSubjects,
  "kinds-of-op": () => {
    drawBarsSwitch();
    drawBars();
  },
  scatter: drawScatter,
};

const drawBarsSwitch = () =>
  byId("bars-switches").replaceChildren(
    drawSwitch("compare", "bars", "in", [
      ["time", "time"],
      ["share", "shares of the time"],
    ]),
  );

function redraw(changed) {
  if (changed.has("theme")) applyTheme();
  Lazy.stale(changed.has("theme") ? undefined : ["kinds-of-op"]);
}

async function start() {
  const book = unpack(await inflate("book"));
  State.start(book, (changed) => keepingFocus(() => redraw(changed)));
  applyTheme();
  byId("theme").addEventListener("click", nextTheme);
  views = book.subjects.map((s) => ({
    label: s.label,
    ...of(book, s.program, s.cell, 0, { choice: s.choice, model: { name: s.name, params: s.params }, device: s.device }),
  }));
  for (const id of Object.keys(VIEWS)) byId(id).hidden = false;
  await loadPlotly();
  for (const [id, draw] of Object.entries(VIEWS)) Lazy.add(id, draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => Lazy.stale());
  matchMedia("(max-width: 699px)").addEventListener("change", () => Lazy.stale());
  addEventListener("beforeprint", () => Lazy.all());
  document.documentElement.dataset.ready = "yes";
}

run(start);

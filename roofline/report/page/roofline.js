/* The roofline plot: every kernel with FLOPs by intensity and rate, under the roofs of the device. */

/* Groups that a plot colours, the slowest first, each with its colour and symbol. */
function coloured(kernels, by) {
  return grouped(kernels, (k) => k[by]).map((group, i) => ({
    ...group,
    symbol: by === "bound" ? SYMBOLS[PARTS.indexOf(group.name)] : SYMBOLS[i % SYMBOLS.length],
    colour: by === "bound" ? css(`--${group.name}`) : COLOURS[i % COLOURS.length],
  }));
}

/* The part of the plane that holds the points and the ridges above them. */
function extent(kernels, device, used) {
  const rates = kernels.flatMap((k) => [k.achieved, ...(k.measured ? [k.flops / k.measured] : [])]);
  const all = roofs(device, used).filter((r) => r.used);
  const engine = largest(all.filter((r) => r.sort === "engine").map((r) => r.peak)),
    dram = all.find((r) => r.sort === "memory");
  const x = kernels.map((k) => k.intensity),
    ridge = dram ? engine / dram.ceiling : 1;
  return {
    x: [smallest([...x, ridge / 30]) / 2.5, largest([...x, ridge]) * 6],
    y: [smallest([...rates, engine / 1e3]) / 2.5, engine * 2.2],
  };
}

const dot = (k, most) => 5 + 23 * Math.sqrt(k.seconds / most);

function pointTraces(view, by) {
  const most = largest(view.kernels.map((k) => k.seconds));
  const shown = view.kernels.filter((k) => k.flops > 0 && k.bytes > 0);
  return coloured(shown, by).map((group) => {
    const members = [...group.members].sort((a, b) => b.seconds - a.seconds);
    return {
      type: "scatter",
      mode: "markers",
      name: `${group.name} (${group.n})`,
      x: members.map((k) => k.intensity),
      y: members.map((k) => k.achieved),
      hovertext: members.map((k) => hover(k, view)),
      hoverinfo: "text",
      customdata: members.map((k) => k.index),
      marker: {
        size: members.map((k) => dot(k, most)),
        color: group.colour,
        symbol: group.symbol,
        opacity: 0.7,
        line: { width: 0.8, color: css("--paper") },
      },
    };
  });
}

/* Hollow markers where measured times put the kernels that were timed one by one. */
function measuredTraces(view) {
  const timed = view.kernels.filter((k) => k.measured > 0 && k.flops > 0 && k.bytes > 0);
  if (!timed.length) return [];
  return [
    {
      type: "scatter",
      mode: "markers",
      name: `measured (${timed.length})`,
      x: timed.map((k) => k.intensity),
      y: timed.map((k) => k.flops / k.measured),
      hovertext: timed.map((k) => hover(k, view)),
      hoverinfo: "text",
      customdata: timed.map((k) => k.index),
      marker: { size: 8, symbol: "circle-open", color: css("--ink"), line: { width: 1.2 } },
    },
  ];
}

function chosenTrace(view) {
  const k = selected(view),
    on = k && k.flops > 0 && k.bytes > 0;
  return {
    type: "scatter",
    mode: "markers",
    x: on ? [k.intensity] : [],
    y: on ? [k.achieved] : [],
    hoverinfo: "skip",
    showlegend: false,
    name: "selected",
    marker: {
      size: on ? dot(k, largest(view.kernels.map((o) => o.seconds))) + 8 : 0,
      symbol: "circle-open",
      color: css("--ink"),
      line: { width: 3 },
    },
  };
}

function drawRoofline(view) {
  const shown = view.kernels.filter((k) => k.flops > 0 && k.bytes > 0),
    used = view.cell.roofs,
    area = extent(shown, view.device, used);
  const traces = [
    ...roofTraces(view.device, used, area.x),
    ...pointTraces(view, State.now.colour),
    ...measuredTraces(view),
    chosenTrace(view),
  ];
  const labels = roofLabels(view.device, used, area.x),
    element = byId("roofline-plot");
  const log = (title, range) => axis(title, { type: "log", range: range.map(Math.log10), exponentformat: "power", dtick: 1 });
  const layout = base({
    xaxis: log("arithmetic intensity (FLOP/B)", area.x),
    yaxis: log("achieved (FLOP/s)", area.y),
    uirevision: JSON.stringify(view.choice),
  });
  plot("roofline-plot", traces, layout, (point) => point.customdata !== undefined && choose(view.kernels[point.customdata]));
  const settle = () => Plotly.relayout(element, { annotations: laid(labels, element, area.x, area.y[0]) });
  element.removeAllListeners("plotly_relayout");
  settle();
  element.on("plotly_relayout", (change) => Object.keys(change).some((name) => /^[xy]axis|autosize|width/.test(name)) && settle());
  const absent = view.kernels.filter((k) => !(k.flops > 0 && k.bytes > 0));
  byId("roofline-absent").textContent = absent.length
    ? `${absent.length} of ${view.kernels.length} kernels ${absent.length === 1 ? "has" : "have"} no FLOPs and cannot stand here: ${seconds(sum(absent.map((k) => k.seconds)))}, ` +
      `${percent(sum(absent.map((k) => k.share)))} of the time (${grouped(absent, (k) => k.kind)
        .slice(0, 4)
        .map((g) => `${g.kind ?? g.name}`)
        .join(", ")}).`
    : `All ${view.kernels.length} kernels have FLOPs and stand here.`;
}

/* Beside the plot: where the time goes by kind of op. */
function drawKinds(view) {
  const rows = grouped(view.kernels, (k) => k.kind).map((g) =>
    make(
      "tr",
      {},
      make("td", {}, g.name),
      make("td", {}, String(g.n)),
      make("td", {}, seconds(g.seconds)),
      make("td", {}, percent(g.seconds / view.totals.latency_seconds)),
      make("td", {}, g.bytes ? significant(g.flops / g.bytes, 2) : "-"),
      make("td", { class: "text" }, dotted(boundOf(g))),
    ),
  );
  const head = ["kind of op", "n", "time", "share", "FLOP/B", "bound"].map((name) =>
    make("th", name === "bound" ? { class: "text", scope: "col" } : { scope: "col" }, name),
  );
  byId("kinds").replaceChildren(make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows)));
}

const dotted = (bound) => make("span", { class: "bound" }, make("span", { class: "dot", style: `background:var(--${bound})` }), bound);

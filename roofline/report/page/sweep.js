/* Latency and throughput over the batch size, with the interval, the changes of bound, and where memory ends. */

function drawSweep(view) {
  const s = view.cell.sweep,
    batches = view.book.sweep,
    device = view.device,
    rate = (t) => t.map((v, i) => batches[i] / v);
  const full = s.peak_memory_bytes.findIndex((size) => size > device.memory_bytes),
    ms = (t) => t.map((v) => v * 1e3);
  const room = scaled(device.memory_bytes, "B");
  const told = batches.map((b, i) =>
    [
      `<b>batch ${b}</b>`,
      `latency ${seconds(s.latency_seconds[i])} (80 % between ${seconds(s.low_seconds[i])} and ${seconds(s.high_seconds[i])})`,
      `throughput ${significant(b / s.latency_seconds[i])} items/s`,
      `limit ${seconds(s.lower_bound_seconds[i])}`,
      `memory ${scaled(s.peak_memory_bytes[i], "B")} of ${room}`,
      `mostly ${view.bounds[s.bound[i]]}-bound`,
    ].join("<br>"),
  );
  const panel = (axes, values, low, high, limit) => [
    { ...axes, x: batches, y: low, mode: "lines", line: { width: 0 }, hoverinfo: "skip", showlegend: false },
    {
      ...axes,
      x: batches,
      y: high,
      mode: "lines",
      line: { width: 0 },
      fill: "tonexty",
      fillcolor: css("--band"),
      hoverinfo: "skip",
      name: "80 % of measurements",
      showlegend: axes.xaxis === "x",
    },
    {
      ...axes,
      x: batches,
      y: limit,
      mode: "lines",
      line: { width: 1, dash: "dash", color: css("--soft") },
      hoverinfo: "skip",
      name: "datasheet limit",
      showlegend: axes.xaxis === "x",
    },
    { ...axes, x: batches, y: values, mode: "lines", line: { width: 1.2, color: css("--ink") }, hoverinfo: "skip", showlegend: false },
    ...PARTS.filter((bound) => s.bound.some((b) => view.bounds[b] === bound)).map((bound) => {
      const at = batches.map((_, i) => i).filter((i) => view.bounds[s.bound[i]] === bound);
      return {
        ...axes,
        x: at.map((i) => batches[i]),
        y: at.map((i) => values[i]),
        mode: "markers",
        name: `${bound}-bound`,
        showlegend: axes.xaxis === "x",
        hovertext: at.map((i) => told[i]),
        hoverinfo: "text",
        customdata: at.map((i) => batches[i]),
        legendgroup: bound,
        marker: {
          size: at.map((i) => (batches[i] === view.choice.batch ? 14 : 9)),
          color: css(`--${bound}`),
          symbol: SYMBOLS[PARTS.indexOf(bound)],
          line: { width: at.map((i) => (batches[i] === view.choice.batch ? 2.5 : 0)), color: css("--ink") },
        },
      };
    }),
  ];
  const traces = [
    ...panel(
      { type: "scatter", xaxis: "x", yaxis: "y" },
      ms(s.latency_seconds),
      ms(s.low_seconds),
      ms(s.high_seconds),
      ms(s.lower_bound_seconds),
    ),
    ...panel(
      { type: "scatter", xaxis: "x2", yaxis: "y2" },
      rate(s.latency_seconds),
      rate(s.high_seconds),
      rate(s.low_seconds),
      rate(s.lower_bound_seconds),
    ),
  ];
  const end = Math.log2(batches.at(-1)),
    beyond = full < 0 ? null : full ? (Math.log2(batches[full]) + Math.log2(batches[full - 1])) / 2 : -0.5;
  const shapes =
    beyond === null
      ? []
      : ["x", "x2"].map((x) => ({
          type: "rect",
          xref: x,
          yref: `${x.replace("x", "y")} domain`,
          x0: 2 ** beyond,
          x1: 2 ** (end + 0.4),
          y0: 0,
          y1: 1,
          line: { width: 0 },
          fillcolor: css("--band"),
          layer: "below",
        }));
  const stacked = narrow(),
    batch = {
      type: "log",
      tickvals: batches.filter((b) => Number.isInteger(Math.log2(b)) && (!stacked || Math.log2(b) % 2 === 0)),
      exponentformat: "none",
    };
  const range = [Math.log10(batches[0]) - 0.1, Math.log10(batches.at(-1)) + 0.1];
  const log = { type: "log", exponentformat: "SI", dtick: "D2" };
  const layout = base({
    shapes,
    xaxis: axis("batch size", { ...batch, range, domain: stacked ? [0, 1] : [0, 0.45] }),
    yaxis: axis("latency (ms)", { ...log, domain: stacked ? [0.58, 1] : [0, 1] }),
    xaxis2: axis("batch size", { ...batch, range, domain: stacked ? [0, 1] : [0.55, 1], anchor: "y2" }),
    yaxis2: axis("throughput (items/s)", { ...log, domain: stacked ? [0, 0.42] : [0, 1], anchor: "x2" }),
    legend: { orientation: "h", y: stacked ? -0.12 : -0.22, yanchor: "top", x: 0 },
  });
  plot("sweep-plot", traces, layout, (point) => {
    if (view.book.axes.batch.includes(point.customdata)) State.set({ batch: point.customdata });
  });
  const limit =
    full < 0
      ? `Every batch up to ${batches.at(-1)} fits in the ${room} of this device.`
      : `From batch ${batches[full]} on, ${scaled(s.peak_memory_bytes[full], "B")} do not fit in the ${room} of this device (grey).`;
  const turns = batches
    .slice(1)
    .map((b, i) => [b, view.bounds[s.bound[i]], view.bounds[s.bound[i + 1]]])
    .filter(([, a, b]) => a !== b);
  const changes = turns.map(([b, from, to]) => `from ${from} to ${to} at batch ${b}`).join(", ");
  const fixedBatch = batches.length === 1 ? "This network is fixed at one batch size. " : "";
  byId("sweep-text").textContent =
    `${fixedBatch}${limit} ${changes ? `What binds changes ${changes}.` : `It is ${view.bounds[s.bound[0]]}-bound throughout.`}`;
}

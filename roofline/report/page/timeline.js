/* Time by kernel in the order in which they run, in parts that add up, and the share reached so far. */

function drawTimeline(view) {
  const x = view.kernels.map((k) => k.index + 1),
    scale = view.totals.latency_seconds < 0.02 ? ["us", 1e6] : ["ms", 1e3];
  const texts = view.kernels.map((k) => hover(k, view)),
    ids = view.kernels.map((k) => k.index);
  const bars = PARTS.map((part, i) => ({
    type: "bar",
    name: part,
    x,
    y: view.kernels.map((k) => k.split[i] * scale[1]),
    marker: { color: css(`--${part}`), line: { width: 0 } },
    hovertext: texts,
    hoverinfo: "text",
    customdata: ids,
    width: 1,
  }));
  const share = {
    type: "scatter",
    mode: "lines",
    name: "share of the time so far",
    x,
    y: view.kernels.map((k) => 100 * k.cumulative),
    yaxis: "y2",
    hoverinfo: "skip",
    line: { color: css("--ink"), width: 1.4, shape: "hv" },
  };
  const timed = view.kernels.filter((k) => k.measured > 0);
  const measured = timed.length
    ? [
        {
          type: "scatter",
          mode: "markers",
          name: "measured",
          x: timed.map((k) => k.index + 1),
          y: timed.map((k) => k.measured * scale[1]),
          hovertext: timed.map((k) => hover(k, view)),
          hoverinfo: "text",
          customdata: timed.map((k) => k.index),
          marker: { symbol: "line-ew-open", size: 7, color: css("--ink"), line: { width: 1.5 } },
        },
      ]
    : [];
  const k = selected(view);
  const layout = base({
    barmode: "stack",
    bargap: 0,
    uirevision: JSON.stringify(view.choice),
    xaxis: axis("kernel, in the order in which they run", { showgrid: false, range: [0.5, x.length + 0.5], tickformat: "d" }),
    yaxis: axis(`time (${scale[0]})`, { rangemode: "tozero", exponentformat: "none" }),
    yaxis2: axis("share so far (%)", {
      tickvals: [0, 25, 50, 75, 100],
      overlaying: "y",
      side: "right",
      range: [0, 101],
      showgrid: false,
      exponentformat: "none",
    }),
    shapes: k
      ? [
          {
            type: "rect",
            xref: "x",
            yref: "paper",
            x0: k.index + 0.5,
            x1: k.index + 1.5,
            y0: 0,
            y1: 1,
            line: { color: css("--ink"), width: 1 },
            fillcolor: css("--band"),
          },
        ]
      : [],
    legend: { orientation: "h", y: -0.2, yanchor: "top", x: 0, traceorder: "normal" },
  });
  plot(
    "timeline-plot",
    [...bars, ...measured, share],
    layout,
    (point) => point.customdata !== undefined && choose(view.kernels[point.customdata]),
  );
}

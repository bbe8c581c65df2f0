/* The roofs of a device as lines over intensity: what engines and memory levels allow, achieved and on paper. */

/* Each roof with its rate, whether kernels of this choice use it, and its name. */
function roofs(device, used) {
  const engines = device.engines.map((e, i) => ({
    sort: "engine",
    name: `${e.dtype} ${e.kind}`,
    peak: e.peak_flops_per_second,
    ceiling: e.ceiling_flops_per_second,
    used: used.engines.includes(i),
    unit: e.dtype.startsWith("int") ? "OP/s" : "FLOP/s",
  }));
  const levels = device.memory.map((m, i) => ({
    sort: "memory",
    name: m.name,
    peak: m.peak_bytes_per_second,
    ceiling: m.copy_bytes_per_second,
    used: used.memory.includes(i),
    unit: "B/s",
  }));
  return [...levels, ...engines];
}

/* Where a roof is drawn: memory up to the highest engine, engines from the steepest memory on. */
function line(roof, rate, tops, range) {
  const [left, right] = range;
  if (roof.sort === "memory")
    return { x: [left, Math.max(tops.engine / rate, left * 10)], y: [left * rate, Math.max(tops.engine, left * 10 * rate)] };
  const from = Math.min(Math.max(rate / tops.memory, left), right / 4);
  return { x: [from, right], y: [rate, rate] };
}

function roofTraces(device, used, range) {
  const all = roofs(device, used),
    top = (sort, rate) => largest(all.filter((r) => r.sort === sort && r.used).map((r) => r[rate]));
  const colour = css("--ink"),
    pale = css("--soft");
  return all.flatMap((roof) =>
    [
      ["ceiling", "solid"],
      ["peak", "dash"],
    ].map(([rate, dash]) => ({
      type: "scatter",
      mode: "lines",
      ...line(roof, roof[rate], { engine: top("engine", rate), memory: top("memory", rate) }, range),
      name: `${roof.name} ${scaled(roof.ceiling, roof.unit)}`,
      legendrank: 2000,
      line: { color: rate === "ceiling" ? colour : pale, width: rate === "ceiling" ? 1.4 : 1, dash },
      hoverinfo: "skip",
      visible: roof.used || "legendonly",
      legendgroup: `roof ${roof.sort} ${roof.name}`,
      showlegend: rate === "ceiling" && (roof.used || !narrow()),
    })),
  );
}

/* Names at the roofs that are used: engines at the right end, memory along the slope. */
function roofLabels(device, used, range) {
  const labels = [],
    placed = [];
  const tall = [...roofs(device, used)].filter((r) => r.used && r.sort === "engine").sort((a, b) => b.ceiling - a.ceiling);
  for (const roof of tall) {
    const beside = placed.filter((y) => Math.abs(Math.log10(y / roof.ceiling)) < 0.06).length;
    placed.push(roof.ceiling);
    labels.push({
      x: Math.log10(range[1]),
      y: Math.log10(roof.ceiling),
      xanchor: "right",
      yanchor: beside ? "top" : "bottom",
      showarrow: false,
      text: `${roof.name} ${scaled(roof.ceiling, roof.unit)}`,
      font: { size: 11 },
      bgcolor: css("--paper"),
      opacity: 0.9,
      borderpad: 1,
    });
  }
  for (const roof of roofs(device, used).filter((r) => r.used && r.sort === "memory")) {
    labels.push({
      x: 0,
      y: 0,
      rate: roof.ceiling,
      text: `${roof.name} ${scaled(roof.ceiling, roof.unit)}`,
      showarrow: false,
      font: { size: 11 },
      bgcolor: css("--paper"),
      opacity: 0.85,
      borderpad: 0,
    });
  }
  return labels;
}

/* Lay the names of memory levels along their lines: the angle depends on the plot's size and zoom. */
function laid(labels, element, range, lowest) {
  const box = element.getBoundingClientRect(),
    layout = element._fullLayout;
  const x = layout ? layout.xaxis.range : [0, 1],
    y = layout ? layout.yaxis.range : [0, 1];
  const wide = layout ? layout._size.w : box.width,
    high = layout ? layout._size.h : box.height;
  const slope = high / (y[1] - y[0]) / (wide / (x[1] - x[0])),
    angle = (-Math.atan(slope) * 180) / Math.PI;
  return labels.map(({ rate, ...label }) => {
    if (!rate) return label;
    const start = Math.max(x[0], y[0] - Math.log10(rate)),
      at = start + (x[1] - x[0]) * (narrow() ? 0.16 : 0.1);
    const lift = (9 / high) * (y[1] - y[0]) * Math.sqrt(1 + slope * slope);
    return { ...label, x: at, y: at + Math.log10(rate) + lift, textangle: angle };
  });
}

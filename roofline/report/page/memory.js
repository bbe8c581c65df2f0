/* What lies in memory while the network runs, and who holds the peak. */

function drawMemory(view) {
  const weights = view.program.weight_bytes,
    x = view.kernels.map((k) => k.index + 1),
    k = selected(view),
    device = view.device.memory_bytes;
  const top = weights + largest(view.kernels.map((o) => o.live)),
    peak = view.peak,
    at = view.kernels.find((o) => o.at === peak.kernel);
  const [unit, scale] = top > 2e9 ? ["GB", 1e-9] : top > 2e6 ? ["MB", 1e-6] : ["kB", 1e-3];
  const area = (name, y, colour, more = {}) => ({
    type: "scatter",
    mode: "lines",
    name,
    x,
    y,
    stackgroup: "one",
    line: { width: 0.8, color: colour, shape: "hvh" },
    fillcolor: colour,
    hoverinfo: "skip",
    ...more,
  });
  const told = view.kernels.map(
    (o) =>
      `<b>${plotText(shorten(o.layer, 60))}</b><br>${scaled(weights + o.live, "B")} in memory: ` +
      `${scaled(weights, "B")} weights, ${scaled(o.live, "B")} activations`,
  );
  const show = State.now.device_memory === "1" || device < 3 * top;
  const traces = [
    area(
      "weights",
      x.map(() => weights * scale),
      css("--line"),
    ),
    area(
      "activations",
      view.kernels.map((o) => o.live * scale),
      css("--memory"),
      { hoverinfo: "text", hovertext: told, customdata: view.kernels.map((o) => o.index) },
    ),
  ];
  const line = {
    type: "line",
    xref: "paper",
    x0: 0,
    x1: 1,
    yref: "y",
    y0: device * scale,
    y1: device * scale,
    line: { color: css("--warn"), width: 1.6, dash: "dash" },
  };
  const notes = show
    ? [
        {
          xref: "paper",
          x: 0,
          xanchor: "left",
          y: device * scale,
          yanchor: "bottom",
          showarrow: false,
          text: `memory of the device ${scaled(device, "B")}`,
          font: { color: css("--warn") },
        },
      ]
    : [];
  if (at)
    notes.push({
      x: at.index + 1,
      y: (weights + at.live) * scale,
      text: `peak ${scaled(weights + at.live, "B")}`,
      arrowhead: 0,
      ax: at.index > x.length / 2 ? -40 : 40,
      ay: -22,
    });
  const layout = base({
    uirevision: JSON.stringify(view.choice) + show,
    annotations: notes,
    shapes: [
      ...(show ? [line] : []),
      ...(k
        ? [{ type: "line", yref: "paper", y0: 0, y1: 1, x0: k.index + 1, x1: k.index + 1, line: { color: css("--ink"), width: 1 } }]
        : []),
    ],
    xaxis: axis("kernel, in the order in which they run", { showgrid: false, range: [0.5, x.length + 0.5], tickformat: "d" }),
    yaxis: axis(`memory (${unit})`, { range: [0, (show ? Math.max(device, top) : top) * scale * 1.15], exponentformat: "none" }),
  });
  plot("memory-plot", traces, layout, (point) => point.customdata !== undefined && choose(view.kernels[point.customdata]));
  byId("memory-text").textContent =
    top > device
      ? `The peak of ${scaled(top, "B")} does not fit in the ${scaled(device, "B")} of this device.`
      : `The peak of ${scaled(top, "B")} takes ${percent(top / device)} of the ${scaled(device, "B")} of this device. ` +
        "Workspace that libraries take is not counted.";
  const rows = [...peak.owners, ...(peak.others ? [[`${peak.others} others`, peak.others_bytes]] : [])].map(([name, size]) =>
    make(
      "tr",
      {},
      make("td", { title: printable(name) }, shorten(name, 48)),
      make("td", {}, scaled(size, "B")),
      make("td", {}, percent(size / (top - weights))),
    ),
  );
  byId("owners").replaceChildren(
    make(
      "table",
      {},
      make("caption", {}, `Activations in memory at the peak${at ? `, while ${shorten(at.layer, 40)} runs` : ""}`),
      make("thead", {}, make("tr", {}, ...["made by", "size", "share"].map((name) => make("th", { scope: "col" }, name)))),
      make("tbody", {}, ...rows),
    ),
  );
  byId("device-memory").checked = show;
  byId("device-memory").disabled = device < 3 * top;
}

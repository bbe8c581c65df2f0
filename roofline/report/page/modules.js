/* The tree of modules, each as large as its time, its bytes or its FLOPs. */

/* Nodes of the tree: a module holds its layers and all modules below it. */
function tree(view, size) {
  const nodes = new Map([["", { id: "", parent: null, label: view.model.name || "network", value: 0, seconds: 0, by: {}, n: 0 }]]);
  const node = (id, parent, label) => {
    if (!nodes.has(id)) nodes.set(id, { id, parent, label, value: 0, seconds: 0, by: {}, n: 0 });
    return nodes.get(id);
  };
  for (const k of view.kernels) {
    const parts = k.path ? k.path.split(".") : [];
    const line = [nodes.get(""), ...parts.map((part, i) => node(parts.slice(0, i + 1).join("."), parts.slice(0, i).join("."), part))];
    if (k.layer !== k.path) line.push(node(`${k.path}\u0000${k.layer}`, parts.join("."), k.layer.split(".").at(-1)));
    const last = line.at(-1);
    last.kernel ??= k;
    for (const n of line) {
      n.value += k[size];
      n.seconds += k.seconds;
      n.n += 1;
      n.by[k.bound] = (n.by[k.bound] || 0) + k.seconds;
    }
  }
  return [...nodes.values()].filter((n) => n.value > 0);
}

function drawModules(view) {
  const size = State.now.size,
    nodes = tree(view, size),
    total = nodes.length ? nodes[0].value : 0,
    colours = nodes.map((n) => css(`--${boundOf(n)}`)),
    font = { color: colours.map(inkOn) };
  const write = { seconds, bytes: (v) => scaled(v, "B"), flops: (v) => scaled(v, "FLOPs") }[size];
  const trace = {
    type: State.now.tree,
    branchvalues: "total",
    sort: false,
    maxdepth: narrow() ? 4 : 6,
    tiling: State.now.tree === "icicle" ? { orientation: "v", pad: 1 } : { pad: 1 },
    ids: nodes.map((n) => n.id || "\u0001"),
    parents: nodes.map((n) => (n.parent === null ? "" : n.parent || "\u0001")),
    labels: nodes.map((n) => plotText(n.label)),
    values: nodes.map((n) => n.value),
    customdata: nodes.map((n) => (n.kernel ? n.kernel.index : -1)),
    marker: { colors: colours, line: { width: 1, color: css("--paper") } },
    opacity: 0.92,
    leaf: { opacity: 0.92 },
    hovertext: nodes.map((n) =>
      [
        `<b>${plotText(shorten(n.id.split("\u0000").at(-1) || n.label, 60))}</b>`,
        `${write(n.value)}, ${percent(n.value / total)} of all`,
        `${seconds(n.seconds)} in ${n.n} kernels, mostly ${boundOf(n)}-bound`,
      ].join("<br>"),
    ),
    hoverinfo: "text",
    textinfo: "label",
    pathbar: { visible: true, thickness: 22 },
    insidetextfont: font,
    outsidetextfont: font,
  };
  const layout = base({ margin: { l: 4, r: 4, t: 28, b: 4 }, uniformtext: { minsize: 9, mode: "hide" } });
  plot("modules-plot", [trace], layout);
  const element = byId("modules-plot");
  for (const name of ["plotly_icicleclick", "plotly_treemapclick"]) {
    element.removeAllListeners(name);
    element.on(name, (event) => {
      const at = event.points[0].customdata,
        leaf = at >= 0 && !nodes.some((n) => n.parent === (nodes[event.points[0].pointNumber] || {}).id);
      if (at >= 0) choose(view.kernels[at]);
      return !leaf;
    });
  }
}

/* Draw accuracy against the chosen axis, a colour for each family, the front as a line, and a ring around the front by MACs. */

const span = (values) => Math.max(...values) - Math.min(...values) || 1;

/* Which members of the front have room for their name: none too near the one named before. */
function named(against, data) {
  const across = against.values.map(Math.log10), [wide, high] = [span(across), span(data.top1)], found = [];
  for (const i of against.front) {
    const last = found.at(-1);
    const apart = last === undefined || (data.top1[i] - data.top1[last]) / high > 0.04 || (across[i] - across[last]) / wide > (narrow() ? 0.45 : 0.16);
    if (apart) found.push(i);
  }
  return new Set(found);
}

/* The ends of a logarithmic axis, with room for the name of the first point to its left. */
function room(values) {
  const across = values.map(Math.log10), wide = span(across);
  return [Math.min(...across) - (narrow() ? 0.4 : 0.12) * wide, Math.max(...across) + 0.05 * wide];
}

function draw(data, chosen) {
  const against = data.axes[chosen], labelled = named(against, data);
  const families = [...new Set(data.families)];
  const hover = (i) => `<b>${plotText(data.names[i])}</b><br>${data.top1[i].toFixed(1)} % top-1 at ${data.sizes[i]} pixels`
    + data.axes.map((a) => `<br>${plotText(a.title)}: ${a.values[i]}`).join("") + `<br>${plotText(data.weights[i])}`;
  const points = families.map((family, f) => {
    const rows = data.families.map((name, i) => (name === family ? i : -1)).filter((i) => i >= 0);
    return {
      name: plotText(family), mode: "markers+text", x: rows.map((i) => against.values[i]), y: rows.map((i) => data.top1[i]),
      text: rows.map((i) => (labelled.has(i) ? plotText(data.names[i]) : "")), textposition: "top left", textfont: { size: 10 }, cliponaxis: false,
      hovertext: rows.map(hover), hoverinfo: "text",
      marker: { size: 9, color: COLOURS[f % COLOURS.length], symbol: SYMBOLS[(f + 7 * Math.floor(f / COLOURS.length)) % SYMBOLS.length] },
    };
  });
  const ringed = data.axes[0].front;
  const line = {
    name: "front", mode: "lines", x: against.front.map((i) => against.values[i]), y: against.front.map((i) => data.top1[i]),
    line: { color: css("--soft"), shape: "hv", width: 1.5 }, hoverinfo: "skip",
  };
  const rings = {
    name: "front by MACs", mode: "markers", x: ringed.map((i) => against.values[i]), y: ringed.map((i) => data.top1[i]),
    marker: { size: 16, symbol: "circle-open", color: css("--ink"), line: { width: 1.2 } }, hoverinfo: "skip",
  };
  const layout = base({
    xaxis: axis(plotText(against.title), { type: "log", dtick: narrow() ? 1 : undefined, range: room(against.values) }), yaxis: axis("ImageNet top-1, %"),
  });
  byId("rank").textContent = against.rank;
  return Plotly.newPlot("zoo-plot", [line, ...points, rings], layout, OPTIONS);
}

run(async () => {
  const held = byId("zoo-data");
  if (!held) return;
  await loadPlotly();
  const data = JSON.parse(held.textContent), choice = byId("axis");
  const again = () => draw(data, Number(choice.value));
  choice.addEventListener("change", again);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  await again();
});

/* Everything about a kernel, for a hover box or the panel: pairs of label and text. */
function facts(k, view) {
  const size = (bytes) => scaled(bytes, "B");
  const rows = [
    ["kind", k.kind],
    ["ops", shorten(k.ops, 60)],
    ["time", `${seconds(k.seconds)}, ${percent(k.share)} of all (80 % between ${seconds(k.low)} and ${seconds(k.high)})`],
    [
      "parts",
      `compute ${seconds(k.compute)}, memory ${seconds(k.memory)}, overhead ${seconds(k.overhead)}, occupancy ${seconds(k.occupancy)}`,
    ],
    ["bound", Number.isFinite(k.margin) ? `${k.bound}, ${significant(k.margin, 2)} times ${k.runner_up}` : k.bound],
    ["limit", `${seconds(k.limit)}; ${percent(k.reached)} of this roof reached`],
    [
      "work",
      `${scaled(k.flops, "FLOPs")} (${scaled(k.macs, "MACs")}; ${k.matrix_flops ? `products in ${k.matrix_dtype}` : `in ${k.vector_dtype}`})`,
    ],
    ["bytes", `weights ${size(k.weight_bytes)}, read ${size(k.input_bytes)}, written ${size(k.output_bytes)}`],
    ["served by", view.levels.map((name) => `${name} ${size(k.level_bytes[name])}`).join(", ")],
    ["intensity", `${significant(k.intensity, 3)} FLOP/B`],
    ["achieved", `${scaled(k.achieved, "FLOP/s")}, ${scaled((k.weight_bytes + k.input_bytes + k.output_bytes) / k.seconds, "B/s")}`],
    ["chip filled", percent(k.fill)],
  ];
  if (k.measured) rows.splice(3, 0, ["measured", `${seconds(k.measured)}; predicted / measured ${significant(k.seconds / k.measured, 2)}`]);
  return rows;
}

function hover(k, view) {
  const lines = facts(k, view).map(([label, text]) => `${label}  ${plotText(text).replace(/(.{62}\S*) /g, "$1<br>      ")}`);
  return [`<b>${plotText(shorten(k.layer, 70))}</b>`, ...lines].join("<br>");
}

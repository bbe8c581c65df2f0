/* The head of the page for the choice made: the same words that roofline/report/facts.py writes for the first one. */

function headline(view) {
  const t = view.totals,
    c = view.choice,
    device = view.device,
    bytes = (v) => scaled(v, "B");
  const what_ifs = c.what_if ? c.what_if.split(" + ").map((name) => `what if ${name}`) : [];
  return {
    title: `${printable(view.model.name)} on ${printable(device.name)}`,
    question: [view.inputs.join(", "), `batch ${c.batch}`, c.precision, c.mode, view.cell.layout, ...what_ifs].join(" \u00b7 "),
    finding: t.finding,
    latency: seconds(t.latency_seconds),
    "latency-note": `80 % between ${seconds(t.low_seconds)} and ${seconds(t.high_seconds)}; ${view.cell.status}`,
    throughput: `${significant(t.throughput_items_per_second)} items/s`,
    "throughput-note": `${seconds(t.latency_seconds / c.batch)} an item`,
    limit: seconds(t.lower_bound_seconds),
    "limit-note": `datasheet roofline; ${percent(t.lower_bound_seconds / t.latency_seconds)} reached`,
    work: scaled(t.macs, "MACs"),
    "work-note": `${scaled(t.flops, "FLOPs")} with elementwise work`,
    traffic: bytes(t.bytes),
    "traffic-note": `${significant(t.bytes ? t.flops / t.bytes : 0, 2)} FLOP/byte`,
    memory: bytes(t.peak_memory_bytes),
    "memory-note": `of ${bytes(device.memory_bytes)}; ${scaled(view.model.params, "")} parameters`,
    provenance: view.cell.provenance,
    unknown: Object.keys(view.program.unknown).length
      ? `Unknown ops, counted by their bytes only: ${Object.keys(view.program.unknown).join(", ")}`
      : "",
    full: t.peak_memory_bytes > device.memory_bytes ? "Does not fit in device memory." : "",
    measured: view.measured ? measuredLine(view) : "",
    remarks: view.cell.remarks.join("; "),
  };
}

function measuredLine(view) {
  const m = view.measured,
    ratio = view.totals.latency_seconds / m.median_seconds;
  const inside = view.totals.low_seconds <= m.median_seconds && m.median_seconds <= view.totals.high_seconds;
  return (
    `Measured ${seconds(m.median_seconds)} (${m.runs} runs on ${printable(m.source)}): predicted / measured ${significant(ratio, 2)}, ` +
    `${inside ? "inside" : "outside"} the 80 % interval.${m.warning ? ` ${printable(m.warning)}.` : ""}`
  );
}

function drawFacts(view) {
  for (const [name, text] of Object.entries(headline(view))) {
    const element = byId(`fact-${name}`);
    if (!element) continue;
    element.textContent = printable(text);
    if (["unknown", "full", "measured", "remarks"].includes(name)) element.hidden = !text;
  }
  document.title = byId("fact-title").textContent;
  PARTS.forEach((bound) => {
    const share = view.totals.seconds_by_bound[view.bounds.indexOf(bound)] / view.totals.latency_seconds;
    const bar = byId(`bar-${bound}`);
    bar.style.width = `${(100 * share).toFixed(2)}%`;
    bar.title = `${bound} ${fixed(100 * share, 0)} %`;
    byId(`key-${bound}`).textContent = `${bound} ${percent(share)}`;
  });
  byId("notes").replaceChildren(...view.device.notes.map((note) => make("li", {}, printable(note))));
  byId("notes-box").hidden = !view.device.notes.length;
}

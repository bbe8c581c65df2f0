/* Measured beside predicted times, layer by layer: those farthest off in seconds first. */

const MOST = 40;

function drawMeasured(view) {
  const given = view.book.measured,
    here = view.measured,
    table = byId("measured-table");
  if (!here) {
    const links = given.map((m) =>
      make(
        "button",
        { type: "button", onclick: () => State.set(m.choice) },
        Object.entries(m.choice)
          .filter(([axis, value]) => axis !== "model" && value !== "")
          .map(([axis, value]) => (axis === "batch" ? `batch ${value}` : value))
          .join(", "),
      ),
    );
    byId("measured-text").textContent = "Nothing was measured of this choice. Measured:";
    table.replaceChildren(make("p", { class: "controls" }, ...links));
    return;
  }
  const timed = view.kernels
    .filter((k) => k.measured > 0)
    .sort((a, b) => Math.abs(b.measured - b.seconds) - Math.abs(a.measured - a.seconds));
  const alone = timed.length
    ? ` ${timed.length} kernels were timed one by one: ${seconds(sum(timed.map((k) => k.measured)))} together, predicted ${seconds(sum(timed.map((k) => k.seconds)))}.`
    : " Its ops were not timed one by one.";
  byId("measured-text").textContent = measuredLine(view) + alone;
  const row = (name, kind, was, predicted, more = {}) =>
    make(
      "tr",
      more,
      make("td", { title: printable(name) }, shorten(name, 44)),
      make("td", { class: "text" }, kind),
      make("td", {}, seconds(was)),
      make("td", {}, seconds(predicted)),
      make("td", {}, significant(predicted / was, 2)),
      make("td", {}, `${predicted < was ? "\u2212" : "+"}${seconds(Math.abs(predicted - was))}`),
    );
  const rows = [
    row("whole network", "", here.median_seconds, view.totals.latency_seconds, { class: "total" }),
    ...timed.slice(0, MOST).map((k) => {
      const found = row(k.layer, k.kind, k.measured, k.seconds);
      found.addEventListener("click", () => choose(k));
      return found;
    }),
  ];
  const head = ["layer", "kind", "measured", "predicted", "predicted / measured", "difference"].map((name) =>
    make("th", { scope: "col", class: name === "kind" ? "text" : null }, name),
  );
  const rest =
    timed.length > MOST ? [make("caption", {}, `the ${MOST} kernels farthest off, of ${timed.length}; the table of layers has all`)] : [];
  table.replaceChildren(make("table", {}, ...rest, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows)));
}

/* From the FLOPs at datasheet peak to the predicted time: what each step adds, in a sentence. */

const STEP_NAMES = {
  arithmetic: "FLOPs at peak",
  traffic: "memory traffic",
  ceilings: "real ceilings",
  efficiency: "efficiency",
  occupancy: "empty chip",
  overhead: "overhead",
};

function drawWaterfall(view) {
  const ends = view.totals.steps_seconds,
    names = Object.keys(view.book.steps),
    most = largest(ends);
  const bar = (from, to, kind) => {
    const left = (100 * Math.min(from, to)) / most,
      wide = Math.max((100 * Math.abs(to - from)) / most, 0.3);
    return make(
      "span",
      { class: "track" },
      make("span", { class: `step ${kind}`, style: `left:${left.toFixed(2)}%;width:${wide.toFixed(2)}%` }),
    );
  };
  const row = (name, text, track, amount, end, more = {}) =>
    make(
      "tr",
      more,
      make("th", { scope: "row" }, name, make("small", {}, text)),
      make("td", { class: "bar" }, track),
      make("td", {}, amount),
      make("td", {}, end),
    );
  const rows = names.flatMap((name, i) => {
    const before = i ? ends[i - 1] : 0,
      change = ends[i] - before,
      kind = { occupancy: "occupancy", overhead: "overhead" }[name] || (i ? "memory" : "compute");
    const added = Math.abs(change) < 5e-4 * most ? "nothing" : `${change < 0 ? "\u2212" : i ? "+" : ""}${seconds(Math.abs(change))}`;
    const found = [
      row(
        STEP_NAMES[name] || name,
        view.book.steps[name],
        bar(before, ends[i], change < 0 ? "less" : ["ceilings", "efficiency"].includes(name) ? "reached" : kind),
        added,
        seconds(ends[i]),
      ),
    ];
    if (name === "traffic") {
      found.push(
        row(
          "limit",
          `the physical limit; ${percent(ends[i] / ends.at(-1))} of the predicted time`,
          bar(0, ends[i], "total"),
          "",
          seconds(ends[i]),
          { class: "total" },
        ),
      );
    }
    return found;
  });
  rows.push(
    row("prediction", "what this network is expected to take", bar(0, ends.at(-1), "total"), "", seconds(ends.at(-1)), { class: "total" }),
  );
  byId("waterfall-table").replaceChildren(
    make(
      "table",
      { class: "waterfall" },
      make("thead", {}, make("tr", {}, ...["step", "", "adds", "time so far"].map((name) => make("th", { scope: "col" }, name)))),
      make("tbody", {}, ...rows),
    ),
  );
}

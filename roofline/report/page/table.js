/* Every kernel in a table that sorts, searches, hides columns, and draws only the rows on the screen. */

const ROW = 28;

/* key: heading, unit of the file, how it is written; hidden ones can be shown. */
function columnsOf(view) {
  const size = (v) => scaled(v, "B"),
    time = (v) => (v === undefined ? "-" : seconds(v)),
    count = (v) => scaled(v, "");
  const timed = view.kernels.some((k) => k.measured);
  return [
    { key: "index", head: "#", file: "kernel", write: (v, k) => String(k.index + 1), get: (k) => k.kernel, on: true },
    { key: "layer", head: "layer", file: "layer", write: (v) => printable(v), text: true, on: true },
    { key: "kind", head: "kind", file: "kind", write: printable, text: true, on: true },
    { key: "ops", head: "ops", file: "ops", write: printable, text: true },
    { key: "seconds", head: "time", file: "seconds", write: time, on: true },
    ...(timed ? [{ key: "measured", head: "measured", file: "measured_seconds", write: time, on: true }] : []),
    { key: "share", head: "share", file: "share", write: percent, on: true },
    { key: "limit", head: "limit", file: "limit_seconds", write: time },
    { key: "reached", head: "reached", file: "share_of_limit_reached", write: percent, on: true },
    { key: "bound", head: "bound", file: "bound", write: (v) => dotted(v), text: true, on: true },
    { key: "runner_up", head: "runner-up", file: "runner_up", write: String, text: true },
    { key: "compute", head: "compute", file: "compute_seconds", write: time },
    { key: "memory", head: "memory", file: "memory_seconds", write: time },
    { key: "overhead", head: "overhead", file: "overhead_seconds", write: time },
    { key: "occupancy", head: "occupancy", file: "occupancy_seconds", write: time },
    { key: "macs", head: "MACs", file: "macs", write: count, on: true },
    { key: "flops", head: "FLOPs", file: "flops", write: count },
    { key: "bytes", head: "bytes", file: "bytes", write: size, on: true },
    { key: "weight_bytes", head: "weights", file: "weight_bytes", write: size },
    { key: "input_bytes", head: "read", file: "input_bytes", write: size },
    { key: "output_bytes", head: "written", file: "output_bytes", write: size },
    ...view.levels.map((name) => ({
      key: `level ${name}`,
      head: `${name}`,
      file: `${name}_bytes`,
      write: size,
      get: (k) => k.level_bytes[name],
    })),
    { key: "intensity", head: "FLOP/B", file: "intensity_flop_per_byte", write: (v) => significant(v, 2), on: true },
    { key: "achieved", head: "FLOP/s", file: "achieved_flop_per_second", write: (v) => scaled(v, "") },
    { key: "fill", head: "fill", file: "fill", write: percent },
    { key: "live", head: "alive", file: "live_activation_bytes", write: size },
  ];
}

const idOf = (column) => column.key.replace(/\W+/g, "-");
const valueOf = (column, k) => (column.get ? column.get(k) : k[column.key]);
const visible = (view) => {
  const all = columnsOf(view),
    named = State.now.columns ? State.now.columns.split(",") : null;
  return all.filter((c) => (named ? named.includes(c.key) : c.on));
};

/* The kernels that match the search, in the order asked for; a first click puts large figures, and words, first. */
function ordered(view) {
  const words = State.now.search.toLowerCase().split(/\s+/).filter(Boolean),
    column = columnsOf(view).find((c) => c.key === State.now.sort) || columnsOf(view)[0];
  const rows = view.kernels.filter((k) => words.every((word) => `${k.layer} ${k.kind} ${k.ops} ${k.bound}`.toLowerCase().includes(word)));
  const sign = State.now.down ? -1 : 1,
    by = (k) => valueOf(column, k);
  return rows.sort((a, b) => {
    const [x, y] = [by(a) ?? -Infinity, by(b) ?? -Infinity];
    return (typeof x === "string" ? (x < y ? -1 : x > y ? 1 : 0) : x - y || 0) * sign || a.index - b.index;
  });
}

function drawTable(view) {
  const columns = visible(view),
    rows = ordered(view),
    box = byId("table"),
    chosen = selected(view);
  const head = columns.map((c) => {
    const on = State.now.sort === c.key,
      order = on ? (State.now.down ? "descending" : "ascending") : "none";
    const turn = () => State.set(on ? { down: State.now.down ? "" : "1" } : { sort: c.key, down: c.text || c.key === "index" ? "" : "1" });
    return make(
      "th",
      { scope: "col", "aria-sort": order, class: c.text ? "text" : "" },
      make(
        "button",
        { type: "button", id: `sort-${idOf(c)}`, onclick: turn },
        c.head,
        make("span", { class: "arrow", "aria-hidden": "true" }, on ? (State.now.down ? "\u25be" : "\u25b4") : ""),
      ),
    );
  });
  const body = make("tbody");
  const table = make("table", { "aria-rowcount": String(rows.length) }, make("thead", {}, make("tr", {}, ...head)), body);
  const step = (row) => row?.focus();
  const line = (k) => {
    const mine = chosen && k.index === chosen.index;
    const row = make(
      "tr",
      {
        tabindex: "0",
        id: `kernel-${k.index}`,
        "data-kernel": k.index,
        "aria-selected": mine ? "true" : "false",
        class: mine ? "chosen" : "",
      },
      ...columns.map((c) =>
        make("td", { class: c.text ? "text" : "", title: c.key === "layer" ? printable(k.layer) : null }, c.write(valueOf(c, k), k)),
      ),
    );
    row.addEventListener("click", () => choose(k));
    row.addEventListener("keydown", (event) => {
      const act = {
        Enter: () => choose(k),
        " ": () => choose(k),
        ArrowDown: () => step(row.nextSibling),
        ArrowUp: () => step(row.previousSibling),
      }[event.key];
      if (!act) return;
      event.preventDefault();
      act();
    });
    return row;
  };
  const spacer = (count) =>
    make("tr", { class: "space", "aria-hidden": "true" }, make("td", { colspan: columns.length, style: `height:${count * ROW}px` }));
  let drawn = "";
  const fill = (everything = false) => {
    const from = everything ? 0 : Math.max(Math.floor(box.scrollTop / ROW) - 12, 0),
      to = everything ? rows.length : Math.min(from + Math.ceil(box.clientHeight / ROW) + 28, rows.length);
    if (drawn === `${from} ${to}`) return;
    drawn = `${from} ${to}`;
    const after = to < rows.length ? [spacer(rows.length - to)] : [];
    keepingFocus(() => body.replaceChildren(...(from ? [spacer(from)] : []), ...rows.slice(from, to).map(line), ...after));
  };
  const place = box.scrollTop;
  box.replaceChildren(table);
  box.scrollTop = place;
  box.onscroll = () => fill();
  Table.fill = fill;
  Table.rows = rows;
  fill();
  const time = sum(rows.map((k) => k.seconds));
  byId("table-count").textContent =
    rows.length === view.kernels.length
      ? `${rows.length} kernels, ${seconds(time)}`
      : `${rows.length} of ${view.kernels.length} kernels, ${seconds(time)} (${percent(time / view.totals.latency_seconds)})`;
  drawColumnChoice(view, columns);
}

const Table = {
  rows: [],
  fill: () => {},
  /* Bring the row of a kernel into sight. */
  show(k) {
    const at = this.rows.findIndex((row) => row.index === k.index),
      box = byId("table");
    if (at < 0) return;
    const top = at * ROW,
      seen = box.scrollTop <= top - ROW && top + 2 * ROW <= box.scrollTop + box.clientHeight;
    if (!seen) box.scrollTop = Math.max(top - box.clientHeight / 2, 0);
    this.fill();
  },
};

function drawColumnChoice(view, shown) {
  const keys = shown.map((c) => c.key);
  byId("columns").replaceChildren(
    ...columnsOf(view).map((c) =>
      make(
        "label",
        {},
        make("input", {
          type: "checkbox",
          id: `column-${idOf(c)}`,
          checked: keys.includes(c.key),
          onchange: (event) => {
            const next = columnsOf(view)
              .filter((o) => (o.key === c.key ? event.target.checked : keys.includes(o.key)))
              .map((o) => o.key);
            if (next.length) State.set({ columns: next.join(",") });
            else event.target.checked = true;
          },
        }),
        c.head,
      ),
    ),
  );
}

/* All columns of the rows that the search leaves, in base units. */
function tableCsv(view) {
  const columns = columnsOf(view),
    lines = ordered(view).map((k) => columns.map((c) => csvCell(valueOf(c, k))).join(","));
  return [columns.map((c) => c.file).join(","), ...lines].join("\n") + "\n";
}

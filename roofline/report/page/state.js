/* What the reader has chosen, kept in the hash of the address: a link reopens the same view. */

const DEFAULTS = {
  layer: "",
  nth: 0,
  colour: "kind",
  tree: "icicle",
  size: "seconds",
  device_memory: "",
  search: "",
  sort: "index",
  down: "",
  columns: "",
  theme: "",
  bars: "time",
};

/* What an option may be, where that is limited. */
const WORDS = {
  colour: ["kind", "bound"],
  tree: ["icicle", "treemap"],
  size: ["seconds", "bytes", "flops"],
  theme: ["", "light", "dark"],
  bars: ["time", "share"],
  device_memory: ["", "1"],
  down: ["", "1"],
};

const State = {
  book: null,
  now: {},
  listeners: [],
  typed: new Set(["search", "columns"]),

  start(book, listener) {
    this.book = book;
    this.listener = listener;
    this.now = this.parsed();
    addEventListener("hashchange", () => this.restore());
  },

  initial() {
    return { ...DEFAULTS, ...(this.book.start || {}) };
  },

  /* Read the hash; what it does not name, or names wrongly, is as it was at first. */
  parsed() {
    const state = this.initial(),
      given = new URLSearchParams(location.hash.slice(1));
    for (const [name, text] of given) {
      if (!(name in state)) continue;
      const value = typeof state[name] === "number" ? Number(text) : text;
      if (AXES.includes(name) ? !this.book.axes[name].includes(value) : WORDS[name] && !WORDS[name].includes(value)) continue;
      state[name] = value;
    }
    return this.book.cells && cellOf(this.book, state).error ? { ...state, ...this.book.start } : state;
  },

  hash() {
    const initial = this.initial(),
      out = new URLSearchParams();
    for (const [name, value] of Object.entries(this.now)) if (value !== initial[name]) out.set(name, value);
    return out.toString();
  },

  set(changes) {
    const changed = Object.keys(changes).filter((name) => this.now[name] !== changes[name]);
    if (!changed.length) return;
    this.now = { ...this.now, ...changes };
    const address = `#${this.hash()}`;
    if (changed.every((name) => this.typed.has(name))) history.replaceState(null, "", address);
    else history.pushState(null, "", address);
    this.listener(new Set(changed));
  },

  restore() {
    const before = this.now;
    this.now = this.parsed();
    const changed = Object.keys(this.now).filter((name) => this.now[name] !== before[name]);
    if (changed.length) this.listener(new Set(changed));
  },
};
addEventListener("popstate", () => State.book && State.restore());

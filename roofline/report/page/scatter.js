/* A sweep: any figure against any other, filtered, with the Pareto front of each group. The page computes no figure of its own. */

const LISTED = 200;
const START = { x: "macs", y: "latency", colour: "device", logx: true, logy: true, front: true, search: "", theme: "" };

let sweep = null, state = {};

const word = (key, row) => sweep.columns[key].words[sweep.columns[key].codes[row]];
const value = (key, row) => (key === "batch" || sweep.columns[key].codes === undefined ? sweep.columns[key][row] : word(key, row));
const axisOf = (key) => sweep.axes.find((axis) => axis.key === key);

/* --- what the reader has chosen, kept in the address --- */

function defaults() {
  const filters = Object.fromEntries(sweep.filters.map((f) => [f.key, f.first ? String(f.values[0]) : ""]));
  const has = (key) => (axisOf(key) ? key : sweep.axes[0].key);
  return { ...START, ...filters, x: has(START.x), y: has(START.y) };
}

function readHash() {
  const found = defaults(), given = new URLSearchParams(location.hash.slice(1));
  for (const [key, text] of given) if (key in found) found[key] = typeof found[key] === "boolean" ? text === "1" : text;
  for (const key of ["x", "y"]) if (!axisOf(found[key])) found[key] = START[key];
  for (const f of sweep.filters) if (!["", ...f.values.map(String)].includes(found[f.key])) found[f.key] = "";
  if (!groupsBy().includes(found.colour)) found.colour = START.colour;
  return found;
}

function set(change) {
  state = { ...state, ...change };
  const start = defaults(), differs = Object.entries(state).filter(([key, v]) => v !== start[key]);
  const hash = new URLSearchParams(differs.map(([key, v]) => [key, v === true ? "1" : v === false ? "0" : v])).toString();
  history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
  show();
}

/* --- controls --- */

const groupsBy = () => sweep.words.filter((key) => key !== "model" && key !== "what_if").concat("batch");

function chooser(label, key, options) {
  const select = make("select", { id: `choose-${key}`, onchange: (event) => set({ [key]: event.target.value }) },
    ...options.map(([v, text]) => make("option", { value: v, selected: String(state[key]) === String(v) }, printable(text))));
  return make("label", {}, `${label} `, select);
}

function ticked(label, key) {
  return make("label", {}, make("input", { type: "checkbox", id: `choose-${key}`, checked: state[key], onchange: (event) => set({ [key]: event.target.checked }) }), ` ${label}`);
}

function controls() {
  const axes = sweep.axes.map((axis) => [axis.key, axis.label]);
  const search = make("input", { type: "search", id: "choose-search", placeholder: "efficientnet", value: state.search, oninput: (event) => set({ search: event.target.value }) });
  byId("filters").replaceChildren(
    ...sweep.filters.map((f) => chooser(f.key, f.key, [["", "all"], ...f.values.map((v) => [v, v === "" ? "(none)" : v])])),
    make("label", {}, "search ", search));
  byId("axes").replaceChildren(
    chooser("across", "x", axes), ticked("log", "logx"), chooser("up", "y", axes), ticked("log", "logy"),
    chooser("colour by", "colour", groupsBy().map((key) => [key, key])), ticked("Pareto fronts", "front"));
}

/* --- rows --- */

function chosen() {
  const filters = sweep.filters.filter((f) => state[f.key] !== ""), sought = state.search.toLowerCase(), found = [];
  const names = sweep.columns.model.words.map((name) => name.toLowerCase().includes(sought));
  for (let row = 0; row < sweep.rows; row++) {
    if (!names[sweep.columns.model.codes[row]]) continue;
    if (filters.every((f) => String(value(f.key, row)) === state[f.key])) found.push(row);
  }
  return found;
}

/* Which way a figure is better beside another: 1 more, -1 less, 0 neither. The size of a network costs beside accuracy, and is capacity else. */
function sense(key, beside) {
  const { better } = axisOf(key);
  if (better !== "size") return { more: 1, less: -1, neither: 0 }[better];
  return axisOf(beside).better === "size" ? 0 : beside === "top1" ? -1 : 1;
}

/* Points that no other beats in both figures; none where one of them is neither good nor bad. */
function front(rows, x, y) {
  const [sx, sy] = [sense(x, y), sense(y, x)], [cx, cy] = [sweep.columns[x], sweep.columns[y]];
  if (!sx || !sy || x === y) return [];
  const sorted = [...rows].sort((a, b) => sx * (cx[b] - cx[a]) || sy * (cy[b] - cy[a]));
  let best = -Infinity;
  return sorted.filter((row) => { const better = sy * cy[row] > best; if (better) best = sy * cy[row]; return better; });
}

/* Say what the fronts are, or why there are none. */
function explained() {
  if (!state.front) return "";
  const bare = (key) => axisOf(key).label.replace(/ \(.*\)$/, ""), keys = [state.x, state.y], ways = [sense(state.x, state.y), sense(state.y, state.x)];
  if (state.x === state.y || ways.includes(0)) return "There are no Pareto fronts between these two figures.";
  const wanted = keys.map((key, i) => `${ways[i] > 0 ? "more" : "less"} ${bare(key)}`).join(" and ");
  const proxy = keys.filter((key, i) => axisOf(key).better === "size" && ways[i] > 0).map(bare);
  const plain = proxy.length ? ` Here ${proxy.join(" and ")} stand for capacity, and are no accuracy.` : "";
  return `A line joins the points of a colour that no other of it beats: ${wanted} is better.${plain}`;
}

const figure = (v) => (Number.isFinite(v) ? (v !== 0 && (Math.abs(v) >= 1e5 || Math.abs(v) < 1e-3) ? v.toExponential(2) : String(Number(v.toPrecision(4)))) : "-");

function hover(row) {
  const words = sweep.words.filter((key) => word(key, row) !== "").map((key) => (key === "model" ? `<b>${plotText(shorten(word(key, row), 60))}</b>` : `${key} ${plotText(shorten(word(key, row), 60))}`));
  const figures = sweep.axes.map((axis) => `${axis.label}: ${figure(sweep.columns[axis.key][row])}`);
  return [...words, ...figures].join("<br>");
}

/* --- drawing --- */

function show() {
  const rows = chosen().filter((row) => Number.isFinite(sweep.columns[state.x][row]) && Number.isFinite(sweep.columns[state.y][row]));
  const groups = new Map();
  for (const row of rows) {
    const name = String(value(state.colour, row));
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(row);
  }
  const sorted = [...groups].sort((a, b) => b[1].length - a[1].length || (a[0] < b[0] ? -1 : 1));
  const gl = rows.length > 3000, kind = gl ? "scattergl" : "scatter", traces = [];
  sorted.forEach(([name, own], i) => {
    const colour = PARTS.includes(name) ? css(`--${name}`) : COLOURS[i % COLOURS.length], symbol = SYMBOLS[Math.floor(i / COLOURS.length) % SYMBOLS.length];
    const pick = (key, from) => from.map((row) => sweep.columns[key][row]);
    traces.push({
      type: kind, mode: "markers", name: plotText(shorten(name || "(none)", 40)), legendgroup: String(i), x: pick(state.x, own), y: pick(state.y, own),
      customdata: own, hovertemplate: "%{text}<extra></extra>", text: rows.length > 20000 ? own.map((row) => plotText(word("model", row))) : own.map(hover),
      marker: { color: colour, symbol, size: rows.length > 2000 ? 4 : 7, opacity: 0.75 },
    });
    const best = state.front ? front(own, state.x, state.y) : [];
    if (best.length > 1) {
      traces.push({
        type: "scatter", mode: "lines", name: "", legendgroup: String(i), showlegend: false, hoverinfo: "skip", x: pick(state.x, best), y: pick(state.y, best),
        line: { color: colour, width: 1.5, shape: "linear" },
      });
    }
  });
  const log = (key, wanted) => (wanted ? { type: "log", dtick: narrow() ? 1 : undefined, exponentformat: "none" } : { exponentformat: "none" });
  plot("plot", traces, base({
    xaxis: axis(axisOf(state.x).label, log(state.x, state.logx)), yaxis: axis(axisOf(state.y).label, log(state.y, state.logy)), showlegend: sorted.length > 1,
  }));
  byId("count").textContent = `${rows.length.toLocaleString("en")} of ${sweep.rows.toLocaleString("en")} priced rows are shown`;
  byId("note").textContent = explained();
  list(rows);
}

function list(rows) {
  const keys = sweep.axes.map((axis) => axis.key).filter((key) => ["macs", "params", "latency", "throughput", "reached", "memory", "usd", "top1"].includes(key) || key === state.x || key === state.y);
  const words = ["model", "device", "precision", "mode", "bound"], down = sense(state.y, state.x) > 0 ? -1 : 1;
  const sorted = [...rows].sort((a, b) => down * (sweep.columns[state.y][a] - sweep.columns[state.y][b])).slice(0, LISTED);
  const first = rows.length > LISTED ? `The first ${LISTED} of ${rows.length.toLocaleString("en")} by` : "By";
  byId("listed").textContent = `${first} ${axisOf(state.y).label}; a heading sorts by another figure, and plots it.`;
  byId("head").replaceChildren(make("tr", {},
    ...words.map((key) => make("th", { class: "text" }, key)), make("th", {}, "batch"),
    ...keys.filter((key) => key !== "batch").map((key) => make("th", { class: "sorts" }, make("button", { type: "button", onclick: () => { set({ y: key }); controls(); } }, axisOf(key).label)))));
  byId("rows").replaceChildren(...sorted.map((row) => make("tr", {},
    ...words.map((key) => make("td", { class: "text", title: printable(word(key, row)) }, shorten(word(key, row), 48))), make("td", {}, String(sweep.columns.batch[row])),
    ...keys.filter((key) => key !== "batch").map((key) => make("td", {}, figure(sweep.columns[key][row]))))));
}

function applyTheme() {
  const root = document.documentElement;
  if (state.theme) root.dataset.theme = state.theme; else delete root.dataset.theme;
  byId("theme").textContent = `colours: ${state.theme || "system"}`;
}

async function begin() {
  if (!byId("plot")) return;
  sweep = unpack(await inflate("sweep"));
  state = readHash();
  applyTheme();
  controls();
  byId("theme").addEventListener("click", () => { const turns = ["", "light", "dark"]; state.theme = turns[(turns.indexOf(state.theme) + 1) % 3]; applyTheme(); set({}); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  addEventListener("hashchange", () => { state = readHash(); applyTheme(); controls(); show(); });
  await loadPlotly();
  show();
  document.body.dataset.ready = "yes";
}

run(begin);

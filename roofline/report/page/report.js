/* The report: read the book, and draw every view of the choice that the reader has made. */

let view = null;

const VIEWS = {
  roofline: () => {
    drawRoofline(view);
    drawKinds(view);
  },
  timeline: () => drawTimeline(view),
  why: () => drawWaterfall(view),
  modules: () => drawModules(view),
  layers: () => drawTable(view),
  sweep: () => drawSweep(view),
  memory: () => drawMemory(view),
  compared: () => drawMeasured(view),
};

/* Views that need no plotting library: they are there before it, and wherever the reader is. */
const AT_ONCE = ["why", "layers"];

/* Which views an option concerns; all others follow the choice itself. */
const CONCERNS = {
  colour: ["roofline"],
  tree: ["modules"],
  size: ["modules"],
  device_memory: ["memory"],
  search: ["layers"],
  sort: ["layers"],
  down: ["layers"],
  columns: ["layers"],
  layer: ["roofline", "timeline", "layers", "memory"],
  nth: ["roofline", "timeline", "layers", "memory"],
};

function redraw(changed) {
  const state = State.now;
  if (changed.has("theme")) applyTheme();
  if (AXES.some((axis) => changed.has(axis))) {
    view = read(State.book, Object.fromEntries(AXES.map((axis) => [axis, state[axis]])));
    drawFacts(view);
    drawChoices(State.book, state);
  }
  drawSwitches();
  const all = AXES.some((axis) => changed.has(axis)) || changed.has("theme");
  Lazy.stale(all ? undefined : [...new Set([...changed].flatMap((name) => CONCERNS[name] || []))]);
  drawPanel(view);
  if ((changed.has("layer") || changed.has("nth")) && selected(view)) Table.show(selected(view));
}

function drawSwitches() {
  byId("roofline-switches").replaceChildren(
    drawSwitch("roofline", "colour", "colour by", [
      ["kind", "kind of op"],
      ["bound", "bound"],
    ]),
  );
  byId("modules-switches").replaceChildren(
    drawSwitch("modules", "size", "size by", [
      ["seconds", "time"],
      ["bytes", "bytes"],
      ["flops", "FLOPs"],
    ]),
    drawSwitch("modules", "tree", "as", [
      ["icicle", "icicle"],
      ["treemap", "treemap"],
    ]),
  );
  if (document.activeElement !== byId("search")) byId("search").value = State.now.search;
}

function wire() {
  byId("theme").addEventListener("click", nextTheme);
  byId("search").addEventListener("input", (event) => State.set({ search: event.target.value }));
  document.querySelectorAll("nav a").forEach((link) =>
    link.addEventListener("click", (event) => {
      event.preventDefault();
      byId(link.dataset.section).scrollIntoView();
    }),
  );
  byId("csv").addEventListener("click", () => download(`${fileName()}.csv`, tableCsv(view), "text/csv"));
  byId("device-memory").addEventListener("change", (event) => State.set({ device_memory: event.target.checked ? "1" : "" }));
  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && State.now.layer) choose(null);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => Lazy.stale());
  matchMedia("(max-width: 699px)").addEventListener("change", () => Lazy.stale());
  addEventListener("beforeprint", () => {
    Lazy.all();
    Table.fill(true);
  });
}

const fileName = () =>
  [view.model.name, view.device.id, view.choice.precision, view.choice.mode, `b${view.choice.batch}`].join("-").replace(/[^\w.-]+/g, "_");

async function start() {
  State.start(unpack(await inflate("book")), (changed) => keepingFocus(() => redraw(changed)));
  for (const id of Object.keys(VIEWS)) if (byId(id)) byId(id).hidden = false;
  wire();
  applyTheme();
  view = read(State.book, Object.fromEntries(AXES.map((axis) => [axis, State.now[axis]])));
  drawFacts(view);
  drawChoices(State.book, State.now);
  document.querySelector("nav").hidden = false;
  for (const id of AT_ONCE) Lazy.add(id, VIEWS[id], true);
  redraw(new Set(["layer"]));
  document.documentElement.dataset.choices = "yes";
  await new Promise((shown) => setTimeout(shown));
  await loadPlotly();
  for (const [id, draw] of Object.entries(VIEWS)) if (byId(id) && !AT_ONCE.includes(id)) Lazy.add(id, draw);
  document.documentElement.dataset.ready = "yes";
}

run(start);

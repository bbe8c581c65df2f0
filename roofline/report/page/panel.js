/* The kernel that the reader has chosen, in a panel at the bottom that all views share. */

/* A kernel is known by its layer and, where that runs several, by its place among them: so it survives a change of choice. */
function selected(view) {
  if (!State.now.layer || !view.kernels) return null;
  const same = view.kernels.filter((k) => k.layer === State.now.layer);
  return same.find((k) => k.ordinal === State.now.nth) || same.find((k) => k.ordinal === 0) || null;
}

const choose = (k) => State.set(k ? { layer: k.layer, nth: k.ordinal } : { layer: "", nth: 0 });

function drawPanel(view) {
  const panel = byId("panel"),
    k = selected(view),
    open = panel.querySelector("details")?.open ?? !narrow();
  panel.hidden = !State.now.layer;
  document.body.classList.toggle("with-panel", !panel.hidden);
  if (panel.hidden) return;
  const close = make("button", { type: "button", id: "panel-close", "aria-label": "close", onclick: () => choose(null) }, "\u00d7");
  if (!k) {
    panel.replaceChildren(
      make(
        "div",
        { class: "panel-head" },
        make("strong", {}, shorten(State.now.layer, 60)),
        make("span", { class: "soft" }, "does not run on its own in this choice: it is part of another kernel, or dropped"),
        close,
      ),
    );
    return;
  }
  const step = (by, sign, name) =>
    make(
      "button",
      {
        type: "button",
        id: `panel-${name.split(" ")[1]}`,
        "aria-label": name,
        disabled: !view.kernels[k.index + by],
        onclick: () => choose(view.kernels[k.index + by]),
      },
      sign,
    );
  const pairs = facts(k, view).map(([label, text]) => make("div", {}, make("dt", {}, label), make("dd", {}, printable(text))));
  const bar = make(
    "span",
    { class: "bar small", role: "img", "aria-label": "parts of its time" },
    ...PARTS.map((part, i) =>
      make("span", {
        style: `width:${((100 * k.split[i]) / k.seconds).toFixed(2)}%;background:var(--${part})`,
        title: `${part} ${percent(k.split[i] / k.seconds)}`,
      }),
    ),
  );
  panel.replaceChildren(
    make(
      "div",
      { class: "panel-head" },
      step(-1, "\u2039", "kernel before"),
      step(1, "\u203a", "kernel after"),
      make("strong", { id: "panel-name", title: printable(k.layer) }, shorten(k.layer, narrow() ? 26 : 60)),
      make("span", {}, `${k.kind}, ${seconds(k.seconds)} (${percent(k.share)})`),
      dotted(k.bound),
      bar,
      close,
    ),
    make("details", open ? { open: true } : {}, make("summary", {}, "all figures"), make("dl", {}, ...pairs)),
  );
}

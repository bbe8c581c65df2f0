/* The switches: what can be chosen, and why some of it cannot. */

const LABELS = { model: "model", device: "device", precision: "precision", mode: "mode", what_if: "what if", batch: "batch" };

function drawChoices(book, state) {
  const box = byId("choices");
  const selects = AXES.filter((axis) => axis !== "model" || book.axes.model.length > 1).map((name) => {
    const options = book.axes[name].map((value) => {
      const cell = cellOf(book, { ...state, [name]: value }),
        text = name === "model" ? book.models[value].name : name === "what_if" && !value ? "nothing" : String(value);
      const why = cell.error ? ` \u2013 ${cell.error}` : "";
      return make(
        "option",
        { value: String(value), selected: value === state[name], disabled: Boolean(cell.error), title: why ? cell.error : null },
        printable(shorten(text + why, 90)),
      );
    });
    const pick = (event) => State.set({ [name]: book.axes[name][event.target.selectedIndex] });
    return make("label", {}, make("span", {}, LABELS[name]), make("select", { id: `choose-${name}`, onchange: pick }, ...options));
  });
  box.replaceChildren(...selects);
  box.hidden = false;
}

/* A switch of a view: options as pairs of value and label. */
function drawSwitch(id, name, label, options) {
  const pick = (event) => State.set({ [name]: event.target.value });
  const select = make(
    "select",
    { id: `${id}-${name}`, onchange: pick },
    ...options.map(([value, text]) => make("option", { value, selected: State.now[name] === value }, text)),
  );
  return make("label", {}, `${label} `, select);
}

/* Light, dark, or as the system has it. */
function applyTheme() {
  const theme = State.now.theme;
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  byId("theme").textContent = `colours: ${theme || "system"}`;
}

function nextTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const turns = dark ? ["", "light", "dark"] : ["", "dark", "light"];
  State.set({ theme: turns[(turns.indexOf(State.now.theme) + 1) % 3] });
}

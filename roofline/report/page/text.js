/* Put names on the page as text only, whatever they contain. */

/* Make an element; children are nodes or texts, never markup. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const byId = (id) => document.getElementById(id);

/* Draw, and give the focus back to the control that had it: drawing makes controls anew. */
function keepingFocus(draw) {
  const id = document.activeElement?.id;
  draw();
  if (id && document.activeElement?.id !== id) byId(id)?.focus({ preventScroll: true });
}

/* What shows nothing, or turns the direction of writing, would hide what a name is: the twin of Python's isprintable. */
const printable = (text) => String(text).replace(/[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu, "\ufffd");

/* Plotly reads some HTML, and templates, in texts. */
const plotText = (text) => printable(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/%\{/g, "%&#123;");

/* Keep the end of a long name, which tells it apart; the whole is in its title. */
function shorten(text, width) {
  const plain = printable(text);
  return plain.length <= width
    ? plain
    : `${plain.slice(0, Math.floor(width / 3))}\u2026${plain.slice(-(width - Math.floor(width / 3) - 1))}`;
}

/* A table cell for a spreadsheet: quoted where it must be, and never a formula. */
function csvCell(value) {
  const text = String(value ?? ""),
    safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replace(/"/g, '""')}"` : safe;
}

function download(name, text, type) {
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

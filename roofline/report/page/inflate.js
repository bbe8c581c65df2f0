/* Read what the page carries: base64 of gzip, in a script element that no browser runs. */

async function inflate(id) {
  const text = atob(document.getElementById(id).textContent.trim());
  const packed = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) packed[i] = text.charCodeAt(i);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/* Run the plotting library that the page carries; the page loads nothing. */
async function loadPlotly() {
  const script = document.createElement("script");
  script.textContent = new TextDecoder().decode(await inflate("plotly"));
  document.head.append(script);
}

/* Start a page; what goes wrong is said on it, beside the figures that it shows without scripts. */
function run(start) {
  start().catch((error) => {
    const old = !("DecompressionStream" in globalThis);
    const text = old
      ? "This browser is too old to draw the plots; the figures above hold."
      : `This page could not be drawn: ${error.message}`;
    const said = document.createElement("p");
    said.className = "warn";
    said.setAttribute("role", "alert");
    said.textContent = text;
    document.body.prepend(said);
    console.error(error);
  });
}

/* What roofline.report.packing.pack wrote: a JSON text, and arrays whose bytes lie in planes. */
function unpack(bytes) {
  const size = new DataView(bytes.buffer).getUint32(0, true);
  const text = new TextDecoder().decode(bytes.subarray(4, 4 + size)),
    body = bytes.subarray(4 + size);
  const kinds = { f4: Float32Array, u1: Uint8Array, u2: Uint16Array, u4: Uint32Array },
    made = new Map();
  return JSON.parse(text, (_, value) => {
    if (!value || !value.$) return value;
    const [name, offset, shape] = value.$,
      key = value.$.join();
    if (!made.has(key)) made.set(key, fromPlanes(body, offset, shape, kinds[name]));
    return made.get(key);
  });
}

function fromPlanes(body, offset, shape, Kind) {
  const width = Kind.BYTES_PER_ELEMENT,
    count = shape.reduce((a, b) => a * b, 1),
    out = new Uint8Array(count * width);
  for (let plane = 0; plane < width; plane++) {
    const from = offset + plane * count;
    for (let i = 0; i < count; i++) out[i * width + plane] = body[from + i];
  }
  const flat = new Kind(out.buffer);
  if (shape.length === 1) return flat;
  return Array.from({ length: shape[0] }, (_, i) => flat.subarray(i * shape[1], (i + 1) * shape[1]));
}

/* Write base units as a person reads them: the twin of roofline/units.py. */

/* Round half to even where a half is exact, as Python does. */
function fixed(value, places) {
  const scale = 10 ** places,
    scaledUp = value * scale,
    below = Math.floor(scaledUp);
  if (scaledUp - below !== 0.5 || !Number.isInteger(value * 2 ** 20)) return value.toFixed(places);
  return ((below % 2 ? below + 1 : below) / scale).toFixed(places);
}

function significant(value, digits = 3) {
  if (value === 0 || !Number.isFinite(value)) return String(value);
  const exponent = Number(value.toExponential(digits - 1).split("e")[1]);
  return fixed(value, Math.max(digits - 1 - exponent, 0));
}

function scaled(value, unit, digits = 3) {
  if (value === 0 || !Number.isFinite(value)) return `${value} ${unit}`.trimEnd();
  let exponent = Math.min(Math.max(Math.floor(Math.log10(Math.abs(value)) / 3), 0), 5);
  let mantissa = significant(value / 1000 ** exponent, digits);
  if (Math.abs(Number(mantissa)) >= 1000 && exponent < 5) [exponent, mantissa] = [exponent + 1, significant(Math.sign(value), digits)];
  return `${mantissa} ${["", "k", "M", "G", "T", "P"][exponent]}${unit}`.trimEnd();
}

function seconds(value, digits = 3) {
  for (const [limit, factor, unit] of [
    [1, 1, "s"],
    [1e-3, 1e3, "ms"],
    [1e-6, 1e6, "us"],
  ]) {
    if (Math.abs(value) >= limit * (1 - 0.5 * 10 ** -digits)) return `${significant(value * factor, digits)} ${unit}`;
  }
  return value ? `${significant(value * 1e9, digits)} ns` : "0 s";
}

function percent(share) {
  return Math.abs(share) >= 0.0995 || share === 0 ? `${fixed(100 * share, 0)} %` : `${fixed(100 * share, 1)} %`;
}

const sum = (values) => values.reduce((a, b) => a + b, 0);
const largest = (values) => values.reduce((a, b) => Math.max(a, b), -Infinity);
const smallest = (values) => values.reduce((a, b) => Math.min(a, b), Infinity);

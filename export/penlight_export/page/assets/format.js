// SPDX-License-Identifier: Apache-2.0
// Numbers and tensors as short texts.

const THOUSAND = ["", "k", "M", "G", "T", "P"];

function scaled(number, base, units) {
  let value = number;
  let unit = 0;
  while (Math.abs(value) >= base && unit < units.length - 1) {
    value /= base;
    unit += 1;
  }
  return [unit === 0 || value >= 100 ? String(Math.round(value)) : value.toPrecision(3), units[unit]];
}

function count(number) {
  if (number === null || number === undefined) return "–";
  return scaled(number, 1000, THOUSAND).join(" ").trim();
}

function bytes(number) {
  if (number === null || number === undefined) return "–";
  return scaled(number, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]).join(" ");
}

function duration(nanoseconds) {
  if (nanoseconds === null || nanoseconds === undefined) return "–";
  return scaled(nanoseconds, 1000, ["ns", "µs", "ms", "s"]).join(" ");
}

function share(part, whole) {
  if (!whole || part === null || part === undefined) return "–";
  const percent = (100 * part) / whole;
  return percent && percent < 0.1 ? "<0.1 %" : `${percent.toFixed(percent < 10 ? 1 : 0)} %`;
}

// NaN and infinities arrive as texts.
function number(value, digits = 4) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value) && Math.abs(value) < 1e7) return value.toLocaleString("en");
  return Math.abs(value) >= 1e5 || (value && Math.abs(value) < 1e-3) ? value.toExponential(2) : String(Number(value.toPrecision(digits)));
}

function shapeText(shape) {
  return shape ? `[${shape.join(", ")}]` : "[?]";
}

function typeText(value) {
  return `${value.dtype} ${shapeText(value.shape)}`;
}

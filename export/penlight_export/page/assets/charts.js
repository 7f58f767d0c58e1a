// SPDX-License-Identifier: Apache-2.0
// Small charts as SVG. Every chart says in words what it shows.

function statisticsText(facts) {
  const odd = facts.nonfinite ? `, ${number(facts.nonfinite)} not finite` : "";
  return `${number(facts.low)} … ${number(facts.high)}, mean ${number(facts.mean)}, std ${number(facts.std)}, ${share(facts.zeros, 1)} zero${odd}`;
}

function histogram(facts, width, height) {
  return barChart([{ counts: facts.counts, kind: "a" }], facts.low, facts.high, width, height, `Histogram: ${statisticsText(facts)}`);
}

// series: [{counts, kind}] over the same bins from low to high, drawn over each other.
function barChart(series, low, high, width, height, label) {
  const bottom = height - 14;
  const largest = Math.max(1, ...series.flatMap((each) => each.counts));
  const bars = series.map(({ counts, kind }) => {
    const step = width / counts.length;
    const path = counts.map((n, k) => {
      const tall = n ? Math.max(1, (n / largest) * (bottom - 2)) : 0;
      return tall ? `M${(k * step).toFixed(2)} ${bottom}v${(-tall).toFixed(2)}h${Math.max(0.5, step - 0.6).toFixed(2)}v${tall.toFixed(2)}z` : "";
    });
    return svg("path", { d: path.join(""), class: `bars ${kind}` });
  });
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "chart", role: "img", "aria-label": label }, bars,
    svg("line", { x1: 0, x2: width, y1: bottom, y2: bottom, class: "axis" }), axisText(0, height - 2, "start", number(low, 3)), axisText(width, height - 2, "end", number(high, 3)));
}

function axisText(x, y, anchor, text) {
  const node = svg("text", { x, y, "text-anchor": anchor, class: "tick" });
  node.textContent = text;
  return node;
}

// Round numbers (1, 2 or 5 times a power of ten) within a range.
function ticks(low, high, wanted) {
  const span = high - low;
  if (!(span > 0)) return [low];
  let step = 10 ** Math.floor(Math.log10(span / wanted));
  step *= [1, 2, 5, 10].find((factor) => span / (step * factor) <= wanted);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * span; k += 1) found.push(Number((k * step).toPrecision(12)));
  return found;
}

// A pair of axes; marks(place) returns what is drawn in it, place(x, y) gives coordinates.
function axes(range, titles, marks, label, size = { width: 460, height: 260 }) {
  const frame = { left: 58, right: 28, top: 10, bottom: 38 };
  const inner = { width: size.width - frame.left - frame.right, height: size.height - frame.top - frame.bottom };
  const spread = (low, high) => (high > low ? [low, high] : [low - 0.5, high + 0.5]);
  const [x0, x1] = spread(...range.x);
  const [y0, y1] = spread(...range.y);
  const place = (x, y) => [frame.left + ((x - x0) / (x1 - x0)) * inner.width, frame.top + (1 - (y - y0) / (y1 - y0)) * inner.height];
  const grid = ticks(y0, y1, 5).map((value) => [svg("line", { x1: frame.left, x2: size.width - frame.right, y1: place(x0, value)[1], y2: place(x0, value)[1], class: "grid" }),
    axisText(frame.left - 6, place(x0, value)[1] + 3, "end", number(value, 3))]);
  const bottom = ticks(x0, x1, 6).map((value) => axisText(place(value, y0)[0], size.height - 22, "middle", number(value, 3)));
  return svg("svg", { viewBox: `0 0 ${size.width} ${size.height}`, class: "chart", role: "img", "aria-label": label }, grid.flat(), bottom,
    axisText(frame.left + inner.width / 2, size.height - 6, "middle", titles[0]), axisText(frame.left, 8, "end", titles[1]), marks(place));
}

function extent(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (typeof value !== "number") continue; // NaN and infinities arrive as texts
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return low <= high ? [low, high] : [0, 1];
}

function linePath(xs, ys, place) {
  let pen = "M";
  return xs.map((x, k) => {
    if (typeof ys[k] !== "number") {
      pen = "M";
      return "";
    }
    const [left, top] = place(x, ys[k]);
    const text = `${pen}${left.toFixed(1)} ${top.toFixed(1)}`;
    pen = "L";
    return text;
  }).join("");
}

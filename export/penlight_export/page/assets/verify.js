// SPDX-License-Identifier: Apache-2.0
// The page of `penlight verify --report`: the verdict, every output, the tensors against each other, and where they part.

function start() {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { report } = data;
  const graph = data.graph ? markedGraph(data) : null;
  document.getElementById("page").append(
    el("header", { class: "plain" }, el("div", { class: "title" }, el("h1", {}, data.models.join(" against ")))),
    el("main", { class: "report" }, verdict(data, graph), el("section", {}, el("h2", {}, "Outputs"), outputTable(report.rows)),
      report.worst_inputs.length ? el("section", {}, el("h2", {}, "Worst inputs"), worstTable(report.worst_inputs)) : null,
      report.notes.length ? el("section", {}, el("h2", {}, "Notes"), el("ul", {}, report.notes.map((note) => el("li", {}, note)))) : null,
      el("section", {}, el("h2", {}, "Tensors"), Object.entries(data.plots).map(([name, plot]) => pairPlots(name, plot))),
      graph ? el("section", {}, el("h2", {}, "Graph"), el("div", { class: "boxed" }, graph.element)) : null));
  if (graph) graph.show();
  if (graph && data.marked !== null) graph.reveal(graph.model.nodes[data.marked]);
  window.penlight = { graph }; // for the console, and for tests
}

function markedGraph(data) {
  if (data.marked !== null) data.graph.nodes[data.marked].differs = true;
  const found = data.report.divergence;
  return new GraphView(data.graph, describer({}, (node) => (node.differs ? el("p", { class: "differs" }, `The first of ${found.compared} layers that differs: max abs ${number(found.max_abs)}.`) : null)));
}

function verdict(data, graph) {
  const { report } = data;
  const worst = report.rows.reduce((most, row) => (most === null || Number(row.max_abs) > Number(most.max_abs) || row.max_abs === "inf" ? row : most), null);
  const found = report.divergence;
  const text = report.ok ? `The numbers agree: ${report.rows.length} comparisons within the tolerance of ${number(report.tolerance)}.` : `The numbers differ by more than the tolerance of ${number(report.tolerance)}.`;
  return el("div", { class: `verdict ${report.ok ? "" : "bad"}`, role: "status" }, el("span", { class: "mark", "aria-hidden": "true" }, report.ok ? "✓" : "✗"), el("div", {}, text,
    el("div", { class: "muted small" }, worst ? `Largest difference ${number(worst.max_abs)} in ${worst.output}, ${worst.reference} against ${worst.engine}.` : "Nothing was compared."),
    found ? el("div", { class: "small" }, "First layer that differs: ", graph && data.marked !== null ? el("button", { class: "link", onclick: () => { graph.reveal(graph.model.nodes[data.marked]); graph.element.scrollIntoView(); } }, `${found.operator} ${found.value}`) : `${found.operator} ${found.value}`,
      ` ${[found.module_path, found.source].filter(Boolean).join(", ")}`) : null));
}

function outputTable(rows) {
  const column = (title, key, text = (row) => number(row[key])) => ({ title, numeric: true, of: (row) => (row[key] === null ? null : Number(row[key])), text });
  return sortableTable([
    { title: "Engines", of: (row) => row.engine, text: (row) => `${row.reference} / ${row.engine}` },
    { title: "Output", of: (row) => row.output, text: (row) => row.output },
    { title: "Sample", of: (row) => row.sample, text: (row) => [row.sample, ...Object.entries(row.sizes).map(([name, size]) => `${name}=${size}`)].filter(Boolean).join(" ") },
    column("Max abs", "max_abs"), column("Max rel", "max_rel"), column("Max ULP", "max_ulp", (row) => (row.max_ulp === null ? "–" : count(row.max_ulp))),
    column("SNR", "snr_db", (row) => (row.snr_db === "inf" ? "equal" : row.snr_db === null ? "–" : `${Math.round(row.snr_db)} dB`)),
    column("Argmax agrees", "agreement", (row) => (row.agreement === null ? "–" : share(row.agreement, 1))),
    { title: "Worst element", of: (row) => row.worst.join(), text: (row) => (row.worst.length ? shapeText(row.worst) : "–") },
    { title: "Verdict", of: (row) => Number(row.ok), node: (row) => el("span", { class: row.ok ? "ok" : "bad" }, row.ok ? "ok" : `differs ${row.note}`) },
  ], rows, "Outputs");
}

function worstTable(entries) {
  return sortableTable([
    { title: "Sample", of: (row) => row.sample, text: (row) => row.sample || "sample" },
    { title: "Row", numeric: true, of: (row) => row.row, text: (row) => (row.row === null ? "–" : String(row.row)) },
    { title: "Output", of: (row) => row.output, text: (row) => row.output },
    { title: "Engine", of: (row) => row.engine, text: (row) => row.engine },
    { title: "Max abs", numeric: true, of: (row) => Number(row.max_abs), text: (row) => number(row.max_abs) },
  ], entries, "Worst inputs");
}

function pairPlots(name, plot) {
  const { place, a, b } = plot.points;
  const all = extent([...a, ...b]);
  return el("article", { class: "card pair" }, el("h3", {}, name),
    el("p", { class: "muted small" }, `shape ${shapeText(plot.shape)}, max abs ${number(plot.max_abs)}; `, el("i", { class: "swatch a" }), "reference ", el("i", { class: "swatch b" }), "compared"),
    el("div", { class: "plots" },
      el("figure", {}, barChart(plot.counts.map((counts, k) => ({ counts, kind: "ab"[k] })), plot.low, plot.high, 460, 200, `Histograms of both tensors of ${name}`), el("figcaption", {}, "How often each value occurs")),
      el("figure", {}, scatter(plot, all, name), el("figcaption", {}, "Each element against its reference; equal ones lie on the line")),
      el("figure", {}, axes({ x: extent(place), y: all }, ["element", ""], (at) => [svg("path", { d: linePath(place, a, at), class: "line a" }), svg("path", { d: linePath(place, b, at), class: "line b" })], `Values of both tensors of ${name}`), el("figcaption", {}, "Both tensors, element by element")),
      el("figure", {}, errorPlot(plot, name), el("figcaption", {}, "Absolute difference, element by element"))));
}

function scatter({ points, worst }, all, name) {
  return axes({ x: all, y: all }, ["reference", ""], (at) => {
    const [left, right] = [at(all[0], all[0]), at(all[1], all[1])];
    const dots = points.place.map((place, k) => {
      if (typeof points.a[k] !== "number" || typeof points.b[k] !== "number") return null;
      const [cx, cy] = at(points.a[k], points.b[k]);
      return svg("circle", { cx: cx.toFixed(1), cy: cy.toFixed(1), r: place === worst ? 4 : 2, class: place === worst ? "dot worst" : "dot" });
    });
    return [svg("line", { x1: left[0], y1: left[1], x2: right[0], y2: right[1], class: "even" }), dots.filter(Boolean)];
  }, `Elements of ${name} against each other`);
}

function errorPlot({ points }, name) {
  const errors = points.a.map((value, k) => (typeof value === "number" && typeof points.b[k] === "number" ? Math.abs(value - points.b[k]) : null));
  return axes({ x: extent(points.place), y: [0, extent(errors)[1]] }, ["element", ""], (at) => svg("path", { d: linePath(points.place, errors, at), class: "line error" }), `Differences of ${name}`);
}

start();

// SPDX-License-Identifier: Apache-2.0
// The page of `penlight inspect --html`.

function start() {
  const data = JSON.parse(document.getElementById("data").textContent);
  const graph = new GraphView(data.graph, describer(data.weights));
  const page = tabs("Views of the model", [
    { id: "graph", title: "Graph", content: () => graph.element, onshow: () => graph.show() },
    { id: "layers", title: "Layers", content: () => layerTable(graph.model, reveal) },
    { id: "memory", title: "Memory", content: () => memoryContent(), onshow: () => memory && memory.show() },
    { id: "weights", title: "Weights", content: () => weightCards(data.weights, graph.model, reveal) },
    { id: "tensors", title: "Tensors", content: () => tensorTable(graph.model, reveal) },
    { id: "about", title: "About", content: () => about(data, graph.model) },
  ]);
  const memory = data.plan && data.plan.blocks.length ? new MemoryView(data.plan, graph.model, reveal) : null;
  function memoryContent() {
    if (memory) return memory.element;
    return el("p", { class: "lead" }, data.model.format === "onnx" ? "An .onnx file has no memory plan: each engine makes its own. Convert it to .pen to see the edge runtime's." : "This program's memory could not be planned: it needs inputs of its own, or keeps nothing in the arena.");
  }
  function reveal(node) {
    page.show("graph");
    graph.reveal(node);
  }
  document.getElementById("page").append(header(data, page.list), el("main", {}, page.panels));
  page.show("graph");
  window.penlight = { graph, memory }; // for the console, and for tests
}

function header(data, list) {
  const { model } = data;
  const chip = (name, value) => (value === null || value === undefined ? null : el("span", { class: "chip" }, el("b", {}, value), ` ${name}`));
  return el("header", {}, el("div", { class: "title" }, el("h1", {}, model.path), el("span", { class: "badge" }, `.${model.format}`), model.methods.length > 1 ? el("span", { class: "muted" }, `method ${model.method}, one of ${model.methods.join(", ")}`) : null,
    el("div", { class: "chips" }, chip("parameters", count(model.parameters)), chip("MACs", model.macs ? count(model.macs) : null), chip("nodes", number(data.graph.nodes.length)),
      chip("of weights", bytes(model.weight_bytes)), model.arena_bytes ? chip("of arena", bytes(model.arena_bytes)) : null, data.profile ? chip(`measured on ${data.profile.engine}`, duration(data.graph.nodes.reduce((sum, node) => sum + (node.ns || 0), 0))) : null)), list);
}

function about(data, model) {
  const { model: facts_ } = data;
  const ports = (list) => list.map((port) => [port.name, `${port.dtype} ${shapeText(port.shape)}`]);
  const operators = Object.entries(facts_.operators).map(([name, times]) => ({ name, times, nodes: model.nodes.filter((node) => node.operator === name) }));
  const all = totals(model);
  const sum = (row, key) => row.nodes.reduce((total, node) => total + (node[key] || 0), 0);
  const column = (key, title, format) => all[key] && { title, numeric: true, of: (row) => sum(row, key), node: (row) => bar(sum(row, key), all[key], `${format(sum(row, key))}`) };
  return el("div", { class: "columns" },
    el("div", {}, el("h2", {}, "Operators"), sortableTable([
      { title: "Operator", of: (row) => row.name, node: (row) => el("span", {}, el("i", { class: `swatch ${row.nodes.length ? row.nodes[0].category : "math"}` }), row.name) },
      { title: "Nodes", numeric: true, of: (row) => row.times, text: (row) => number(row.times) },
      column("macs", "MACs", count), column("bytes", "Bytes moved", bytes), column("ns", "Time", duration)].filter(Boolean), operators, "Operators")),
    el("div", {}, el("h2", {}, "Inputs"), facts(ports(facts_.inputs)), el("h2", {}, "Outputs"), facts(ports(facts_.outputs)),
      Object.keys(data.sizes).length ? [el("h2", {}, "Sizes of the figures"), facts(Object.entries(data.sizes).map(([name, shape]) => [name, shapeText(shape)]))] : [],
      data.profile ? [el("h2", {}, "Measurement"), facts([["Engine", data.profile.engine], ["Runs", `${data.profile.runs}, median`], ...Object.entries(data.profile.inputs).map(([name, shape]) => [name, shapeText(shape)])])] : [],
      el("h2", {}, "File"), facts([["Size", bytes(facts_.file_bytes)], ...Object.entries(facts_.metadata)])));
}

start();

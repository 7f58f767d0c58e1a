// SPDX-License-Identifier: Apache-2.0
// What the panel says of a node, of a folded module, or of the graph's inputs and outputs.

function facts(rows) {
  return el("dl", { class: "facts" }, rows.filter((row) => row && row[1] !== null && row[1] !== "").map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

function totals(model) {
  const sum = (key) => (model.nodes.some((node) => node[key] !== null) ? model.nodes.reduce((total, node) => total + (node[key] || 0), 0) : null);
  return { macs: sum("macs"), bytes: sum("bytes"), ns: sum("ns") };
}

function costFacts(nodes, all) {
  const sum = (key) => (all[key] === null ? null : nodes.reduce((total, node) => total + (node[key] || 0), 0));
  const line = (key, format) => (sum(key) === null ? null : `${format(sum(key))}  (${share(sum(key), all[key])})`);
  return [["MACs", line("macs", count)], ["Bytes moved", line("bytes", bytes)], ["Time", line("ns", duration)]];
}

// Returns describe(box, view) for a GraphView; weights are the histograms by value.
function describer(weights, extra = () => null) {
  return (box, view) => {
    if (!box) return hint(view);
    const all = totals(view.model);
    if (box.kind === "port") return [el("h2", {}, box.title), el("p", { class: "muted" }, box.end ? "output of the model" : "input of the model"), facts([["Type", typeText(view.model.values[box.value])], ["Bytes", bytes(view.model.values[box.value].bytes)]])];
    if (box.kind === "module") return moduleDetails(box, view, all);
    return [extra(box.node, view), ...nodeDetails(box.node, view, all, weights)];
  };
}

function hint(view) {
  return [el("h2", {}, "Nothing selected"), el("p", { class: "muted" }, "Click a node for its tensors, attributes, weights and cost. Double-click a module to unfold it."),
    el("p", { class: "muted" }, "Drag or scroll to pan, Ctrl and scroll to zoom. With the keyboard: arrows, Enter, + − 0, and / to search."),
    facts([["Nodes", number(view.model.nodes.length)], ["Tensors", number(view.model.values.length)]])];
}

function moduleDetails(box, view, all) {
  const kinds = new Map();
  for (const node of box.members) kinds.set(node.operator, (kinds.get(node.operator) || 0) + 1);
  const listed = [...kinds].sort((a, b) => b[1] - a[1]).map(([name, times]) => `${name.split(".").pop()} ×${times}`).join(", ");
  return [el("p", { class: "kicker" }, "module"), el("h2", {}, box.path.split("\u0000").join(".")),
    el("p", {}, el("button", { onclick: () => view.unfold(box.path) }, "Unfold")),
    facts([["Nodes", number(box.members.length)], ["Operators", listed], ...costFacts(box.members, all)])];
}

function nodeDetails(node, view, all, weights) {
  const { model } = view;
  return [el("p", { class: "kicker" }, node.operator), el("h2", {}, node.name || "(no name)"),
    node.paths.length ? el("p", {}, el("button", { onclick: () => view.fold(node.paths[node.paths.length - 1]) }, `Fold ${node.module.join(".")}`)) : null,
    facts([["Module", node.module.join(".")], ["Source", node.source], ...costFacts([node], all)]),
    Object.keys(node.attributes).length ? [el("h3", {}, "Attributes"), facts(Object.entries(node.attributes).map(([name, value]) => [name, String(value)]))] : [],
    el("h3", {}, "Inputs"), el("ul", { class: "tensors" }, node.inputs.map((value) => tensorLine(value, view, weights))),
    el("h3", {}, "Outputs"), el("ul", { class: "tensors" }, node.outputs.map((value) => tensorLine(value, view, {}))),
    el("h3", {}, "Read by"), el("ul", { class: "tensors" }, [...new Set(node.outputs.flatMap((value) => (value < 0 ? [] : model.consumers[value])))].slice(0, 40).map((index) => el("li", {}, nodeLink(model.nodes[index], view))))].flat();
}

function nodeLink(node, view) {
  return el("button", { class: "link", onclick: () => view.reveal(node) }, `${node.operator.split(".").pop()} ${node.name}`);
}

function tensorLine(index, view, weights) {
  if (index < 0) return el("li", { class: "muted" }, "(left out)");
  const value = view.model.values[index];
  const producer = view.model.producer[index];
  const statistics = weights[index];
  return el("li", {}, el("span", { class: "name" }, value.name), el("span", { class: "muted" }, `${typeText(value)}  ${bytes(value.bytes)}${value.constant ? "  weight" : ""}`),
    producer >= 0 ? el("span", {}, "from ", nodeLink(view.model.nodes[producer], view)) : null,
    statistics && statistics.counts ? [histogram(statistics, 290, 64), el("span", { class: "muted" }, statisticsText(statistics))] : null);
}

// SPDX-License-Identifier: Apache-2.0
// Tables that sort by a click on their heads, and the page's lists of layers, tensors and weights.

const ROWS_AT_FIRST = 400; // a browser takes long to lay out many thousand rows

// columns: [{title, of(row), text(row) or node(row), numeric}]; the order of the rows is that of the model until a head is clicked.
function sortableTable(columns, rows, label) {
  const body = el("tbody");
  const more = el("button", { onclick: () => fill(Infinity) }, `Show all ${number(rows.length)} rows`);
  let order = rows;
  const heads = columns.map((column, index) => el("th", { scope: "col", class: column.numeric ? "numeric" : "" }, el("button", { onclick: () => sort(index) }, column.title)));
  function fill(limit) {
    replaceChildren(body, order.slice(0, limit).map((row) => el("tr", {}, columns.map((column) => el("td", { class: column.numeric ? "numeric" : "" }, column.node ? column.node(row) : column.text(row))))));
    more.hidden = order.length <= limit;
  }
  function sort(index) {
    const down = heads[index].getAttribute("aria-sort") !== "descending";
    const compare = (a, b) => (a === b ? 0 : a === null ? -1 : b === null ? 1 : a < b ? -1 : 1);
    order = [...rows].sort((a, b) => compare(columns[index].of(a), columns[index].of(b)) * (down ? -1 : 1));
    heads.forEach((head, k) => head.setAttribute("aria-sort", k === index ? (down ? "descending" : "ascending") : "none"));
    fill(ROWS_AT_FIRST);
  }
  fill(ROWS_AT_FIRST);
  return el("div", { class: "scroll" }, el("table", { "aria-label": label }, el("thead", {}, el("tr", {}, heads)), body), more);
}

function bar(part, whole, text) {
  const line = el("span", { class: "bar" }, text);
  line.style.setProperty("--part", whole ? part / whole : 0);
  return line;
}

function layerTable(model, reveal) {
  const all = totals(model);
  const cost = (key, title, format) => all[key] && { title, numeric: true, of: (node) => node[key], node: (node) => bar(node[key], Math.max(...model.nodes.map((n) => n[key] || 0)), format(node[key])) };
  const columns = [
    { title: "#", numeric: true, of: (node) => node.index, text: (node) => String(node.index + 1) },
    { title: "Operator", of: (node) => node.operator, node: (node) => el("span", {}, el("i", { class: `swatch ${node.category}` }), node.operator.split(".").pop()) },
    { title: "Node", of: (node) => node.name, node: (node) => el("button", { class: "link", onclick: () => reveal(node) }, node.name || "(no name)") },
    { title: "Module", of: (node) => node.module.join("."), text: (node) => node.module.join(".") },
    { title: "Output", of: (node) => firstOutput(model, node, "bytes"), text: (node) => node.outputs.filter((v) => v >= 0).slice(0, 2).map((v) => typeText(model.values[v])).join("; ") },
    cost("macs", "MACs", count), cost("bytes", "Bytes moved", bytes), cost("ns", "Time", duration),
  ].filter(Boolean);
  return sortableTable(columns, model.nodes, "Layers");
}

function firstOutput(model, node, key) {
  const value = node.outputs.find((each) => each >= 0);
  return value === undefined ? null : model.values[value][key];
}

function tensorTable(model, reveal) {
  const kind = (row) => (row.constant ? "weight" : model.inputs.includes(row.index) ? "input" : model.outputs.includes(row.index) ? "output" : "");
  const rows = model.values.map((value, index) => ({ ...value, index, kindText: "" })).filter((row) => row.constant || model.producer[row.index] >= 0 || model.consumers[row.index].length);
  for (const row of rows) row.kindText = kind(row);
  const owner = (row) => model.nodes[model.producer[row.index] >= 0 ? model.producer[row.index] : model.consumers[row.index][0]];
  return sortableTable([
    { title: "Tensor", of: (row) => row.name, node: (row) => (owner(row) ? el("button", { class: "link", onclick: () => reveal(owner(row)) }, row.name) : row.name) },
    { title: "Kind", of: (row) => row.kindText, text: (row) => row.kindText },
    { title: "Dtype", of: (row) => row.dtype, text: (row) => row.dtype },
    { title: "Shape", of: (row) => (row.shape || []).length, text: (row) => shapeText(row.shape) },
    { title: "Bytes", numeric: true, of: (row) => row.bytes, text: (row) => bytes(row.bytes) },
    { title: "Read by", numeric: true, of: (row) => model.consumers[row.index].length, text: (row) => String(model.consumers[row.index].length) },
  ], rows, "Tensors");
}

function weightCards(weights, model, reveal) {
  const entries = Object.entries(weights).map(([index, facts_]) => ({ value: model.values[index], facts: facts_, node: model.nodes[model.consumers[index][0]] }));
  if (!entries.length) return el("p", { class: "lead" }, "The file holds no weights.");
  const list = el("div", { class: "cards" });
  const orders = { size: ["Largest first", (a, b) => b.facts.size - a.facts.size], model: ["As in the model", () => 0], std: ["Widest first", (a, b) => (b.facts.std || 0) - (a.facts.std || 0)] };
  const choose = el("select", { "aria-label": "Order of weights", onchange: () => fill() }, Object.entries(orders).map(([key, [title]]) => el("option", { value: key }, title)));
  const filter = el("input", { type: "search", placeholder: "Filter…", "aria-label": "Filter weights", oninput: () => fill() });
  function fill() {
    const text = filter.value.toLowerCase();
    const shown = entries.filter((entry) => entry.value.name.toLowerCase().includes(text)).sort(orders[choose.value][1]);
    replaceChildren(list, shown.map((entry) => weightCard(entry, reveal)));
  }
  fill();
  return [el("div", { class: "toolbar" }, filter, choose, el("span", { class: "hits" }, `${number(entries.length)} weights`)), list];
}

function weightCard({ value, facts: statistics, node }, reveal) {
  return el("article", { class: "card" }, el("h3", {}, node ? el("button", { class: "link", onclick: () => reveal(node) }, value.name) : value.name),
    el("p", { class: "muted" }, `${typeText(value)}  ${bytes(value.bytes)}`), statistics.counts ? histogram(statistics, 280, 96) : null,
    el("p", { class: "muted small" }, statistics.counts ? statisticsText(statistics) : "no finite number"));
}

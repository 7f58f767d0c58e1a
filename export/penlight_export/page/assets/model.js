// SPDX-License-Identifier: Apache-2.0
// The graph with its modules: which nodes are seen one by one, and which as one folded module.

// The last part that is a word, with the numbers behind it: blocks.3.1.
function moduleTitle(parts) {
  let start = parts.length - 1;
  while (start > 0 && /^\d+$/.test(parts[start])) start -= 1;
  return parts.slice(start).join(".");
}

class Model {
  constructor(graph) {
    Object.assign(this, graph);
    this.producer = new Int32Array(this.values.length).fill(-1);
    this.consumers = this.values.map(() => []);
    this.nodes.forEach((node, index) => {
      node.index = index;
      node.paths = node.module.map((_, depth) => node.module.slice(0, depth + 1).join("\u0000"));
      for (const value of node.outputs) if (value >= 0) this.producer[value] = index;
      for (const value of new Set(node.inputs)) if (value >= 0) this.consumers[value].push(index);
    });
    this.around = new Map(this.reads); // what a value of a body is at first
    this.order = this.inOrder();
    this.folded = new Set();
    this.depth = Math.max(0, ...this.nodes.map((node) => node.module.length));
  }

  // As it is computed: the bodies of If, Loop and Scan, which stand behind all nodes in the file, in front of their node.
  inOrder() {
    const inside = new Map();
    for (const node of this.nodes) {
      if (node.owner === undefined) continue;
      if (!inside.has(node.owner)) inside.set(node.owner, []);
      inside.get(node.owner).push(node);
    }
    const order = [];
    const visit = (node) => {
      for (const inner of inside.get(node.index) || []) visit(inner);
      order.push(node);
    };
    for (const node of this.nodes) if (node.owner === undefined) visit(node);
    return order;
  }

  // Modules as folded at a depth: 1 shows the outermost modules only, a depth beyond the deepest shows every node.
  foldTo(depth) {
    this.folded = new Set(this.nodes.filter((node) => node.paths.length >= depth).map((node) => node.paths[depth - 1]));
  }

  // The largest depth at which at most `limit` boxes are seen.
  depthFor(limit) {
    for (let depth = this.depth + 1; depth > 1; depth -= 1) {
      this.foldTo(depth);
      if (new Set(this.nodes.map((node) => this.boxOf(node))).size <= limit) return depth;
    }
    return 1;
  }

  boxOf(node) {
    const path = node.paths.find((each) => this.folded.has(each));
    return path === undefined ? node.index : path;
  }

  // Boxes in the order of computation, and the edges between them; the graph's inputs and outputs are boxes too.
  visible() {
    const boxes = [];
    const places = new Map();
    const place = (key, make) => {
      if (!places.has(key)) {
        places.set(key, boxes.length);
        boxes.push({ id: boxes.length, members: [], ...make() });
      }
      return boxes[places.get(key)];
    };
    for (const value of this.inputs) place(`in${value}`, () => ({ kind: "port", value, title: this.values[value].name, subtitle: typeText(this.values[value]) }));
    for (const node of this.order) {
      const key = this.boxOf(node);
      place(key, () => (typeof key === "number" ? this.nodeBox(node) : this.moduleBox(node, key))).members.push(node);
    }
    for (const value of this.outputs) place(`out${value}`, () => ({ kind: "port", value, end: true, title: this.values[value].name, subtitle: typeText(this.values[value]) }));
    this.finishModules(boxes);
    return { boxes, edges: this.edges(places) };
  }

  nodeBox(node) {
    const output = node.outputs.find((value) => value >= 0);
    const subtitle = output === undefined ? "" : shapeText(this.values[output].shape);
    return { kind: "node", node, title: node.operator.split(".").pop(), subtitle, category: node.category };
  }

  moduleBox(node, path) {
    return { kind: "module", path, title: moduleTitle(path.split("\u0000")), category: "module" };
  }

  finishModules(boxes) {
    for (const box of boxes) if (box.kind === "module") box.subtitle = `${box.members.length} ${box.members.length === 1 ? "node" : "nodes"}`;
  }

  edges(places) {
    const found = new Map();
    const add = (from, to, value) => {
      const source = places.get(from);
      const target = places.get(to);
      if (source !== target) found.set(`${source} ${target} ${value}`, { source, target, value });
    };
    const sourceOf = (value) => {
      if (this.producer[value] >= 0) return this.boxOf(this.nodes[this.producer[value]]);
      return this.around.has(value) ? sourceOf(this.around.get(value)) : `in${value}`;
    };
    for (const node of this.nodes) {
      for (const value of [...node.inputs, ...(node.results || [])]) if (value >= 0 && places.has(sourceOf(value))) add(sourceOf(value), this.boxOf(node), value);
    }
    for (const value of this.outputs) if (places.has(sourceOf(value))) add(sourceOf(value), `out${value}`, value);
    return [...found.values()];
  }
}

// SPDX-License-Identifier: Apache-2.0
// The graph with its toolbar, its keys and the panel about what is selected. Used by every page that shows a graph.

const BOXES_AT_FIRST = 260;
const COLORINGS = {
  operator: { title: "Kind of operator" },
  ns: { title: "Measured time" },
  macs: { title: "Multiply-accumulates" },
  bytes: { title: "Bytes read and written" },
};

class GraphView {
  // describe(box) returns the elements of the panel for a selected box.
  constructor(graph, describe) {
    this.model = new Model(graph);
    this.describe = describe;
    this.canvas = el("canvas", {
      tabindex: 0, role: "application", class: "graph-canvas", "aria-describedby": "graph-keys",
      "aria-label": "Graph of the model",
    });
    this.aside = el("aside", { class: "details", "aria-label": "Selected node" });
    this.live = el("p", { class: "visually-hidden", role: "status" });
    this.element = el("div", { class: "graph-view" }, this.toolbar(),
      el("div", { class: "graph-body" }, el("div", { class: "graph-stage" }, this.canvas, this.legend = el("div", { class: "legend" })), this.aside),
      this.live, el("p", { id: "graph-keys", class: "visually-hidden" },
        "Arrow keys go from node to node, Enter folds or unfolds a module, plus and minus zoom, 0 shows all, slash searches."));
    this.scene = new Scene(this.canvas);
    this.depth = this.model.depthFor(BOXES_AT_FIRST);
    this.listen();
  }

  toolbar() {
    const button = (label, title, action) => el("button", { title, "aria-label": title, onclick: action }, label);
    this.search = el("input", { type: "search", placeholder: "Search nodes, tensors, modules…", "aria-label": "Search", oninput: () => this.find(), onkeydown: (event) => this.searchKey(event) });
    this.hits = el("span", { class: "hits", role: "status" });
    this.level = el("input", { type: "range", min: 1, max: this.model.depth + 1, "aria-label": "Fold modules at depth", oninput: () => this.setDepth(Number(this.level.value)) });
    this.coloring = el("select", { "aria-label": "Colour by", onchange: () => this.paintHeat() },
      Object.entries(COLORINGS).filter(([key]) => key === "operator" || this.model.nodes.some((node) => node[key])).map(([key, { title }]) => el("option", { value: key }, title)));
    return el("div", { class: "toolbar" },
      el("label", { class: "search" }, this.search), this.hits,
      this.model.depth ? el("label", { class: "depth" }, "Fold", this.level, "Unfold") : null,
      el("label", {}, "Colour ", this.coloring),
      el("span", { class: "spacer" }),
      button("−", "Zoom out", () => this.zoomMiddle(1 / 1.3)), button("+", "Zoom in", () => this.zoomMiddle(1.3)), button("Fit", "Show all of the graph", () => this.scene.fit(true)));
  }

  // Called when the view has its place in the window.
  show() {
    if (this.shown) return this.scene.draw();
    this.shown = true;
    this.setDepth(this.depth);
    new ResizeObserver(() => this.scene.draw()).observe(this.canvas);
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", () => this.scene.readColors());
    return undefined;
  }

  setDepth(depth) {
    this.depth = depth;
    this.level.value = depth;
    this.model.foldTo(depth);
    this.rebuild();
    this.scene.fit();
  }

  rebuild() {
    const { boxes, edges } = this.model.visible();
    for (const box of boxes) box.differs = box.members.some((node) => node.differs);
    this.scene.selected = null;
    this.scene.setGraph(boxes, edges, this.model);
    this.find(false);
    this.paintHeat();
    this.select(null);
  }

  listen() {
    const { canvas, scene } = this;
    let drag = null;
    canvas.addEventListener("pointerdown", (event) => {
      drag = { x: event.clientX, y: event.clientY, moved: false };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!drag) return;
      const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
      if (!drag.moved && Math.hypot(dx, dy) < 4) return;
      Object.assign(drag, { x: event.clientX, y: event.clientY, moved: true });
      this.pan(-dx, -dy);
    });
    canvas.addEventListener("pointerup", (event) => {
      if (drag && !drag.moved) this.click(event);
      drag = null;
    });
    canvas.addEventListener("dblclick", (event) => this.toggle(scene.boxAt(event.offsetX, event.offsetY)));
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("keydown", (event) => this.key(event));
    document.addEventListener("keydown", (event) => {
      if (event.key !== "/" || /INPUT|SELECT/.test(document.activeElement.tagName)) return;
      event.preventDefault();
      this.search.focus();
    });
  }

  pan(dx, dy) {
    this.scene.view.x += dx / this.scene.view.scale;
    this.scene.view.y += dy / this.scene.view.scale;
    this.scene.draw();
  }

  wheel(event) {
    event.preventDefault();
    if (event.ctrlKey || event.metaKey) this.scene.zoom(Math.exp(-event.deltaY / 200), event.offsetX, event.offsetY);
    else this.pan(event.shiftKey ? event.deltaY : event.deltaX, event.shiftKey ? 0 : event.deltaY);
  }

  zoomMiddle(factor) {
    this.scene.zoom(factor, this.canvas.clientWidth / 2, this.canvas.clientHeight / 2);
  }

  click(event) {
    const area = this.scene.miniatureArea(this.canvas.clientWidth, this.canvas.clientHeight);
    if (area && event.offsetX < area.left + area.width + 6) {
      this.scene.view.y = ((event.offsetY - area.top) / area.height) * this.scene.layout.height - this.canvas.clientHeight / this.scene.view.scale / 2;
      this.scene.draw();
    } else this.select(this.scene.boxAt(event.offsetX, event.offsetY));
  }

  key(event) {
    const actions = {
      "+": () => this.zoomMiddle(1.3), "=": () => this.zoomMiddle(1.3), "-": () => this.zoomMiddle(1 / 1.3), 0: () => this.scene.fit(true),
      Enter: () => this.toggle(this.scene.selected), Escape: () => this.select(null),
      ArrowDown: () => this.step(1, 0), ArrowUp: () => this.step(-1, 0), ArrowRight: () => this.step(0, 1), ArrowLeft: () => this.step(0, -1),
    };
    if (!actions[event.key] || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    actions[event.key]();
  }

  // The nearest box one layer on, or beside; the first one when none is selected.
  step(down, right) {
    const from = this.scene.selected;
    if (!from) return this.go(this.scene.boxes[0]);
    const near = (boxes, distance) => boxes.reduce((best, box) => (best === null || distance(box) < distance(best) ? box : best), null);
    const linked = this.scene.edges.filter((edge) => (down > 0 ? edge.source : edge.target) === from.id)
      .map((edge) => this.scene.boxes[down > 0 ? edge.target : edge.source]);
    if (down) return this.go(near(linked, (box) => Math.abs(box.layer - from.layer) * 1e4 + Math.abs(box.x - from.x)));
    const beside = this.scene.layout.layers[from.layer].map((vertex) => vertex.box).filter((box) => box && (box.x - from.x) * right > 0);
    return this.go(near(beside, (box) => Math.abs(box.x - from.x)));
  }

  go(box) {
    if (!box) return;
    this.select(box);
    this.scene.center(box);
  }

  select(box) {
    this.scene.selected = box;
    this.scene.draw();
    replaceChildren(this.aside, this.describe(box, this));
    this.live.textContent = box ? `${box.title} ${box.subtitle || ""}` : "";
  }

  // Shows a node, unfolding the modules around it.
  reveal(node) {
    const hides = (path) => this.model.folded.has(path);
    const hidden = node.paths.some(hides);
    while (node.paths.some(hides)) this.unfold(node.paths.find(hides), false);
    if (hidden) this.rebuild();
    this.go(this.scene.boxes.find((box) => box.kind === "node" && box.node === node));
  }

  toggle(box) {
    if (!box || box.kind === "port") return;
    if (box.kind === "module") this.unfold(box.path);
    else if (box.node.paths.length) this.fold(box.node.paths[box.node.paths.length - 1]);
  }

  unfold(path, redraw = true) {
    this.model.folded.delete(path);
    const depth = path.split("\u0000").length;
    for (const node of this.model.nodes) if (node.paths.length > depth && node.paths[depth - 1] === path) this.model.folded.add(node.paths[depth]);
    if (redraw) this.redrawAt(path);
  }

  fold(path) {
    this.model.folded.add(path);
    this.redrawAt(path);
  }

  // Draws anew with the same module at the same place of the window.
  redrawAt(path) {
    this.rebuild();
    const inside = this.scene.boxes.find((box) => box.members.some((node) => node.paths.includes(path)));
    this.go(inside);
  }

  find(move = true) {
    const text = this.search.value.trim().toLowerCase();
    const matches = (node) => [node.name, node.operator, node.module.join("."), ...node.outputs.filter((v) => v >= 0).map((v) => this.model.values[v].name)].some((each) => each.toLowerCase().includes(text));
    this.found = text ? this.model.nodes.filter(matches) : [];
    const found = new Set(this.found);
    this.scene.marked = text ? new Set(this.scene.boxes.filter((box) => box.members.some((node) => found.has(node)))) : null;
    this.hits.textContent = text ? `${this.found.length} found` : "";
    this.next = 0;
    if (move && this.scene.marked && this.scene.marked.size) this.scene.center([...this.scene.marked][0]);
    this.scene.draw();
  }

  searchKey(event) {
    if (event.key === "Escape") this.canvas.focus();
    if (event.key !== "Enter" || !this.found.length) return;
    this.reveal(this.found[this.next % this.found.length]);
    this.next += 1;
  }

  paintHeat() {
    const key = this.coloring.value;
    const total = (box) => box.members.reduce((sum, node) => sum + (node[key] || 0), 0);
    const largest = Math.max(...this.scene.boxes.map(total), 1);
    this.scene.heat = key === "operator" ? null : new Map(this.scene.boxes.map((box) => [box, Math.sqrt(total(box) / largest)]));
    replaceChildren(this.legend, key === "operator" ? this.kinds() : el("span", {}, el("i", { class: "swatch heat" }), "more"));
    this.scene.draw();
  }

  kinds() {
    const names = { heavy: "matrix", norm: "norm, softmax", activation: "activation", reduce: "pool, reduce", shape: "shape, move", math: "arithmetic", control: "control", module: "module" };
    const present = new Set(this.scene.boxes.map((box) => box.category));
    return Object.entries(names).filter(([key]) => present.has(key)).map(([key, name]) => el("span", {}, el("i", { class: `swatch ${key}` }), name));
  }
}

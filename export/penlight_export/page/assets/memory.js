// SPDX-License-Identifier: Apache-2.0
// The memory plan over time: every block of the arena from the node that writes it to the last that reads it.

class MemoryView {
  constructor(plan, model, onnode) {
    Object.assign(this, { plan, model, onnode });
    this.blocks = plan.blocks.map(([value, scratch, offset, size, first, last]) => ({ value, scratch, offset, size, first, last }));
    this.live = liveBytes(this.blocks, plan.steps);
    this.step = Math.max(0, this.live.indexOf(Math.max(...this.live)));
    this.canvas = el("canvas", { tabindex: 0, role: "slider", "aria-label": "Step of the run", class: "memory-canvas", "aria-valuemin": 0, "aria-valuemax": plan.steps });
    this.panel = el("aside", { class: "details", "aria-label": "Tensors alive at this step" });
    const peak = Math.max(...this.live);
    const all = this.blocks.reduce((sum, block) => sum + block.size, 0);
    this.element = el("div", { class: "memory-view" },
      el("p", { class: "lead" }, `${bytes(plan.arena_bytes)} of arena hold ${this.blocks.length} tensors of ${bytes(all)} together; at most ${bytes(peak)} are in use at a time. Each block lies from the node that writes it to the last one that reads it.`),
      el("div", { class: "graph-body" }, el("div", { class: "memory-stage" }, this.canvas), this.panel));
    this.listen();
  }

  show() {
    this.colors = Object.fromEntries(["surface", "text", "muted", "line", "accent", "card", "heavy", "norm", "activation", "reduce", "shape", "control", "math", "port"].map((name) => [name, color(name)]));
    if (!this.observer) {
      this.observer = new ResizeObserver(() => this.paint());
      this.observer.observe(this.canvas);
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.show());
    }
    this.goTo(this.step);
  }

  listen() {
    const at = (event) => Math.round((this.plan.steps * (event.offsetX - this.left)) / (this.width - this.left - 12) - 0.5);
    this.canvas.addEventListener("pointermove", (event) => { if (event.buttons) this.goTo(at(event)); });
    this.canvas.addEventListener("pointerdown", (event) => this.goTo(at(event)));
    this.canvas.addEventListener("keydown", (event) => {
      const page = Math.max(1, Math.round(this.plan.steps / 20));
      const moves = { ArrowRight: 1, ArrowLeft: -1, PageUp: page, PageDown: -page, Home: -this.plan.steps, End: this.plan.steps };
      if (!(event.key in moves)) return;
      event.preventDefault();
      this.goTo(this.step + moves[event.key]);
    });
  }

  goTo(step) {
    this.step = Math.min(Math.max(step, 0), this.plan.steps - 1);
    const node = this.model.nodes[this.step];
    this.canvas.setAttribute("aria-valuenow", this.step);
    this.canvas.setAttribute("aria-valuetext", `${this.step}: ${node ? node.name : ""}, ${bytes(this.live[this.step])} in use`);
    const alive = this.blocks.filter((block) => block.first <= this.step && this.step <= block.last).sort((a, b) => b.size - a.size);
    replaceChildren(this.panel, el("p", { class: "kicker" }, `step ${this.step + 1} of ${this.plan.steps}`),
      node ? [el("h2", {}, node.name), el("p", {}, el("button", { class: "link", onclick: () => this.onnode(node) }, `Show ${node.operator} in the graph`))] : [],
      facts([["In use", bytes(this.live[this.step])], ["Blocks", String(alive.length)]]),
      el("ul", { class: "tensors" }, alive.slice(0, 60).map((block) => this.blockLine(block))));
    this.paint();
  }

  blockLine(block) {
    const name = block.value >= 0 ? this.model.values[block.value].name : `working memory of ${this.model.nodes[block.scratch].name}`;
    const type = block.value >= 0 ? `${typeText(this.model.values[block.value])}  ` : "";
    return el("li", {}, el("span", { class: "name" }, name), el("span", { class: "muted" }, `${type}${bytes(block.size)} at ${number(block.offset)}, steps ${block.first + 1}–${Math.min(block.last, this.plan.steps - 1) + 1}`));
  }

  paint() {
    const { canvas } = this;
    const [width, height, ratio] = [canvas.clientWidth, canvas.clientHeight, window.devicePixelRatio || 1];
    if (!width) return;
    [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    Object.assign(this, { width, left: 76 });
    const curve = 90; // height of the curve of bytes in use
    const x = (step) => this.left + (step / this.plan.steps) * (width - this.left - 12);
    const y = (offset) => height - 34 - (offset / Math.max(1, this.plan.arena_bytes)) * (height - curve - 64);
    this.paintAxes(context, x, y, height);
    for (const block of this.blocks) this.paintBlock(context, block, x, y);
    this.paintCurve(context, x, curve);
    context.fillStyle = this.colors.accent;
    context.globalAlpha = 0.25;
    context.fillRect(x(this.step), 8, Math.max(2, x(this.step + 1) - x(this.step)), height - 42);
    context.globalAlpha = 1;
  }

  paintAxes(context, x, y, height) {
    context.font = `11px ${FONT}`;
    context.fillStyle = this.colors.muted;
    context.strokeStyle = this.colors.line;
    context.textAlign = "right";
    for (let part = 0; part <= 4; part += 1) {
      const offset = (part / 4) * this.plan.arena_bytes;
      context.fillText(bytes(Math.round(offset)), this.left - 8, y(offset) + 4);
      context.beginPath();
      context.moveTo(this.left, y(offset));
      context.lineTo(x(this.plan.steps), y(offset));
      context.stroke();
    }
    context.textAlign = "center";
    for (const step of ticks(0, this.plan.steps, 10)) context.fillText(String(step), x(step), height - 18);
    context.fillText("step of the run (one node each)", x(this.plan.steps / 2), height - 3);
  }

  paintBlock(context, block, x, y) {
    const node = this.model.nodes[block.first];
    const [left, right] = [x(block.first), x(Math.min(block.last + 1, this.plan.steps))];
    const [top, bottom] = [y(block.offset + block.size), y(block.offset)];
    context.fillStyle = block.scratch >= 0 ? this.colors.port : this.colors[node ? node.category : "port"];
    context.globalAlpha = block.first <= this.step && this.step <= block.last ? 0.95 : 0.6;
    context.fillRect(left, top, Math.max(1, right - left - (right - left > 3 ? 1 : 0)), Math.max(1, bottom - top - (bottom - top > 3 ? 1 : 0)));
    context.globalAlpha = 1;
    const width = right - left;
    if (width < 60 || bottom - top < 15 || block.value < 0) return;
    context.fillStyle = this.colors.card;
    context.textAlign = "left";
    context.save();
    context.beginPath();
    context.rect(left, top, width - 4, bottom - top);
    context.clip();
    context.fillText(this.model.values[block.value].name, left + 5, Math.min((top + bottom) / 2 + 4, bottom - 3));
    context.restore();
  }

  paintCurve(context, x, curve) {
    const largest = Math.max(1, this.plan.arena_bytes);
    const top = (used) => curve - (used / largest) * (curve - 14);
    context.beginPath();
    context.moveTo(x(0), curve);
    this.live.forEach((used, step) => {
      context.lineTo(x(step), top(used));
      context.lineTo(x(step + 1), top(used));
    });
    context.lineTo(x(this.plan.steps), curve);
    context.fillStyle = this.colors.accent;
    context.globalAlpha = 0.22;
    context.fill();
    context.globalAlpha = 1;
    context.strokeStyle = this.colors.accent;
    context.stroke();
    context.fillStyle = this.colors.muted;
    context.textAlign = "right";
    context.fillText("in use", this.left - 8, curve - 20);
  }
}

function liveBytes(blocks, steps) {
  const change = new Array(steps + 2).fill(0);
  for (const block of blocks) {
    change[block.first] += block.size;
    change[Math.min(block.last, steps) + 1] -= block.size;
  }
  let sum = 0;
  return change.slice(0, steps).map((each) => (sum += each));
}

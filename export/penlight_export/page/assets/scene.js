// SPDX-License-Identifier: Apache-2.0
// Draws a laid out graph on a canvas: only the layers and boxes inside of the window, with less detail from farther away.

const TEXT_SCALE = 0.42; // below it texts are too small to read, and are left out
const LABEL_SCALE = 0.75;
const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";

class Scene {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.layout = { layers: [], far: [], width: 0, height: 0 };
    this.boxes = [];
    this.view = { x: 0, y: 0, scale: 1 }; // graph coordinates of the window's corner
    this.selected = null;
    this.marked = null; // boxes that a search found
    this.heat = null; // box to 0..1
    this.pending = false;
    this.frames = { count: 0, milliseconds: 0, longest: 0 }; // for those who measure
    this.readColors();
  }

  readColors() {
    this.palette = {};
    const names = ["surface", "text", "muted", "line", "accent", "card", "heat", "bad", "found",
      "heavy", "norm", "activation", "reduce", "shape", "control", "math", "module", "port"];
    for (const name of names) this.palette[name] = color(name);
    this.draw();
  }

  setGraph(boxes, edges, model) {
    this.boxes = boxes;
    this.model = model;
    for (const box of boxes) box.width = this.boxWidth(box);
    this.layout = layoutGraph(boxes, edges);
    this.edges = edges;
    this.miniature = null;
    this.draw();
  }

  boxWidth(box) {
    this.context.font = `600 13px ${FONT}`;
    const title = this.context.measureText(cut(box.title)).width;
    this.context.font = `11px ${FONT}`;
    return Math.ceil(Math.max(84, title + 30, this.context.measureText(cut(box.subtitle)).width + 30));
  }

  size() {
    const { clientWidth, clientHeight } = this.canvas;
    const ratio = window.devicePixelRatio || 1;
    if (this.canvas.width !== Math.round(clientWidth * ratio) || this.canvas.height !== Math.round(clientHeight * ratio)) {
      this.canvas.width = Math.round(clientWidth * ratio);
      this.canvas.height = Math.round(clientHeight * ratio);
    }
    return { width: clientWidth, height: clientHeight, ratio };
  }

  // Any number of changes within a frame are drawn once.
  draw() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      const start = performance.now();
      this.paint();
      const taken = performance.now() - start;
      this.frames.count += 1;
      this.frames.milliseconds += taken;
      this.frames.longest = Math.max(this.frames.longest, taken);
    });
  }

  paint() {
    const { width, height, ratio } = this.size();
    const { context, view } = this;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = this.palette.surface;
    context.fillRect(0, 0, width, height);
    context.setTransform(ratio * view.scale, 0, 0, ratio * view.scale, -ratio * view.scale * view.x, -ratio * view.scale * view.y);
    const window_ = { left: view.x, top: view.y, right: view.x + width / view.scale, bottom: view.y + height / view.scale };
    const first = Math.max(0, Math.floor(window_.top / ROW) - 1);
    const last = Math.min(this.layout.layers.length - 1, Math.floor(window_.bottom / ROW) + 1);
    this.paintFar(window_);
    for (let k = first; k <= last; k += 1) this.paintSegments(this.layout.layers[k], window_);
    for (let k = first; k <= last; k += 1) {
      for (const vertex of this.layout.layers[k]) {
        if (vertex.box && vertex.x + vertex.width / 2 >= window_.left && vertex.x - vertex.width / 2 <= window_.right) this.paintBox(vertex.box);
      }
    }
    this.paintMiniature(width, height, ratio, window_);
  }

  paintSegments(layer, window_) {
    const { context } = this;
    context.lineWidth = Math.max(1.2, 0.8 / this.view.scale);
    const strong = [];
    context.strokeStyle = this.palette.line;
    context.beginPath();
    for (const vertex of layer) {
      if (!vertex.box && vertex.x >= window_.left && vertex.x <= window_.right) this.passPoint(vertex);
      for (const segment of vertex.below) {
        if (Math.max(segment.from.x, segment.to.x) < window_.left || Math.min(segment.from.x, segment.to.x) > window_.right) continue;
        if (this.touchesSelection(segment.value)) strong.push(segment);
        else this.segmentPath(segment);
      }
    }
    context.stroke();
    this.paintStrong(strong);
    if (this.view.scale >= LABEL_SCALE) this.paintLabels(layer);
  }

  paintStrong(segments) {
    const { context } = this;
    if (!segments.length) return;
    context.strokeStyle = this.palette.accent;
    context.lineWidth *= 1.8;
    context.beginPath();
    for (const segment of segments) {
      this.segmentPath(segment);
      if (!segment.from.box) this.passPoint(segment.from);
    }
    context.stroke();
  }

  passPoint(point) {
    this.context.moveTo(point.x, point.y - BOX_HEIGHT / 2);
    this.context.lineTo(point.x, point.y + BOX_HEIGHT / 2);
  }

  segmentPath({ from, to, ends }) {
    const { context } = this;
    const top = from.y + BOX_HEIGHT / 2;
    const bottom = to.y - BOX_HEIGHT / 2;
    const middle = (top + bottom) / 2;
    context.moveTo(from.x, top);
    if (from.x === to.x) context.lineTo(to.x, bottom);
    else context.bezierCurveTo(from.x, middle + 4, to.x, middle - 4, to.x, bottom);
    if (!ends || this.view.scale < TEXT_SCALE) return;
    context.moveTo(to.x - 4, bottom - 7);
    context.lineTo(to.x, bottom - 1);
    context.lineTo(to.x + 4, bottom - 7);
  }

  paintLabels(layer) {
    const { context } = this;
    context.font = `10.5px ${FONT}`;
    context.textAlign = "left";
    context.fillStyle = this.palette.muted;
    for (const vertex of layer) {
      if (vertex.box === null || vertex.box.kind !== "module") continue;
      const labelled = vertex.below.filter((segment) => segment.labelled);
      if (labelled.length !== 1) continue;
      context.fillText(shapeText(this.model.values[labelled[0].value].shape), vertex.x + 6, vertex.y + BOX_HEIGHT / 2 + 15);
    }
  }

  // The few lines without a trunk: those back into a module that was left, and the longest of very large graphs.
  paintFar(window_) {
    const { context } = this;
    context.strokeStyle = this.palette.line;
    context.setLineDash([6, 5]);
    context.lineWidth = 1.2;
    context.beginPath();
    for (const { source, target } of this.layout.far) {
      const from = this.boxes[source];
      const to = this.boxes[target];
      if (Math.max(from.y, to.y) < window_.top || Math.min(from.y, to.y) > window_.bottom) continue;
      const bend = Math.max(from.x + from.width / 2, to.x + to.width / 2) + 60;
      context.moveTo(from.x + from.width / 2, from.y);
      context.bezierCurveTo(bend, from.y, bend, to.y, to.x + to.width / 2, to.y);
    }
    context.stroke();
    context.setLineDash([]);
  }

  touchesSelection(value) {
    const box = this.selected;
    if (!box) return false;
    if (box.kind === "port") return box.value === value;
    const producer = this.model.producer[value];
    return box.members.some((node) => node.index === producer) || box.members.some((node) => node.inputs.includes(value));
  }

  paintBox(box) {
    const { context, palette } = this;
    const left = box.x - box.width / 2;
    const top = box.y - BOX_HEIGHT / 2;
    const dimmed = this.marked !== null && !this.marked.has(box);
    context.globalAlpha = dimmed ? 0.3 : 1;
    const hue = palette[box.kind === "port" ? "port" : box.category];
    if (this.view.scale < TEXT_SCALE) return this.paintFarBox(box, left, top, hue);
    if (box.kind === "module") this.paintCard(left + 4, top + 4, box.width, palette.card, palette.line, 8);
    this.paintCard(left, top, box.width, this.fillOf(box), this.borderOf(box), box.kind === "port" ? BOX_HEIGHT / 2 : 8, this.isStrong(box));
    if (box.kind !== "port") {
      context.fillStyle = hue;
      context.beginPath();
      context.roundRect(left, top, 5, BOX_HEIGHT, [8, 0, 0, 8]);
      context.fill();
    }
    this.paintTexts(box);
    context.globalAlpha = 1;
    return undefined;
  }

  paintFarBox(box, left, top, hue) {
    const { context, palette } = this;
    context.fillStyle = this.heat || box.differs ? this.fillOf(box) : hue;
    context.fillRect(left, top, box.width, BOX_HEIGHT);
    if (this.isStrong(box) || box.differs) {
      context.strokeStyle = this.borderOf(box);
      context.lineWidth = 3 / this.view.scale;
      context.strokeRect(left, top, box.width, BOX_HEIGHT);
    }
    context.globalAlpha = 1;
    context.fillStyle = palette.text;
  }

  paintCard(left, top, width, fill, border, radius, strong = false) {
    const { context } = this;
    context.beginPath();
    context.roundRect(left, top, width, BOX_HEIGHT, radius);
    context.fillStyle = fill;
    context.fill();
    context.strokeStyle = border;
    context.lineWidth = strong ? 2.5 : 1;
    context.stroke();
  }

  fillOf(box) {
    if (box.differs) return `color-mix(in srgb, ${this.palette.bad} 30%, ${this.palette.card})`;
    const warmth = this.heat && this.heat.get(box);
    return warmth ? `color-mix(in srgb, ${this.palette.heat} ${Math.round(90 * warmth)}%, ${this.palette.card})` : this.palette.card;
  }

  isStrong(box) {
    return box === this.selected || box.differs || (this.marked !== null && this.marked.has(box));
  }

  borderOf(box) {
    if (box === this.selected) return this.palette.accent;
    if (box.differs) return this.palette.bad;
    return this.marked !== null && this.marked.has(box) ? this.palette.found : this.palette.line;
  }

  paintTexts(box) {
    const { context, palette } = this;
    context.textAlign = "center";
    context.textBaseline = "alphabetic";
    context.fillStyle = palette.text;
    context.font = `600 13px ${FONT}`;
    context.fillText(cut(box.title), box.x + 2, box.y - (box.subtitle ? 2 : -4));
    context.fillStyle = palette.muted;
    context.font = `11px ${FONT}`;
    if (box.subtitle) context.fillText(cut(box.subtitle), box.x + 2, box.y + 14);
  }

  // A strip at the left edge: all of the graph, drawn once, and where the window is.
  paintMiniature(width, height, ratio, window_) {
    const { context, layout } = this;
    const area = this.miniatureArea(width, height);
    if (!area) return;
    if (!this.miniature || this.miniature.height !== Math.ceil(area.height * ratio)) this.drawMiniature(area, ratio);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.globalAlpha = 0.9;
    context.fillStyle = this.palette.card;
    context.fillRect(area.left - 4, area.top - 4, area.width + 8, area.height + 8);
    context.drawImage(this.miniature, area.left, area.top, area.width, area.height);
    context.globalAlpha = 1;
    context.strokeStyle = this.palette.accent;
    context.lineWidth = 1.5;
    const clamp = (value, high) => Math.min(Math.max(value, 0), high);
    const top = clamp(window_.top / layout.height, 1) * area.height;
    const bottom = clamp(window_.bottom / layout.height, 1) * area.height;
    context.strokeRect(area.left - 3, area.top + top, area.width + 6, Math.max(3, bottom - top));
  }

  miniatureArea(width, height) {
    const { layout } = this;
    if (layout.height * this.view.scale < 1.6 * height || width < 500) return null;
    return { left: 14, top: 14, width: Math.min(64, Math.max(18, ((height - 28) * layout.width) / layout.height)), height: height - 28 };
  }

  drawMiniature(area, ratio) {
    this.miniature = document.createElement("canvas");
    this.miniature.width = Math.ceil(area.width * ratio);
    this.miniature.height = Math.ceil(area.height * ratio);
    const context = this.miniature.getContext("2d");
    const across = this.miniature.width / this.layout.width;
    const down = this.miniature.height / this.layout.height;
    for (const box of this.boxes) {
      context.fillStyle = box.differs ? this.palette.bad : this.palette[box.kind === "port" ? "port" : box.category];
      context.fillRect((box.x - box.width / 2) * across, (box.y - BOX_HEIGHT / 2) * down, Math.max(1, box.width * across), Math.max(1, BOX_HEIGHT * down));
    }
  }

  boxAt(x, y) {
    const point = { x: this.view.x + x / this.view.scale, y: this.view.y + y / this.view.scale };
    const layer = this.layout.layers[Math.floor(point.y / ROW)] || [];
    const found = layer.find(({ box }) => box && Math.abs(point.x - box.x) <= box.width / 2 && Math.abs(point.y - box.y) <= BOX_HEIGHT / 2);
    return found ? found.box : null;
  }

  zoom(factor, x, y) {
    const scale = Math.min(3, Math.max(0.02, this.view.scale * factor));
    this.view.x += x / this.view.scale - x / scale;
    this.view.y += y / this.view.scale - y / scale;
    this.view.scale = scale;
    this.draw();
  }

  // All of it if that can be read, else the top at a readable size.
  fit(always = false) {
    const { width, height } = this.size();
    const whole = Math.min(1.2, (width - 60) / (this.layout.width + 1), (height - 40) / (this.layout.height + 1));
    const scale = always || whole >= TEXT_SCALE ? Math.max(whole, 0.02) : Math.min(1, Math.max(0.6, (width - 160) / (this.layout.width + 1)));
    const top = whole >= scale ? (this.layout.height - height / scale) / 2 : -16 / scale;
    this.view = { scale, x: (this.layout.width - width / scale) / 2, y: top };
    if (!(whole >= scale) && this.layout.width * scale > width - 160 && this.boxes[0]) this.view.x = this.boxes[0].x - width / scale / 2;
    this.draw();
  }

  center(box) {
    const { width, height } = this.size();
    this.view.scale = Math.max(this.view.scale, TEXT_SCALE + 0.2);
    this.view.x = box.x - width / this.view.scale / 2;
    this.view.y = box.y - height / this.view.scale / 2;
    this.draw();
  }
}

function cut(text) {
  return text.length > 34 ? `${text.slice(0, 33)}…` : text;
}

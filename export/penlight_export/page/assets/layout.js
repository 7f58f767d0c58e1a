// SPDX-License-Identifier: Apache-2.0
// A layered layout in linear time (Sugiyama, Tagawa, Toda 1981): layers by the longest path, a trunk of points for every value that
// passes layers by, order by barycenters, and places by isotonic regression, layer by layer.

const ROW = 84; // between the middles of layers
const BOX_HEIGHT = 46;
const GAP = 26; // between boxes of a layer
const POINT = 14; // width that a passing line takes
const PULL = 0.9; // how much of its distance from the middle a join keeps: long graphs stay upright
const POINTS_PER_BOX = 24; // more passing points than this per box, and the longest lines are drawn straight

// boxes: [{width}] in the order of computation; edges: [{source, target, value}].
// Returns layers of vertices {x, y, width, box}, from left to right, and the segments between each layer and the next.
function layoutGraph(boxes, edges) {
  const layerOf = assignLayers(boxes, edges);
  const vertices = boxes.map((box, index) => ({ box, width: box.width, layer: layerOf[index], above: [], below: [], x: 0 }));
  const { far } = addTrunks(vertices, edges);
  const layers = Array.from({ length: Math.max(0, ...vertices.map((v) => v.layer + 1)) }, () => []);
  for (const vertex of vertices) layers[vertex.layer].push(vertex);
  orderLayers(layers);
  placeLayers(layers);
  const left = Math.min(0, ...vertices.map((v) => v.x - v.width / 2));
  for (const vertex of vertices) {
    vertex.x -= left;
    vertex.y = (vertex.layer + 0.5) * ROW;
    if (vertex.box) Object.assign(vertex.box, { x: vertex.x, y: vertex.y, layer: vertex.layer });
  }
  return { layers, far, width: Math.max(0, ...vertices.map((v) => v.x + v.width / 2)), height: layers.length * ROW };
}

function assignLayers(boxes, edges) {
  const layers = new Int32Array(boxes.length);
  const incoming = boxes.map(() => []);
  const outgoing = boxes.map(() => []);
  for (const edge of edges) {
    edge.backward = edge.source > edge.target; // a folded module that is left and entered again
    if (edge.backward) continue;
    incoming[edge.target].push(edge.source);
    outgoing[edge.source].push(edge.target);
  }
  boxes.forEach((_, index) => { for (const source of incoming[index]) layers[index] = Math.max(layers[index], layers[source] + 1); });
  // What reads nothing stands right above its first reader.
  boxes.forEach((_, index) => {
    if (!incoming[index].length && outgoing[index].length) layers[index] = Math.min(...outgoing[index].map((t) => layers[t])) - 1;
  });
  return layers;
}

// All readers of a value hang on one trunk of points that leads past the layers between.
function addTrunks(vertices, edges) {
  const trunks = new Map();
  const far = [];
  for (const edge of edges) {
    const key = `${edge.source} ${edge.value}`;
    if (edge.backward) far.push(edge);
    else if (trunks.has(key)) trunks.get(key).push(edge);
    else trunks.set(key, [edge]);
  }
  let budget = POINTS_PER_BOX * vertices.length + 2000;
  const length = (group) => Math.max(...group.map((edge) => vertices[edge.target].layer)) - vertices[group[0].source].layer - 1;
  for (const group of [...trunks.values()].sort((a, b) => length(a) - length(b))) {
    budget -= length(group);
    if (budget < 0) far.push(...group);
    else addTrunk(vertices, group);
  }
  return { far };
}

function addTrunk(vertices, group) {
  const value = group[0].value;
  let tip = vertices[group[0].source];
  let first = true;
  for (const edge of [...group].sort((a, b) => vertices[a.target].layer - vertices[b.target].layer)) {
    const target = vertices[edge.target];
    while (tip.layer < target.layer - 1) {
      const point = { box: null, width: POINT, layer: tip.layer + 1, above: [], below: [], x: 0, origin: vertices[group[0].source] };
      vertices.push(point);
      link(tip, point, value, first);
      [tip, first] = [point, false];
    }
    link(tip, target, value, first, edge);
    first = false;
  }
}

function link(from, to, value, labelled, edge = null) {
  const segment = { from, to, value, labelled, ends: edge !== null };
  from.below.push(segment);
  to.above.push(segment);
}

function orderLayers(layers) {
  const number = (layer) => layer.forEach((vertex, place) => { vertex.place = (place + 0.5) / layer.length; });
  const sweep = (layer, side, end) => {
    for (const vertex of layer) vertex.center = vertex[side].length ? mean(vertex[side], (s) => s[end].place) : vertex.place;
    layer.sort((a, b) => a.center - b.center);
    number(layer);
  };
  layers.forEach(number);
  for (let round = 0; round < 4; round += 1) {
    for (let k = 1; k < layers.length; k += 1) sweep(layers[k], "above", "from");
    for (let k = layers.length - 2; k >= 0; k -= 1) sweep(layers[k], "below", "to");
  }
}

function placeLayers(layers) {
  for (const layer of layers) {
    let x = 0;
    for (const vertex of layer) {
      vertex.x = x + vertex.width / 2;
      x += vertex.width + GAP;
    }
    for (const vertex of layer) vertex.x -= x / 2;
  }
  for (let round = 0; round < 4; round += 1) {
    for (const layer of layers) placeNear(layer, layer.map(wishedPlace), (vertex) => (vertex.box ? 50 : 1));
  }
  // Boxes stand; a line that was pushed aside somewhere keeps to that side from its start.
  for (const layer of [...layers].reverse()) {
    if (layer.every((vertex) => vertex.box)) continue;
    placeNear(layer, layer.map((vertex) => (vertex.box ? vertex.x : pointBelow(vertex))), (vertex) => (vertex.box ? 1e6 : 1));
  }
}

function pointBelow(point) {
  const next = point.below.find((segment) => !segment.to.box);
  return next ? next.to.x : point.x;
}

// Below what a box reads, so that chains get straight; what comes from far away counts less.
function wishedPlace(vertex) {
  if (!vertex.box) return vertex.above[0].from.x;
  if (!vertex.above.length) return vertex.below.length ? mean(vertex.below, (segment) => segment.to.x) : vertex.x;
  let [sum, weights] = [0, 0];
  for (const { from } of vertex.above) {
    const source = from.box ? from : from.origin;
    const weight = 1 / (vertex.layer - source.layer) ** 2;
    sum += weight * source.x;
    weights += weight;
  }
  return (vertex.above.length > 1 ? PULL : 1) * (sum / weights);
}

// The places nearest to the wished ones (least squares) that keep order and distance: pool adjacent violators.
function placeNear(layer, wished, weightOf) {
  const blocks = [];
  let offset = 0;
  layer.forEach((vertex, k) => {
    if (k) offset += (layer[k - 1].width + vertex.width) / 2 + GAP;
    vertex.offset = offset;
    const weight = weightOf(vertex);
    let block = { start: k, sum: (wished[k] - offset) * weight, weight };
    while (blocks.length && blocks[blocks.length - 1].sum / blocks[blocks.length - 1].weight > block.sum / block.weight) {
      const last = blocks.pop();
      block = { start: last.start, sum: last.sum + block.sum, weight: last.weight + block.weight };
    }
    blocks.push(block);
  });
  blocks.forEach((block, k) => {
    const end = k + 1 < blocks.length ? blocks[k + 1].start : layer.length;
    for (let i = block.start; i < end; i += 1) layer[i].x = block.sum / block.weight + layer[i].offset;
  });
}

function mean(items, of) {
  let sum = 0;
  for (const item of items) sum += of(item);
  return sum / items.length;
}

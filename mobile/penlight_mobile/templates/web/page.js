// The page around a model: checks it, and lets a visitor draw where the input is a small grey picture. SPDX-License-Identifier: Apache-2.0

const BARS = 10;
const LARGEST_PICTURE = 64; // pixels of a side that a person can draw for
const STROKE = 0.075; // of the pad's side
const TIMED_MILLISECONDS = 20; // browsers' clocks are coarse: runs are timed together

const at = (id) => document.getElementById(id);
const product = (sizes) => sizes.reduce((all, size) => all * size, 1);

/** The first input as { name, height, width } where it is one grey picture, (N, 1, H, W) or (N, H, W), else null. */
function picture_input(inputs) {
  const [info] = inputs;
  if (inputs.length !== 1 || info.dtype !== "float32" || info.shape.length < 3 || info.shape.length > 4) return null;
  const [height, width] = info.shape.slice(-2);
  const grey = info.shape.length === 3 || info.shape[1] === 1;
  const fits = [height, width].every((size) => typeof size === "number" && size >= 4 && size <= LARGEST_PICTURE);
  return grey && fits ? { name: info.name, height, width, shape: info.shape.map((size, axis) => (axis === 0 ? 1 : size)) } : null;
}

/** How the model's own sample fills its picture: the darkest and brightest value, and the box that the figure takes, as fractions. */
function framing(sample, { height, width }) {
  const pixels = sample.slice(0, height * width);
  const [low, high] = [Math.min(...pixels), Math.max(...pixels)];
  const box = bounding_box(pixels, width, low + 0.1 * (high - low));
  return { low, high, fill: box === null ? [1, 1] : [box.height / height, box.width / width] };
}

function bounding_box(pixels, width, threshold) {
  const rows = [];
  const columns = [];
  pixels.forEach((value, i) => {
    if (value <= threshold) return;
    rows.push(Math.floor(i / width));
    columns.push(i % width);
  });
  if (rows.length === 0) return null;
  const [top, left] = [Math.min(...rows), Math.min(...columns)];
  return { top, left, height: Math.max(...rows) - top + 1, width: Math.max(...columns) - left + 1 };
}

/** What was drawn, cropped, centred and scaled as the sample is: (H * W) values from `low` to `high`; null where nothing is drawn. */
function read_pad(pad, input, frame) {
  const side = pad.width;
  const drawn = pad.getContext("2d", { willReadFrequently: true }).getImageData(0, 0, side, side).data;
  const box = bounding_box(Float32Array.from({ length: side * side }, (_, i) => drawn[4 * i]), side, 32);
  if (box === null) return null;
  const scale = Math.min((frame.fill[0] * input.height) / box.height, (frame.fill[1] * input.width) / box.width, input.height / box.height);
  const [height, width] = [box.height * scale, Math.min(box.width * scale, input.width)];
  const small = new OffscreenCanvas(input.width, input.height).getContext("2d", { willReadFrequently: true });
  small.imageSmoothingQuality = "high";
  small.fillRect(0, 0, input.width, input.height);
  const [x, y] = [(input.width - width) / 2, (input.height - height) / 2];
  small.drawImage(pad, box.left, box.top, box.width, box.height, x, y, width, height);
  const { data } = small.getImageData(0, 0, input.width, input.height);
  return Float32Array.from({ length: input.height * input.width }, (_, i) => frame.low + (data[4 * i] / 255) * (frame.high - frame.low));
}

/** Paints values from `low` to `high` as grey pixels. */
function paint(canvas, pixels, { height, width }, { low, high }) {
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let i = 0; i < height * width; ++i) {
    const grey = (255 * (pixels[i] - low)) / (high - low || 1);
    image.data.set([grey, grey, grey, 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
}

/** Probabilities of scores; scores that already are probabilities stay. */
function softmax(scores) {
  const sum = scores.reduce((all, score) => all + score, 0);
  if (scores.every((score) => score >= 0) && Math.abs(sum - 1) < 1e-3) return [...scores];
  const top = Math.max(...scores);
  const weights = Array.from(scores, (score) => Math.exp(score - top));
  const total = weights.reduce((all, weight) => all + weight, 0);
  return weights.map((weight) => weight / total);
}

function show_scores(output) {
  const classes = output.shape.at(-1);
  const probabilities = softmax(Array.from(output.data.slice(0, classes), Number));
  const order = probabilities.map((_, i) => i).sort((a, b) => probabilities[b] - probabilities[a]);
  const rows = classes <= BARS ? probabilities.map((_, i) => i) : order.slice(0, BARS);
  at("bars").replaceChildren(...rows.map((i) => score_row(String(i), probabilities[i])));
  at("scores").hidden = false;
  return order[0];
}

function score_row(label, probability) {
  const row = element("div", "", "");
  row.setAttribute("role", "row");
  const bar = element("div", "", "bar");
  bar.append(element("i", "", ""));
  bar.firstChild.style.width = `${(100 * probability).toFixed(1)}%`;
  row.append(element("span", label, ""), bar, element("span", `${(100 * probability).toFixed(1)} %`, "score"));
  return row;
}

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  if (className) made.className = className;
  return made;
}

/** Microseconds of one run. */
function time_run(run) {
  const start = performance.now();
  let [runs, elapsed] = [0, 0];
  for (; elapsed < TIMED_MILLISECONDS; ++runs) {
    run();
    elapsed = performance.now() - start;
  }
  return (1000 * elapsed) / runs;
}

function in_words(microseconds) {
  return microseconds < 1000 ? `${microseconds.toFixed(0)} µs` : `${(microseconds / 1000).toFixed(2)} ms`;
}

function in_bytes(size) {
  return size < 1e6 ? `${(size / 1e3).toFixed(0)} kB` : `${(size / 1e6).toFixed(1)} MB`;
}

function from_base64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

/** Connects the pad with the model: every stroke is answered while it is drawn. */
function make_drawable(session, input, sample) {
  const pad = at("pad");
  const context = pad.getContext("2d", { willReadFrequently: true });
  const frame = framing(sample, input);
  Object.assign(context, { strokeStyle: "#fff", lineWidth: STROKE * pad.width, lineCap: "round", lineJoin: "round" });

  const answer = (pixels) => {
    const feed = { [input.name]: { data: pixels, shape: input.shape } };
    const outputs = session.run(feed);
    at("guess").textContent = show_scores(Object.values(outputs)[0]);
    at("time").textContent = `${in_words(time_run(() => session.run(feed)))} for one answer`;
    paint(at("seen"), pixels, input, frame);
  };
  const read = () => {
    const pixels = read_pad(pad, input, frame);
    if (pixels !== null) answer(pixels);
  };
  const clear = () => {
    context.clearRect(0, 0, pad.width, pad.height);
    at("guess").textContent = "?";
    at("time").textContent = "";
    at("scores").hidden = true;
    paint(at("seen"), new Float32Array(input.height * input.width).fill(frame.low), input, frame);
  };
  const place = (event) => [(event.offsetX * pad.width) / pad.clientWidth, (event.offsetY * pad.height) / pad.clientHeight];
  let last = null;
  pad.addEventListener("pointerdown", (event) => {
    pad.setPointerCapture(event.pointerId);
    last = place(event);
  });
  pad.addEventListener("pointermove", (event) => {
    if (last === null) return;
    context.beginPath();
    context.moveTo(...last);
    last = place(event);
    context.lineTo(...last);
    context.stroke();
    read();
  });
  const end = () => {
    if (last !== null) read();
    last = null;
  };
  pad.addEventListener("pointerup", end);
  pad.addEventListener("pointercancel", end);
  at("clear").addEventListener("click", clear);
  at("sample").addEventListener("click", () => answer(sample.slice(0, input.height * input.width)));
  clear();
  at("draw").hidden = false;
}

function show_operands(program) {
  const rows = [...program.inputs(), ...program.outputs()].map((info) => {
    const row = element("tr", "", "");
    row.append(element("td", info.name, ""), element("td", info.dtype, ""), element("td", info.shape.join(" × ") || "scalar", ""));
    return row;
  });
  at("operands").tBodies[0].replaceChildren(...rows);
}

function show_verdict(program) {
  try {
    program.selfTest();
    at("verdict").textContent = "✓ The outputs here are those of the model that was trained.";
    at("verdict").className = "ok";
  } catch (error) {
    at("verdict").textContent = `✗ ${error.message}`;
    at("verdict").className = "failed";
  }
}

/** Runs the samples that the model carries, for models that nobody can draw for. */
function show_samples(program, session, [sample]) {
  const outputs = session.run(sample.inputs);
  const time = time_run(() => session.run(sample.inputs));
  at("samples").append(
    ...Object.entries(outputs).map(([name, { data, shape }]) => {
      const shown = Array.from(data.slice(0, 8), (value) => Number(value).toPrecision(5)).join(", ");
      return element("p", `${name} [${shape.join(", ")}]: ${shown}${data.length > 8 ? ", …" : ""}`, "soft");
    }),
    element("p", `${in_words(time)} for one run of its sample`, "soft"),
  );
}

async function main() {
  const files = JSON.parse(at("files").textContent);
  const [wasm, model] = [from_base64(files.wasm), from_base64(files.model)];
  const program = (await Runtime.load(wasm)).program(model);
  const session = program.session();
  const { samples } = program;
  at("facts").textContent = `Model ${in_bytes(model.length)}, runtime ${in_bytes(wasm.length)}. Everything runs in this page; nothing is sent anywhere.`;
  show_operands(program);
  show_verdict(program);
  const input = program.outputs()[0].shape.length === 2 ? picture_input(program.inputs()) : null; // (N, classes)
  if (samples.length > 0) show_samples(program, session, samples);
  if (input !== null) {
    const sample = samples.length > 0 ? samples[0].inputs[input.name].data : Float32Array.of(0, 1);
    make_drawable(session, input, sample);
  }
}

main().catch((error) => {
  at("facts").textContent = `The model does not run here: ${error.message}`;
  at("facts").className = "failed";
});

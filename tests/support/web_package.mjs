// Uses a folder of `penlight package --target web` from Node: prints what the model says as JSON. SPDX-License-Identifier: Apache-2.0
// node web_package.mjs FOLDER [BATCH]: also runs the first input with BATCH copies of its sample.
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const [folder, batch] = process.argv.slice(2);
const { Runtime, PenlightError } = await import(pathToFileURL(`${folder}/penlight.js`));
const runtime = await Runtime.load(readFile(`${folder}/penlight.wasm`));
const bytes = await readFile(`${folder}/model.pen`);
const program = runtime.program(bytes);
program.selfTest();

const plain = (tensors) =>
  Object.fromEntries(Object.entries(tensors).map(([name, t]) => [name, { ...t, data: Array.from(t.data, Number) }]));
const refusal = (call) => {
  try {
    call();
  } catch (error) {
    return { kind: error.name, status: error instanceof PenlightError ? error.status : null, message: error.message };
  }
  return null;
};

const session = program.session();
const [sample] = program.samples;
const [[name, value]] = Object.entries(sample.inputs);
const size = value.data.length / value.shape[0];
const one = value.data.slice(0, size);
const many = new Float32Array(size * Number(batch));
for (let i = 0; i < Number(batch); ++i) many.set(one, i * size);

const damaged = Uint8Array.from(bytes);
damaged[200] ^= 255;
const result = {
  methods: program.methods,
  metadata: program.metadata,
  inputs: program.inputs(),
  outputs: program.outputs(),
  ran: plain(session.run(sample.inputs)),
  expected: plain(sample.outputs),
  ofNumbers: plain(session.run({ [name]: Array.from(one) })),
  many: plain(session.run({ [name]: many })),
  arenaBytes: session.arenaBytes,
  macs: session.macs,
  refusals: {
    damaged: refusal(() => runtime.program(damaged)),
    empty: refusal(() => runtime.program(new Uint8Array(0))),
    missing: refusal(() => session.run({})),
    unknown: refusal(() => session.run({ ...sample.inputs, other: one })),
    type: refusal(() => session.run({ [name]: new Int8Array(size) })),
    shape: refusal(() => session.run({ [name]: { data: one, shape: [1, 2, 3] } })),
    length: refusal(() => session.run({ [name]: new Float32Array(size + 1) })),
    rank: refusal(() => session.run({ [name]: { data: one, shape: [size] } })),
    budget: refusal(() => program.session({ macBudget: 1 }).run(sample.inputs)),
    method: refusal(() => program.session({ method: "decode" })),
  },
};
// What was refused has broken nothing, and memory that grew has moved nothing away.
const programs = Array.from({ length: 200 }, () => runtime.program(bytes));
result.again = plain(session.run(sample.inputs));
programs.forEach((p) => p.free());
session.free();
program.free();
console.log(JSON.stringify(result));

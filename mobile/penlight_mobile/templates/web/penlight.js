// Runs .pen models in browsers, workers and Node. No dependency. SPDX-License-Identifier: Apache-2.0
//
//   const runtime = await Runtime.load(fetch("penlight.wasm"));
//   const program = runtime.program(await (await fetch("model.pen")).arrayBuffer());
//   const { logits } = program.session().run({ x: new Float32Array(64) });

/** Element types by their number in penlight.h: NumPy's name and the array that holds them (float16 and bfloat16 as bits). */
const DTYPES = {
  1: ["float32", Float32Array],
  2: ["float16", Uint16Array],
  3: ["bfloat16", Uint16Array],
  4: ["float64", Float64Array],
  5: ["int8", Int8Array],
  6: ["uint8", Uint8Array],
  7: ["int16", Int16Array],
  8: ["uint16", Uint16Array],
  9: ["int32", Int32Array],
  10: ["uint32", Uint32Array],
  11: ["int64", BigInt64Array],
  12: ["uint64", BigUint64Array],
  13: ["bool", Uint8Array],
};

// The structs of penlight.h as wasm32 lays them out; layout.cpp fails to compile where these are wrong.
const ERROR = { status: 0, message: 4, size: 512 };
const TENSOR = { data: 0, sizeBytes: 4, dtype: 8, rank: 12, shape: 16, size: 80 };
const INFO = { name: 0, dtype: 4, rank: 8, shape: 16, symbols: 80, size: 112 };
const SESSION_OPTIONS = { structSize: 0, macBudget: 16, size: 32 };
const ALIGNMENT = 64; // of a model, so that kernels find aligned weights

/** A call that the runtime refused; `status` is the name in penlight.h, such as "PENLIGHT_SHAPE_MISMATCH". */
export class PenlightError extends Error {
  constructor(status, message) {
    super(message);
    this.name = "PenlightError";
    this.status = status;
  }
}

/** The compiled runtime and its memory. */
export class Runtime {
  #library;

  /** Compiles penlight.wasm. `source`: its bytes, a Response, or a promise of either. */
  static async load(source) {
    const given = await source;
    const bytes = typeof given?.arrayBuffer === "function" ? await given.arrayBuffer() : given;
    const library = new Library();
    const { instance } = await WebAssembly.instantiate(bytes, library.imports());
    library.attach(instance.exports);
    const runtime = new Runtime();
    runtime.#library = library;
    return runtime;
  }

  /** Verifies a .pen file (an ArrayBuffer or Uint8Array). Any bytes are safe to try; throws PenlightError when they are no model. */
  program(bytes) {
    return new Program(this.#library, bytes instanceof Uint8Array ? bytes : new Uint8Array(bytes));
  }
}

/** A verified model. `free` releases it; its sessions must not be used afterwards. */
export class Program {
  #library;
  #bytes;
  #handle;

  constructor(library, bytes) {
    this.#library = library;
    this.#bytes = library.store(bytes, ALIGNMENT);
    try {
      this.#handle = library.create("penlight_program_load", this.#bytes, bytes.length, 0);
    } catch (error) {
      library.release(this.#bytes);
      throw error;
    }
  }

  /** Names of what the program can do; most have one method, "forward". */
  get methods() {
    const { penlight_program_method_count: count, penlight_program_method_name: name } = this.#library.exports;
    return Array.from({ length: count(this.#handle) }, (_, i) => this.#library.text(name(this.#handle, i)));
  }

  /** What the method takes: [{ name, dtype, shape }]; a size that varies is the name of its symbol. */
  inputs(method) {
    return this.#operands("input", this.#index(method));
  }

  /** What the method gives, as `inputs`. */
  outputs(method) {
    return this.#operands("output", this.#index(method));
  }

  /** What the exporter noted, such as producer and versions. */
  get metadata() {
    const library = this.#library;
    const { penlight_program_metadata_count: count, penlight_program_metadata_entry: entry } = library.exports;
    return Object.fromEntries(
      Array.from({ length: count(this.#handle) }, (_, i) =>
        library.scratch(8, (place) => {
          entry(this.#handle, i, place, place + 4);
          return [library.text(library.u32(place)), library.text(library.u32(place + 4))];
        }),
      ),
    );
  }

  /** The inputs that the file carries with the outputs they must give: [{ method, inputs, outputs }]. */
  get samples() {
    const count = this.#library.exports.penlight_program_golden_count(this.#handle);
    return Array.from({ length: count }, (_, golden) => this.#sample(golden));
  }

  /** Runs the samples; throws PenlightError when an output differs by more than the file allows. */
  selfTest() {
    this.#library.call("penlight_program_self_test", this.#handle);
  }

  /** Something that runs one method. options: { method, macBudget }, the budget in multiply-accumulates of one run. */
  session({ method, macBudget = 0 } = {}) {
    const index = this.#index(method);
    return new Session(this.#library, this.#handle, index, this.inputs(method), this.outputs(method), BigInt(macBudget));
  }

  free() {
    if (this.#handle === 0) return;
    this.#library.exports.penlight_program_free(this.#handle);
    this.#library.release(this.#bytes);
    this.#handle = 0;
  }

  #index(method) {
    const index = method === undefined ? 0 : this.methods.indexOf(method);
    if (index < 0) throw new RangeError(`no method ${JSON.stringify(method)}; expected one of ${this.methods.join(", ")}`);
    return index;
  }

  #operands(kind, method) {
    const library = this.#library;
    const count = library.exports[`penlight_program_${kind}_count`](this.#handle, method);
    const describe = library.exports[`penlight_program_${kind}_info`];
    return Array.from({ length: count }, (_, i) =>
      library.scratch(INFO.size, (place) => {
        describe(this.#handle, method, i, place);
        return library.readInfo(place);
      }),
    );
  }

  #sample(golden) {
    const library = this.#library;
    const method = library.exports.penlight_program_golden_method(this.#handle, golden);
    const name = this.methods[method];
    const read = (kind) =>
      Object.fromEntries(
        this.#operands(kind, method).map((info, i) =>
          library.scratch(TENSOR.size, (place) => {
            library.exports[`penlight_program_golden_${kind}`](this.#handle, golden, i, place);
            return [info.name, library.readTensor(place)];
          }),
        ),
      );
    return { method: name, inputs: read("input"), outputs: read("output") };
  }
}

/** Runs one method, one call at a time. Memory is planned when the inputs' shapes change and kept from run to run. */
export class Session {
  #library;
  #handle;
  #inputs;
  #outputs;
  #tensors; // penlight_tensor[inputs]
  #room; // [address, bytes] of each input

  constructor(library, program, method, inputs, outputs, macBudget) {
    this.#library = library;
    this.#inputs = inputs;
    this.#outputs = outputs;
    this.#handle = library.scratch(SESSION_OPTIONS.size, (options) => {
      library.view().setUint32(options + SESSION_OPTIONS.structSize, SESSION_OPTIONS.size, true);
      library.view().setBigUint64(options + SESSION_OPTIONS.macBudget, macBudget, true);
      return library.create("penlight_session_create", program, method, options);
    });
    this.#tensors = library.allocate(Math.max(1, inputs.length) * TENSOR.size);
    this.#room = inputs.map(() => [0, 0]);
  }

  /**
   * inputs: { name: array } or { name: { data, shape } }; plain arrays of numbers are converted. A missing shape is the declared
   * one, with the one size that varies computed from the length. Returns { name: { data, shape, dtype } }, copies of the outputs.
   */
  run(inputs) {
    const unknown = Object.keys(inputs).filter((name) => !this.#inputs.some((info) => info.name === name));
    if (unknown.length > 0) throw new TypeError(`no input ${unknown.join(", ")}; expected ${this.#inputs.map((i) => i.name).join(", ")}`);
    this.#inputs.forEach((info, i) => this.#write(info, i, inputs[info.name]));
    this.#library.call("penlight_session_run", this.#handle, this.#tensors, this.#inputs.length, 0, 0);
    return Object.fromEntries(this.#outputs.map((info, i) => [info.name, this.#output(i)]));
  }

  /** Bytes of working memory that the prepared shapes take. */
  get arenaBytes() {
    return Number(this.#library.exports.penlight_session_arena_bytes(this.#handle));
  }

  /** Multiply-accumulates of one run at the prepared shapes. */
  get macs() {
    return Number(this.#library.exports.penlight_session_macs(this.#handle));
  }

  free() {
    if (this.#handle === 0) return;
    this.#library.exports.penlight_session_free(this.#handle);
    this.#room.forEach(([address]) => this.#library.release(address));
    this.#library.release(this.#tensors);
    this.#handle = 0;
  }

  #write(info, i, given) {
    if (given === undefined) throw new TypeError(`input ${info.name} is missing`);
    const { data, shape } = data_and_shape(info, given);
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    const address = this.#reserve(i, bytes.length);
    this.#library.bytes().set(bytes, address);
    this.#library.writeTensor(this.#tensors + i * TENSOR.size, { address, sizeBytes: bytes.length, dtype: info.dtype, shape });
  }

  #reserve(i, size) {
    const [address, room] = this.#room[i];
    if (size <= room) return address;
    this.#library.release(address);
    this.#room[i] = [0, 0]; // where the next line throws, nothing dangles
    this.#room[i] = [this.#library.allocate(size, ALIGNMENT), size];
    return this.#room[i][0];
  }

  #output(i) {
    const library = this.#library;
    return library.scratch(TENSOR.size, (place) => {
      library.exports.penlight_session_output(this.#handle, i, place);
      return library.readTensor(place);
    });
  }
}

/** The input as an array of the declared type, and its shape. */
function data_and_shape(info, given) {
  const isTensor = !ArrayBuffer.isView(given) && !Array.isArray(given) && given.data !== undefined;
  const values = isTensor ? given.data : given;
  const Type = array_type(info.dtype);
  const data = Array.isArray(values) ? Type.from(values.flat(Infinity), Type.name.startsWith("Big") ? BigInt : Number) : values;
  if (!(data instanceof Type)) {
    throw new TypeError(`input ${info.name}: expected ${Type.name} (${info.dtype}), came ${data?.constructor?.name ?? typeof data}`);
  }
  const shape = (isTensor && given.shape) || fill_shape(info, data.length);
  if (shape.reduce((product, size) => product * size, 1) !== data.length) {
    throw new RangeError(`input ${info.name}: shape [${shape}] does not hold ${data.length} elements; expected [${info.shape}]`);
  }
  return { data, shape };
}

/** The declared shape with the one size that varies computed from the number of elements. */
function fill_shape(info, length) {
  const known = info.shape.filter((size) => typeof size === "number").reduce((product, size) => product * size, 1);
  const free = info.shape.length - info.shape.filter((size) => typeof size === "number").length;
  if (free > 1) throw new TypeError(`input ${info.name}: sizes [${info.shape}] vary; give { data, shape }`);
  return info.shape.map((size) => (typeof size === "number" ? size : Math.floor(length / known)));
}

function array_type(dtype) {
  return Object.values(DTYPES).find(([name]) => name === dtype)[1];
}

/** The exported functions and reading and writing of memory, which moves whenever it grows: views are made at each use. */
class Library {
  exports;

  /** The clock is all that the runtime asks of its host. */
  imports() {
    const clock_time_get = (_clock, _precision, place) => {
      this.view().setBigUint64(place, BigInt(Math.round(performance.now() * 1e6)), true);
      return 0;
    };
    return { wasi_snapshot_preview1: { clock_time_get } };
  }

  attach(exports) {
    this.exports = exports;
    exports._initialize();
  }

  bytes() {
    return new Uint8Array(this.exports.memory.buffer);
  }

  view() {
    return new DataView(this.exports.memory.buffer);
  }

  u32(address) {
    return this.view().getUint32(address, true);
  }

  text(address) {
    if (address === 0) return "";
    const bytes = this.bytes();
    return new TextDecoder().decode(bytes.slice(address, bytes.indexOf(0, address)));
  }

  allocate(size, alignment = 16) {
    const address = this.exports.aligned_alloc(alignment, Math.max(alignment, Math.ceil(size / alignment) * alignment));
    if (address === 0) throw new PenlightError("PENLIGHT_OUT_OF_MEMORY", `no room for ${size} bytes`);
    return address;
  }

  release(address) {
    this.exports.free(address);
  }

  store(bytes, alignment) {
    const address = this.allocate(bytes.length, alignment);
    this.bytes().set(bytes, address);
    return address;
  }

  /** Calls `use` with the address of `size` zeroed bytes that live as long as the call. */
  scratch(size, use) {
    const address = this.allocate(size);
    this.bytes().fill(0, address, address + size);
    try {
      return use(address);
    } finally {
      this.release(address);
    }
  }

  /** Calls a function whose last argument is a penlight_error, and throws what it says. */
  call(name, ...inputs) {
    this.scratch(ERROR.size, (error) => {
      const status = this.exports[name](...inputs, error);
      if (status === 0) return;
      throw new PenlightError(this.text(this.exports.penlight_status_name(status)), this.text(error + ERROR.message));
    });
  }

  /** Calls a function that writes a handle before its penlight_error. */
  create(name, ...inputs) {
    return this.scratch(4, (place) => {
      this.call(name, ...inputs, place);
      return this.u32(place);
    });
  }

  readInfo(place) {
    const view = this.view();
    const rank = view.getUint32(place + INFO.rank, true);
    const shape = Array.from({ length: rank }, (_, axis) => {
      const size = Number(view.getBigInt64(place + INFO.shape + 8 * axis, true));
      return size >= 0 ? size : this.text(this.u32(place + INFO.symbols + 4 * axis)) || "?";
    });
    return { name: this.text(this.u32(place + INFO.name)), dtype: DTYPES[view.getUint32(place + INFO.dtype, true)][0], shape };
  }

  readTensor(place) {
    const view = this.view();
    const [dtype, Type] = DTYPES[view.getUint32(place + TENSOR.dtype, true)];
    const [address, size, rank] = [TENSOR.data, TENSOR.sizeBytes, TENSOR.rank].map((field) => view.getUint32(place + field, true));
    const shape = Array.from({ length: rank }, (_, axis) => Number(view.getBigInt64(place + TENSOR.shape + 8 * axis, true)));
    return { data: new Type(this.exports.memory.buffer.slice(address, address + size)), shape, dtype };
  }

  writeTensor(place, { address, sizeBytes, dtype, shape }) {
    const view = this.view();
    const number = Number(Object.keys(DTYPES).find((key) => DTYPES[key][0] === dtype));
    const fields = [TENSOR.data, TENSOR.sizeBytes, TENSOR.dtype, TENSOR.rank];
    [address, sizeBytes, number, shape.length].forEach((value, i) => view.setUint32(place + fields[i], value, true));
    shape.forEach((size, axis) => view.setBigInt64(place + TENSOR.shape + 8 * axis, BigInt(size), true));
  }
}

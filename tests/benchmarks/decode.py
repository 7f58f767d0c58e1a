# SPDX-License-Identifier: Apache-2.0
"""Time of one token of GPT-2 (124M, random weights) with float32, 8-bit and 4-bit weights, beside onnxruntime and the memory.

`python tests/benchmarks/decode.py [--threads 1]`. A token attends to 128 earlier ones, whose keys and values are inputs. The floor
is the time that one thread takes to read the weights and them once, without the embeddings, of which a token reads a row.
onnxruntime runs the same files, whose products are com.microsoft.MatMulNBits as its own quantizer writes them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import inference
import numpy as np
import onnx
import record

WIDTH, HEAD, PAST = 768, 64, 128
KINDS = {"f32": 0, "int8": 8, "int4": 4}  # bits of the weights that are quantized
GOAL = 1.5  # times the floor, of 8 and 4 bits
_LAYER = """
    n1_{i} = LayerNormalization (x{i}, one, none)
    a_{i} = MatMul (n1_{i}, qkv_{i})
    b_{i} = Add (a_{i}, wide3)
    q_{i}, k_{i}, v_{i} = Split <axis = 2, num_outputs = 3> (b_{i})
    qh_{i} = Reshape (q_{i}, heads)
    key_{i} = Reshape (k_{i}, heads)
    value_{i} = Reshape (v_{i}, heads)
    keys_{i} = Concat <axis = 2> (past_key_{i}, key_{i})
    values_{i} = Concat <axis = 2> (past_value_{i}, value_{i})
    turned_{i} = Transpose <perm = [0, 1, 3, 2]> (keys_{i})
    s_{i} = MatMul (qh_{i}, turned_{i})
    t_{i} = Mul (s_{i}, scale)
    p_{i} = Softmax (t_{i})
    c_{i} = MatMul (p_{i}, values_{i})
    flat_{i} = Reshape (c_{i}, row)
    o_{i} = MatMul (flat_{i}, out_{i})
    ob_{i} = Add (o_{i}, wide)
    h_{i} = Add (x{i}, ob_{i})
    n2_{i} = LayerNormalization (h_{i}, one, none)
    f_{i} = MatMul (n2_{i}, up_{i})
    fb_{i} = Add (f_{i}, wide4)
    g_{i} = Gelu <approximate = "tanh"> (fb_{i})
    d_{i} = MatMul (g_{i}, down_{i})
    db_{i} = Add (d_{i}, wide)
    x{next} = Add (h_{i}, db_{i})
"""


def float_model(layers: int, vocabulary: int) -> onnx.ModelProto:
    """One step of the decoder, with weights of float32."""
    heads = WIDTH // HEAD
    cache = f"float[1, {heads}, {PAST}, {HEAD}]"
    inputs = "".join(f", {cache} past_key_{i}, {cache} past_value_{i}" for i in range(layers))
    outputs = "".join(f", float[1, {heads}, 1, {HEAD}] key_{i}, float[1, {heads}, 1, {HEAD}] value_{i}" for i in range(layers))
    body = "e = Gather (wte, ids)\n x0 = Add (e, wpe)\n" + "".join(_LAYER.format(i=i, next=i + 1) for i in range(layers))
    body += f"n = LayerNormalization (x{layers}, one, none)\n logits = MatMul (n, head)"
    head = f"step (int64[1, 1] ids{inputs}) => (float[1, 1, {vocabulary}] logits{outputs})"
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> {head} {{ {body} }}')
    for name, array in _weights(layers, vocabulary).items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return model


def _weights(layers: int, vocabulary: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)

    def floats(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, np.float32) * np.float32(0.02)

    found = {"wte": floats(vocabulary, WIDTH), "wpe": floats(1, WIDTH), "one": np.ones(WIDTH, np.float32)}
    found["head"] = np.ascontiguousarray(found["wte"].T)
    found |= {"none": floats(WIDTH), "wide": floats(WIDTH), "wide3": floats(3 * WIDTH), "wide4": floats(4 * WIDTH)}
    found |= {"heads": np.array([1, WIDTH // HEAD, 1, HEAD]), "row": np.array([1, 1, WIDTH]), "scale": np.float32(HEAD**-0.5)}
    for i in range(layers):
        found |= {f"qkv_{i}": floats(WIDTH, 3 * WIDTH), f"out_{i}": floats(WIDTH, WIDTH)}
        found |= {f"up_{i}": floats(WIDTH, 4 * WIDTH), f"down_{i}": floats(4 * WIDTH, WIDTH)}
    return {name: np.asarray(array) for name, array in found.items()}


def quantized(model: onnx.ModelProto, bits: int) -> onnx.ModelProto:
    """The products by constants with weights of so many bits, one scale for each 32."""
    from onnxruntime.quantization import matmul_nbits_quantizer as quantizer  # here: float32 alone needs it not

    how = quantizer.DefaultWeightOnlyQuantConfig(block_size=32, is_symmetric=True, bits=bits)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    work = quantizer.MatMulNBitsQuantizer(copy, algo_config=how)
    work.process()
    return work.model.model


def bytes_read(model: onnx.ModelProto) -> int:
    """What a token reads: every constant but the table of embeddings, and the cache."""
    caches = sum(len(value.type.tensor_type.shape.dim) == 4 for value in model.graph.input) * PAST * WIDTH * 4
    return caches + sum(len(tensor.raw_data) for tensor in model.graph.initializer if tensor.name != "wte")


def bandwidth(size_bytes: int = 1 << 28) -> float:
    """Bytes that one thread reads in a second of processor time, the best of five."""
    memory, times = b"\x02" * size_bytes, []  # zeros would all be one page
    for _ in range(5):
        started = time.process_time()
        memory.find(b"\x01")  # the C library's search reads whole vectors
        times.append(time.process_time() - started)
    return size_bytes / min(times)


def rows_of(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """A row for each kind of weights and number of threads."""
    model, rows = float_model(options.layers, options.vocabulary), []
    for kind in options.kinds:
        path = folder / f"gpt2_decode_{kind}.onnx"
        onnx.save(quantized(model, KINDS[kind]) if KINDS[kind] else model, path)
        size_bytes = bytes_read(onnx.load(path))
        linked = inference.to_edge(path, folder)
        for threads in options.threads:
            row = inference.race(linked, threads, ["penlight", "onnxruntime"], options.rounds, options.seconds)
            floor_ms = size_bytes / bandwidth() * 1e3
            ratio = row["wall_ms"]["penlight"] / floor_ms
            row |= {"bytes": size_bytes, "floor_ms": round(floor_ms, 3), "of_floor": round(ratio, 2)}
            rows.append(row | ({"goal_of_floor": GOAL} if KINDS[kind] else {}))
            print(inference.table(rows[-1:]).splitlines()[0] + f", floor {floor_ms:.2f} ms", flush=True)
    return rows


def main() -> None:
    """Races and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--vocabulary", type=int, default=50257)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="per engine and round")
    parser.add_argument("--output", type=Path, default=record.RESULTS / "decode.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        rows = rows_of(options, Path(name))
    figures = record.machine("numpy", "onnx", "onnxruntime")
    record.save(options.output, {"schema": "penlight.benchmark.decode/1", **figures, "rows": rows})


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Random programs of one node each, for every operator of the kernel table: most are nonsense, all must be refused or run."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np
from native_builds import ROOT
from pen_builder import PenBuilder

import penlight_runtime
from penlight_runtime import OperatorInfo

DTYPES = ["float32"] * 8 + ["int64"] * 4 + ["float64", "float16", "int32", "int8", "uint8", "uint16", "uint64", "bool", "bool"]
SIZES = [0, 1, 1, 2, 2, 3, 4, 5]
INTEGERS = {
    "axis": [-5, -2, -1, 0, 1, 2, 9],
    "keepdims": [0, 1],
    "noop_with_empty_axes": [0, 1],
    "to": [0, 1, 6, 7, 9, 10, 11, 13, 99],
    "group": [-1, 0, 1, 2, 3],
    "transA": [0, 1],
    "transB": [0, 1],
    "allowzero": [0, 1],
    "ceil_mode": [0, 1],
    "count_include_pad": [0, 1],
    "storage_order": [0, 1],
    "start": [-9, -1, 0, 1, 9],
    "end": [-9, -1, 0, 1, 9],
    "blocksize": [-1, 0, 1, 2],
    "batch_dims": [-1, 0, 1, 2],
    "num_outputs": [-1, 0, 1, 2, 3],
    "num_groups": [-1, 0, 1, 2],
    "k": [-9, 0, 1],
    "upper": [0, 1],
    "dtype": [0, 1, 6, 7, 9],
    "largest": [0, 1],
    "sorted": [0, 1],
    "exclusive": [0, 1],
    "reverse": [0, 1],
    "antialias": [0, 1],
    "stash_type": [1],
    "fmod": [0, 1],
    "select_last_index": [0, 1],
    "inverse": [0, 1],
    "onesided": [0, 1],
    "layout": [0, 1],
    "linear_before_reset": [0, 1],
    "is_causal": [0, 1],
    "left_window_size": [-1, 0, 2, 2**62],
    "align_corners": [0, 1],
    "exclude_outside": [0, 1],
    "block_size": [-1, 0, 1, 2, 2**62],
    "output_dtype": [0, 2, 3, 5, 16],
    "p": [0, 1, 2, 3],
    "size": [-1, 1, 3],
    "output_height": [-1, 1, 3],
    "sampling_ratio": [0, 2],
    "q_num_heads": [1, 2],
    "kv_num_heads": [1, 2],
    "qk_matmul_output_mode": [0, 1, 2, 3],
    "offset_group": [-1, 0, 1, 2],
    "center_point_box": [0, 1],
    "min_gram_length": [-1, 1, 2],
    "max_gram_length": [1, 2, 3],
    "max_skip_count": [0, 1, 5, 2**62],
    "num_scan_inputs": [0, 1, 2],
    "num_heads": [-1, 0, 1, 2],
    "rotary_embedding_dim": [-2, 0, 1, 2, 4, 2**62],
    "interleaved": [0, 1],
}
LISTS = (
    "axes",
    "perm",
    "pads",
    "strides",
    "dilations",
    "kernel_shape",
    "output_padding",
    "output_shape",
    "split",
    "starts",
    "ends",
    "pool_int64s",
    "ngram_counts",
    "ngram_indexes",
)
TEXTS = {
    "mode": ["constant", "edge", "reflect", "wrap", "nearest", "linear", "cubic", "DCR", "CRD", "TF", "IDF", "TFIDF", "x"],
    "auto_pad": ["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID", "x"],
    "approximate": ["none", "tanh", "x"],
    "direction": ["LEFT", "RIGHT", "forward", "reverse", "bidirectional"],
    "padding_mode": ["zeros", "border", "reflection"],
    "update_rule": ["linear", "gated", "delta", "gated_delta"],
    "reduction": ["none", "add", "mul", "max", "min"],
    "coordinate_transformation_mode": ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "tf_crop_and_resize"],
    "nearest_mode": ["floor", "ceil", "round_prefer_floor"],
    "activation": ["Relu", "Clip", "Tanh", "x"],
}
INDEX_OPERANDS = {
    ("MaxUnpool", 1): "int64",
    ("NonMaxSuppression", 2): "int64",
    ("TfIdfVectorizer", 0): "int64",
    ("RoiAlign", 2): "int64",
    ("TensorScatter", 2): "int64",
    ("Attention", 6): "int64",
    ("RotaryEmbedding", 3): "int64",
    ("DequantizeLinear", 0): "int8",
    ("DequantizeLinear", 2): "int8",
    ("QuantizeLinear", 2): "int8",
    **{(name, 4): "int32" for name in ("RNN", "GRU", "LSTM")},
    ("MatMulDequantized", 1): "int8",
    ("MatMulDequantized", 3): "int8",
    ("MatMulNBits", 1): "uint32",
    ("MatMulNBits", 3): "uint8",
    **{("MatMulIntegerToFloat", number): dtype for number, dtype in ((0, "uint8"), (1, "int8"), (4, "uint8"), (5, "int8"))},
    **{("QuantizedAdd", number): "int8" for number in (0, 2, 3, 5, 7)},
}
REALS = {"alpha": [0.5, -1.0, 3e38], "beta": [1.0, float("nan")], "epsilon": [1e-5, 0.0], "value": [2.0], "lambd": [0.5]}


def random_array(rng: np.random.Generator) -> np.ndarray:
    dtype = rng.choice(DTYPES)
    shape = tuple(int(n) for n in rng.choice(SIZES, rng.choice([0, 1, 1, 2, 3, 4, 4, 5])))
    values = rng.integers(-3, 6, shape) if rng.random() < 0.95 else rng.integers(-(2**62), 2**62, shape)
    with np.errstate(all="ignore"):
        return values.astype(dtype)


def random_attributes(rng: np.random.Generator, length: int, windowed: bool) -> dict:
    """A few attributes, lists of `length` entries (`pads` of twice as many); a node ignores those that are not its own."""
    often = 0.08 if windowed else 0.2
    choices: dict = {name: int(rng.choice(values)) for name, values in INTEGERS.items() if rng.random() < often}
    choices |= {name: str(rng.choice(values)) for name, values in TEXTS.items() if rng.random() < often / 2}
    choices |= {name: float(rng.choice(values)) for name, values in REALS.items() if rng.random() < often}
    low, high = (-(2**62), 2**62) if rng.random() < 0.02 else (1 if windowed and rng.random() < 0.8 else -1, 4)
    for name in LISTS:
        if rng.random() < (0.9 if name == "kernel_shape" else 0.3):
            entries = 2 * length if name == "pads" else length
            choices[name] = [int(n) for n in rng.integers(0 if name == "pads" else low, high, entries)]
    return choices


def likely_shapes(name: str, rng: np.random.Generator) -> list[tuple[int, ...]]:
    """Shapes that an operator of several related operands may well accept; an empty list has no opinion."""
    n, c, m, k = (int(size) for size in rng.choice([0, 1, 2, 2, 3, 4], 4))
    spatial = tuple(int(size) for size in rng.choice([1, 2, 3, 5, 7], int(rng.choice([1, 2, 2, 2, 3]))))
    window = tuple(int(size) for size in rng.choice([1, 1, 2, 3], len(spatial)))
    filters = (c * max(m, 1), 1, *window) if rng.random() < 0.4 else (m, c, *window)  # of one channel each
    if name in ("Conv", "FusedConv"):
        result = (n, filters[0], *(size - reach + 1 for size, reach in zip(spatial, window, strict=True)))  # without attributes
        return [(n, c, *spatial), filters, filters[:1], *([result] if name == "FusedConv" and min(result) >= 0 else [])]
    if name == "ConvTranspose":
        return [(n, c, *spatial), (c, m, *window), (m,)]
    if "Pool" in name or name in ("Resize", "DepthToSpace", "SpaceToDepth"):
        return [(n, c, *spatial)]
    if name in ("Gemm", "FusedGemm", "MatMul"):
        return [(n, k), (k, m), (m,), (n, m)][: 4 if name == "FusedGemm" else 3]
    if name in ("BatchNormalization", "InstanceNormalization", "GroupNormalization"):
        return [(n, c, *spatial), (c,), (c,), (c,), (c,)]
    if name in ("LayerNormalization", "RMSNormalization"):
        return [(n, c, m), (m,), (m,)]
    if name in ("FusedLayerNormalization", "FusedRMSNormalization"):
        return [(n, c, m), (n, c, m), (m,), (m,)]
    if name == "RotaryEmbedding":
        return [(n, c, m, 4), (3, 2), (3, 2), (n, m)]
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}.get(name, 0)
    if gates:
        return [(n, c, m), (1, gates * k, m), (1, gates * k, k), (1, 2 * gates * k), (c,), (1, c, k), (1, c, k), (1, 3 * k)]
    if name in ("Attention", "FlexAttention"):
        return [(n, 2, c, k), (n, 1, m, k), (n, 1, m, 3), (c, m), (n, 1, 2, k), (n, 1, 2, 3), (n,)]
    if name == "GridSample":
        return [(n, c, *spatial), (n, *window, len(spatial))]
    if name in ("DFT", "STFT"):
        return [(n, 5, c, 2) if name == "DFT" else (n, 5, 1)]
    if name in ("ConvInteger", "QLinearConv"):
        return [(n, c, *spatial), filters] if name == "ConvInteger" else [(n, c, *spatial), (), (), filters, (), (), (), ()]
    if name in ("MatMulInteger", "QLinearMatMul"):
        return [(n, k), (k, m)] if name == "MatMulInteger" else [(n, k), (), (), (k, m), (), (), (), ()]
    if name == "MatMulDequantized":
        scale = [(), (m,), (k, m), ((k + 1) // 2, m), (1, m)][int(rng.integers(5))]
        return [(n, k), (k, m), scale, scale]
    if name == "MatMulNBits":
        panels = (m + 15) // 16
        return [(n, 16), (panels, 2, 16), (panels, 2, 16), (panels, 2, 16), (m,)]
    if name == "MatMulIntegerToFloat":
        column = [(), (m,), (1, m)]
        return [(n, k), (k, m), (), column[int(rng.integers(3))], (), column[int(rng.integers(3))], (m,)]
    if name == "QuantizedAdd":
        return [(n, c, m), (), (), (n, c, m), (), (), (), ()]
    if name == "MaxUnpool":
        return [(n, c, *spatial), (n, c, *spatial)]
    if name == "RoiAlign":
        return [(n, c, 4, 4), (m, 4), (m,)]
    if name == "TensorScatter":
        return [(n, 4, c), (n, 2, c), (n,)]
    if name in ("QuantizeLinear", "DequantizeLinear"):
        return [(n, c, m), (), ()]
    if name == "NonMaxSuppression":
        return [(n, m, 4), (n, c, m), (1,), (1,), (1,)]
    if name == "DeformConv":
        return [(n, 2, 4, 4), (m, 2, 2, 2), (n, 8, 3, 3), (m,), (n, 4, 3, 3)]
    if name == "Det":
        return [(n, k, k)]
    if name in ("And", "Or", "Xor", "Not", "Where", "Expand", "Tile", "Reshape", "OneHot", "ScatterND", "Range", "EyeLike"):
        return [(n, c), (n, c), (n, c)]
    return []


def likely_dtype(name: str, number: int, rng: np.random.Generator) -> str:
    if name in ("And", "Or", "Xor", "Not") or (name == "Where" and number == 0):
        return "bool"
    if name in ("ConvInteger", "MatMulInteger") or (name.startswith("QLinear") and number in (0, 2, 3, 5, 7)):
        return "uint8" if number in (0, 2, 5) else "int8"
    if (name, number) in INDEX_OPERANDS:
        return INDEX_OPERANDS[name, number]
    return "int64" if name in ("Range", "OneHot") or rng.random() < 0.1 else "float32"


def random_operand(
    name: str, number: int, shared: np.ndarray, likely: list[tuple[int, ...]], rng: np.random.Generator
) -> np.ndarray:
    """Now and then anything; mostly what fits: the likely shape, a list of small integers, or the first operand again."""
    choice = rng.random()
    if number < len(likely) and choice < 0.9:
        return rng.integers(-3, 4, likely[number]).astype(likely_dtype(name, number, rng))
    if number > 0 and choice < 0.4:
        return rng.integers(-2, 4, int(rng.choice([1, 1, 2, 3, 4, 8]))).astype(np.int64)
    return shared if choice < 0.8 else random_array(rng)


def random_program(entry: OperatorInfo, operands: tuple[int, int], rng: np.random.Generator) -> bytes:
    """One node of an operator, with inputs and constants of random dtypes, shapes and values; the method has no outputs."""
    builder = PenBuilder()
    shared, likely = random_array(rng), likely_shapes(entry.name, rng)
    values = []
    for number in range(int(rng.integers(operands[0], operands[1] + 1))):
        array = random_operand(entry.name, number, shared, likely, rng)
        if rng.random() < 0.5:
            values.append(builder.constant(f"c{number}", array))
        else:
            values.append(builder.input(f"x{number}", array.dtype.name, array.shape))
    version = int(rng.choice([entry.max_version, entry.max_version, entry.min_version, 13]))
    version = min(max(version, entry.min_version), entry.max_version)
    windowed = "Conv" in entry.name or "Pool" in entry.name
    length = len(likely[0]) - 2 if windowed else int(rng.choice([1, 2, 2, 3, 4, 4]))
    attributes = random_attributes(rng, length, windowed)
    filters = next((shape for shape in likely[1:] if len(shape) == len(likely[0])), ())
    if windowed and filters[1:2] == (1,):
        attributes["group"] = likely[0][1]
    if entry.name == "MatMulNBits" and rng.random() < 0.9:
        attributes |= {"columns": likely[-1][0], "block_size": 8}
    outputs = ["a", "b", "c"][: 3 if entry.name == "DynamicQuantizeLinear" else int(rng.choice([1, 1, 1, 2, 3]))]
    builder.node(entry.name, values, outputs, domain=entry.domain, version=version, **attributes)
    return builder.build()


def arities() -> dict[tuple[str, str], tuple[int, int]]:
    """Least and largest number of inputs by (domain, name), from the kernel table's source."""
    text = (ROOT / "runtime/kernels/kernels.inc").read_text()
    rows = re.findall(r'^PENLIGHT_KERNEL\("(.*?)", (\w+), \d+, \d+, (\d+), (-?\d+),', text, re.M)
    return {(domain, name): (int(least), 4 if most == "-1" else int(most)) for domain, name, least, most in rows}


def write_bundle(path: Path, per_operator: int, seed: int) -> int:
    """Writes length-prefixed programs, returns their number."""
    rng = np.random.default_rng(seed)
    count, operands = 0, arities()
    with path.open("wb") as file:
        for entry in penlight_runtime.operators():
            for _ in range(per_operator):
                data = random_program(entry, operands[entry.domain, entry.name], rng)
                file.write(struct.pack("<Q", len(data)) + data)
                count += 1
    return count


def read_bundle(path: Path) -> list[bytes]:
    data, programs, at = path.read_bytes(), [], 0
    while at < len(data):
        (size,) = struct.unpack_from("<Q", data, at)
        programs.append(data[at + 8 : at + 8 + size])
        at += 8 + size
    return programs

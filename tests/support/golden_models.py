# SPDX-License-Identifier: Apache-2.0
"""The models of tests/runtime/golden: small, with random weights, each with one sample, written as .pen files that are kept.

    python tests/support/golden_models.py

writes the files again and the SHA-256 of what a deterministic session computes from each file's sample. Kept files mean that the
hashes stay when a pass of the exporter changes; run it only when an operator's deterministic form itself is meant to change.
"""

import hashlib
import os
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx_text import model_from_text

import penlight as pl
import penlight.nn.functional as F
import penlight_runtime
from penlight import nn
from penlight_export import convert, export

FOLDER = Path(__file__).resolve().parents[1] / "runtime" / "golden"
HASHES = FOLDER / "SHA256SUMS"
FILES = sorted(FOLDER.glob("*.pen"))
EXPECTED = {name: digest for digest, name in map(str.split, HASHES.read_text(encoding="ascii").splitlines())}


def norm_conv(inputs, outputs, kernel, stride=1, groups=1, act=nn.ReLU):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs), act()
    )


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.body = nn.Sequential(norm_conv(channels, channels, 3), norm_conv(channels, channels, 3, act=nn.Identity))

    def forward(self, x):
        return F.relu(x + self.body(x))


class Inverted(nn.Module):
    def __init__(self, channels, wide):
        super().__init__()
        layers = norm_conv(channels, wide, 1, act=nn.Hardswish), norm_conv(wide, wide, 3, groups=wide, act=nn.ReLU6)
        self.body = nn.Sequential(*layers, norm_conv(wide, channels, 1, act=nn.Identity))

    def forward(self, x):
        return x + self.body(x)


class Block(nn.Module):
    def __init__(self, width, heads, causal):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.heads, self.causal = heads, causal

    def forward(self, x):
        n, t, c = x.shape
        q, k, v = (part.reshape(n, t, self.heads, c // self.heads).transpose(1, 2) for part in self.qkv(self.norm1(x)).chunk(3, -1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        x = x + self.out(y.transpose(1, 2).reshape(n, t, c))
        return x + self.narrow(F.gelu(self.wide(self.norm2(x)), approximate="tanh" if self.causal else "none"))


class Language(nn.Module):
    def __init__(self, causal):
        super().__init__()
        self.tokens, self.block = nn.Embedding(24, 16), Block(16, 2, causal)
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 24)

    def forward(self, ids):
        return F.log_softmax(self.head(self.norm(self.block(self.tokens(ids)))), -1)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.gru = nn.LSTM(6, 10, batch_first=True, bidirectional=True), nn.GRU(20, 7, batch_first=True)

    def forward(self, x):
        return self.gru(self.lstm(x)[0])[0]


def mlp():
    return nn.Sequential(nn.Linear(33, 40), nn.GELU(), nn.Linear(40, 20), nn.Tanh(), nn.Linear(20, 10), nn.Softmax(-1))


class Resnet(nn.Module):
    """Answers with its features too, whose last bits an average would hide."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(norm_conv(3, 6, 7, 2), nn.MaxPool2d(3, 2, 1))
        self.body = nn.Sequential(Residual(6), norm_conv(6, 10, 3, 2), Residual(10))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(10, 10))

    def forward(self, x):
        features = self.body(self.stem(x))
        return features, self.head(features)


def mobilenet():
    return nn.Sequential(norm_conv(3, 8, 3, 2), Inverted(8, 20), Inverted(8, 24), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(128, 10))


def decoder():
    return nn.Sequential(
        nn.ConvTranspose2d(6, 8, 4, stride=2, padding=1), nn.GroupNorm(2, 8), nn.SiLU(), nn.Conv2d(8, 8, 3, padding=2, dilation=2),
        nn.InstanceNorm2d(8), nn.Softplus(), nn.ConvTranspose2d(8, 3, 3), nn.Sigmoid()
    )  # fmt: skip


_UNARY = [
    "Abs", "Neg", "Exp", "Sqrt", "Reciprocal", "Floor", "Ceil", "Round", "Sign", "Tanh", "Sigmoid", "Erf", "Softplus",
    "Relu", "LeakyRelu", "Elu", "Selu", "Celu", "HardSigmoid", "HardSwish", "Mish", "Gelu", "Softsign", "Sin", "Cos", "Tan",
    "Atan", "Sinh", "Cosh", "Asinh"
]  # fmt: skip


def functions(dtype):
    """Every function of one argument, powers and reductions."""
    rows = [f"y{i} = {name} (x)" for i, name in enumerate(_UNARY)]
    rows += [
        "size = Abs (x)",
        "y30 = Log (size)",
        "part = Div (x, largest)",
        "y31 = Acos (part)",
        "y32 = Asin (part)",
        "y33 = Pow (size, x)",
    ]
    rows += ["grown = Add (size, one)", "y34 = Acosh (grown)", "half = Mul (part, y33h)", "y35 = Atanh (half)", "y36 = Softmax (x)"]
    rows += [f"y{37 + i} = {name} (x, axes)" for i, name in enumerate(("ReduceLogSumExp", "ReduceMean", "ReduceL2", "ReduceProd"))]
    outputs = ", ".join(f"{dtype}[n, m] y{i}" for i in range(41))
    array = np.float32 if dtype == "float" else np.float64
    weights = {"largest": array(8.0), "one": array(1.0), "y33h": array(0.5), "axes": np.array([1])}
    text = f"g ({dtype}[2, 21] x) => ({outputs}) {{ {'; '.join(rows)} }}"
    return model_from_text(text.replace("; ", "\n "), 22, {name: np.asarray(w) for name, w in weights.items()})


def signal():
    """Reductions over long rows, a product, a Fourier transform, local responses, resizing."""
    text = """g (float[1, 4, 12, 15] x) => (
        float[a, b, c, d] y0, float[e, f] y1, float[h, i, j, k] y2, float[l, m, o, p] y3, float[q] y4
    ) {
        r = LRN <size = 3, beta = 0.6> (x)
        y0 = Resize <mode = "cubic"> (r, , scales)
        rows = Reshape (x, two)
        turned = Transpose (rows)
        y1 = MatMul (rows, turned)
        y3 = LpPool <kernel_shape = [2, 3], p = 3> (x)
        small = Mul (x, tenth)
        waves = Reshape (small, wave)
        y2 = DFT (waves, , last)
        y4 = ReduceSumSquare <keepdims = 0> (rows, first)
    }"""
    weights = {"scales": np.array([1, 1, 1.7, 0.8], np.float32), "two": np.array([4, 180]), "wave": np.array([1, 12, 60, 1])}
    return model_from_text(text, 20, {**weights, "last": np.array(2), "first": np.array([1]), "tenth": np.array(0.1, np.float32)})


def quantized():
    """A convolution and a product as onnxruntime's quantizer writes them."""
    rng = np.random.default_rng(7)
    text = """g (float[1, 3, 9, 9] x) => (float[1, 5] y) {
        xq = QuantizeLinear (x, xs, xz)
        xf = DequantizeLinear (xq, xs, xz)
        wf = DequantizeLinear <axis = 0> (wq, ws, wz)
        bf = DequantizeLinear <axis = 0> (bq, bs)
        c = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (xf, wf, bf)
        r = Relu (c)
        rq = QuantizeLinear (r, rs, rz)
        rf = DequantizeLinear (rq, rs, rz)
        p = GlobalAveragePool (rf)
        f = Flatten (p)
        fq = QuantizeLinear (f, rs, rz)
        ff = DequantizeLinear (fq, rs, rz)
        vf = DequantizeLinear (vq, vs, vz)
        y = MatMul (ff, vf)
    }"""
    scales = rng.uniform(0.01, 0.02, 8).astype(np.float32)
    weights = {
        "xs": np.float32(0.03), "xz": np.uint8(120), "rs": np.float32(0.05), "rz": np.uint8(0), "ws": scales,
        "wz": np.zeros(8, np.int8),
        "wq": rng.integers(-127, 128, (8, 3, 3, 3)).astype(np.int8), "bq": rng.integers(-900, 900, 8).astype(np.int32),
        "bs": (scales * np.float32(0.03)), "vq": rng.integers(-127, 128, (8, 5)).astype(np.int8),
        "vs": np.float32(0.02), "vz": np.int8(0),
    }  # fmt: skip
    return model_from_text(text, 21, {name: np.asarray(w) for name, w in weights.items()})


def few_bits():
    """Products with weights of 4 and 8 bits: one row with few and with many blocks, several rows, zero points, a bias."""
    rng = np.random.default_rng(8)
    text = """g (float[1, 70] x, float[5, 70] rows) => (float[1, 37] y0, float[5, 37] y1, float[1, 20] y2, float[5, 20] y3) {
        a = DequantizeLinear <axis = 0, block_size = 16> (aq, as, az)
        b = DequantizeLinear <axis = 1> (bq, bs)
        p0 = MatMul (x, a)
        y0 = Add (p0, bias)
        y1 = MatMul (rows, a)
        y2 = MatMul (x, b)
        y3 = MatMul (rows, b)
    }"""
    weights = {
        "aq": rng.integers(0, 16, (70, 37)).astype(np.uint8), "az": rng.integers(0, 16, (5, 37)).astype(np.uint8),
        "as": rng.uniform(0.01, 0.1, (5, 37)).astype(np.float32), "bias": rng.standard_normal(37).astype(np.float32),
        "bq": rng.integers(-128, 128, (70, 20)).astype(np.int8), "bs": rng.uniform(0.001, 0.01, 20).astype(np.float32),
    }  # fmt: skip
    return model_from_text(text, 21, weights)


def _modules():
    x = lambda *shape: pl.randn(*shape)  # noqa: E731 - a short name for the table
    yield "mlp", mlp(), x(3, 33)
    yield "resnet", Resnet(), x(1, 3, 33, 29)
    yield "mobilenet", mobilenet(), x(1, 3, 17, 17)
    yield "decoder", decoder(), x(1, 6, 7, 5)
    yield "char_gpt", Language(causal=True), pl.randint(0, 24, (1, 19))
    yield "bert", Language(causal=False), pl.randint(0, 24, (2, 21))
    yield "recurrent", Recurrent(), x(2, 9, 6)


def _graphs():
    yield "functions", functions("float")
    yield "functions64", functions("double")
    yield "signal", signal()
    yield "quantized", quantized()
    yield "few_bits", few_bits()


def hash_of(path, threads=1, deterministic=True):
    """SHA-256 of all outputs of the file's samples."""
    program = penlight_runtime.Program.open(path)
    digest = hashlib.sha256()
    for sample in program.golden():
        session = program.session(sample.method, threads=threads, deterministic=deterministic)
        for array in session.run(sample.inputs).values():
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def main():
    os.chdir(FOLDER.parents[2])  # the files name source lines relative to here
    pl.manual_seed(11)
    for name, module, x in _modules():
        export(module.eval(), (x,)).save(FOLDER / f"{name}.pen")
    for name, model in _graphs():
        with tempfile.TemporaryDirectory() as folder:
            onnx.save(model, Path(folder) / "model.onnx")
            convert(Path(folder) / "model.onnx", FOLDER / f"{name}.pen")
    write_hashes()


def write_hashes():
    lines = [f"{hash_of(path)}  {path.name}" for path in sorted(FOLDER.glob("*.pen"))]
    HASHES.write_text("\n".join(lines) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()

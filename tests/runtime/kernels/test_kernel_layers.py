# SPDX-License-Identifier: Apache-2.0
"""Products, convolutions, pools, norms, reductions and movements against NumPy in float64, on several threads."""

import math

import ml_dtypes
import numpy as np
import pytest
from kernel_runner import check, node_program, one, rand, run_node

import penlight_runtime

PRODUCTS = [
    (1, 1, 1),
    (1, 64, 33),
    (2, 5, 3),
    (3, 17, 8),
    (6, 16, 16),
    (7, 65, 31),
    (13, 1, 400),
    (64, 100, 5),
    (5, 33, 800),
    (100, 3, 1),
    (4, 7, 0),
    (0, 3, 4),
    (23, 48, 128),  # the whole right side stays in the first cache
    (23, 49, 128),  # it does not
]


@pytest.mark.parametrize(("m", "n", "k"), PRODUCTS)
@pytest.mark.parametrize("threads", [1, 3])
def test_products(m, n, k, threads):
    a, b, c = rand(m, k), rand(k, n, seed=1), rand(n, seed=2)
    wanted = a.astype(np.float64) @ b
    check("MatMul", [a, b], wanted.astype(np.float32), rtol=1e-5, atol=1e-4, threads=threads)
    check("Gemm", [a, b, c], (wanted + c).astype(np.float32), rtol=1e-5, atol=1e-4, threads=threads)
    turned = [np.ascontiguousarray(a.T), np.ascontiguousarray(b.T)]
    scaled = (0.5 * wanted - 2 * c).astype(np.float32)
    check("Gemm", [*turned, c], scaled, rtol=1e-5, atol=1e-4, transA=1, transB=1, alpha=0.5, beta=-2.0, threads=threads)
    check("Gemm", [a, turned[1], c.reshape(1, n)], (wanted + c).astype(np.float32), rtol=1e-5, atol=1e-4, transB=1, threads=threads)
    fused = {"domain": "ai.penlight", "version": 1}
    check("FusedGemm", [a, b, c], np.maximum(wanted + c, 0).astype(np.float32), rtol=1e-5, atol=1e-4, activation="Relu", **fused)
    limits = {"activation": "Clip", "activation_alpha": -1.0, "activation_beta": 2.0}
    check("FusedGemm", [a, b], np.clip(wanted, -1, 2).astype(np.float32), rtol=1e-5, atol=1e-4, **limits, **fused)
    check("FusedGemm", [a, b], np.tanh(wanted).astype(np.float32), rtol=1e-5, atol=1e-4, activation="Tanh", **fused)


def test_gelu_after_a_product():
    """In the fast profile it is near the exact one, in the deterministic one it has the bits of the operator on its own."""
    x = np.concatenate([np.linspace(-6, 6, 4001), [-1e6, -100, 100, 1e6, 3e38]]).astype(np.float32).reshape(-1, 1)
    wanted = 0.5 * x.astype(np.float64) * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    fused = {"domain": "ai.penlight", "version": 1, "activation": "Gelu"}
    operands = [x, np.ones((1, 1), np.float32)]
    check("FusedGemm", operands, wanted.astype(np.float32), rtol=1e-6, atol=2e-6, **fused)
    programs = node_program("FusedGemm", operands, [x], **fused), node_program("Gelu", [x], [x], version=20)
    same = [penlight_runtime.Program(p).session(deterministic=True).run(f) for p, f in zip(programs, (operands, [x]), strict=True)]
    np.testing.assert_array_equal(*[y.view(np.uint32) for outputs in same for y in outputs.values()])


@pytest.mark.parametrize(
    "shapes",
    [
        ((3, 4), (4,)),
        ((4,), (4, 3)),
        ((4,), (4,)),
        ((2, 3, 4), (4, 5)),
        ((2, 1, 3, 4), (5, 4, 2)),
        ((7, 3, 4), (1, 4, 2)),
        ((0, 3, 4), (4, 2)),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.float16], ids=["f32", "f64", "i32", "f16"])
def test_batches_of_products(shapes, dtype):
    a, b = rand(*shapes[0], dtype=dtype), rand(*shapes[1], dtype=dtype, seed=1)
    rtol = 1e-5 if np.dtype(dtype).itemsize > 2 else 2e-3
    wanted = np.matmul(a.astype(np.float64), b.astype(np.float64)).astype(dtype)
    check("MatMul", [a, b], wanted, rtol=rtol, atol=10 * rtol, threads=2)


def convolve(x, weight, bias, stride, pads, dilation, groups):
    """The definition, in float64."""
    (n, c), (o, _, kh, kw) = x.shape[:2], weight.shape
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])))
    oh = (padded.shape[2] - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    ow = (padded.shape[3] - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    y = np.zeros((n, o, oh, ow))
    for i in range(kh):
        for j in range(kw):
            rows = slice(i * dilation[0], i * dilation[0] + (oh - 1) * stride[0] + 1, stride[0])
            part = padded[:, :, rows, j * dilation[1] : j * dilation[1] + (ow - 1) * stride[1] + 1 : stride[1]]
            part = part.reshape(n, groups, c // groups, oh, ow)
            taps = weight[:, :, i, j].astype(np.float64).reshape(groups, o // groups, c // groups)
            y += np.einsum("goc,ngchw->ngohw", taps, part).reshape(n, o, oh, ow)
    return y + (0 if bias is None else bias.reshape(-1, 1, 1))


CONVOLUTIONS = [
    # x, weight, stride, pads, dilation, groups
    ((1, 1, 8, 8), (16, 1, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    ((3, 16, 8, 8), (32, 16, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    ((1, 130, 5, 7), (53, 130, 3, 3), (1, 1), (1, 0, 2, 1), (1, 1), 1),
    ((2, 6, 9, 11), (9, 2, 3, 2), (2, 3), (2, 1, 0, 1), (1, 2), 3),
    ((1, 8, 40, 20), (8, 1, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 8),
    ((1, 8, 40, 21), (16, 1, 3, 3), (2, 2), (0, 0, 0, 0), (1, 1), 8),
    ((2, 5, 6, 7), (4, 5, 1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    ((1, 5, 16, 16), (60, 5, 1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    ((1, 3, 6, 7), (2, 3, 2, 2), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    ((1, 3, 30, 33), (7, 3, 7, 7), (2, 2), (3, 3, 3, 3), (1, 1), 1),
    ((1, 2, 4, 4), (2, 2, 3, 3), (5, 5), (2, 2, 2, 2), (1, 1), 1),
    ((1, 2, 5, 5), (3, 2, 1, 1), (1, 1), (2, 2, 2, 2), (1, 1), 1),
    ((0, 2, 5, 5), (3, 2, 3, 3), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    ((2, 64, 7, 7), (50, 64, 1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    ((1, 64, 5, 10), (7, 64, 1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    ((2, 20, 9, 10), (20, 1, 5, 5), (1, 1), (2, 2, 2, 2), (1, 1), 20),
    ((1, 20, 11, 9), (20, 1, 5, 5), (2, 2), (2, 2, 2, 2), (1, 1), 20),
]


@pytest.mark.parametrize(("x", "weight", "stride", "pads", "dilation", "groups"), CONVOLUTIONS)
@pytest.mark.parametrize("threads", [1, 3])
def test_convolutions(x, weight, stride, pads, dilation, groups, threads):
    images, filters, bias = rand(*x), rand(*weight, seed=1), rand(weight[0], seed=2)
    wanted = convolve(images, filters, bias, stride, pads, dilation, groups)
    window = {
        "kernel_shape": list(weight[2:]),
        "strides": list(stride),
        "pads": list(pads),
        "dilations": list(dilation),
        "group": groups,
    }
    options = {"rtol": 1e-5, "atol": 2e-4, "threads": threads, **window}
    check("Conv", [images, filters, bias], wanted.astype(np.float32), **options)
    fused = {**options, "domain": "ai.penlight", "version": 1}
    check("FusedConv", [images, filters, bias], np.maximum(wanted, 0).astype(np.float32), activation="Relu", **fused)
    leaky = np.where(wanted < 0, 0.2 * wanted, wanted).astype(np.float32)
    check("FusedConv", [images, filters, bias], leaky, activation="LeakyRelu", activation_alpha=0.2, **fused)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, ml_dtypes.bfloat16], ids=["f64", "f16", "bf16"])
def test_convolutions_of_other_floats(dtype):
    x, weight, bias = (
        rand(2, 4, 7, 6, dtype=dtype),
        rand(6, 2, 3, 2, low=-1, high=1, dtype=dtype, seed=1),
        rand(6, dtype=dtype, seed=2),
    )
    arguments = (2, 1), (1, 0, 1, 1), (1, 2), 2
    wanted = convolve(x, weight.astype(np.float64), bias.astype(np.float64), *arguments)
    window = {"strides": [2, 1], "pads": [1, 0, 1, 1], "dilations": [1, 2], "group": 2, "threads": 2}
    rtol = {8: 1e-12, 2: 2e-2}[np.dtype(dtype).itemsize]
    check("Conv", [x, weight, bias], wanted.astype(dtype), rtol=rtol, atol=5 * rtol, **window)
    fused = {**window, "domain": "ai.penlight", "version": 1, "activation": "Relu"}
    check(
        "FusedConv", [x, weight, bias], np.maximum(wanted, 0).astype(dtype), rtol=max(rtol, 1e-6), atol=max(5 * rtol, 1e-5), **fused
    )


def test_convolutions_of_volumes():
    x, weight = rand(2, 3, 4, 5, 6), rand(4, 3, 3, 2, 3, seed=1)
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (0, 0), (0, 2)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 2, 3), (2, 3, 4))[:, :, :, ::2]
    wanted = np.einsum("ncdhwijk,ocijk->nodhw", windows, weight.astype(np.float64)).astype(np.float32)
    check("Conv", [x, weight], wanted, rtol=1e-5, atol=1e-4, strides=[1, 2, 1], pads=[1, 0, 0, 1, 0, 2], threads=2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f32", "f64"])
@pytest.mark.parametrize(("stride", "pad", "groups"), [(1, 0, 1), (2, 1, 1), (3, 0, 2), (2, 1, 4)])
def test_transposed_convolutions(stride, pad, groups, dtype):
    """<y, transposed(x)> = <conv(y), x> defines it."""
    x, weight = rand(2, 4, 5, 6, dtype=dtype), rand(4, 8 // groups, 3, 3, dtype=dtype, seed=1)
    out = [(n - 1) * stride + 3 - 2 * pad for n in x.shape[2:]]
    window = {"strides": [stride] * 2, "pads": [pad] * 4, "group": groups}
    result = one("ConvTranspose", [x, weight], np.empty((2, 8, *out), dtype), threads=2, **window)
    y = rand(2, 8, *out, dtype=dtype, seed=2)
    forward = convolve(y, weight.astype(np.float64), None, (stride, stride), [pad] * 4, (1, 1), groups)
    np.testing.assert_allclose((result.astype(np.float64) * y).sum(), (forward * x).sum(), rtol=1e-4)
    shifted = one("ConvTranspose", [x, weight, rand(8, dtype=dtype)], result, threads=2, **window)
    np.testing.assert_allclose(shifted - result, np.broadcast_to(rand(8, dtype=dtype).reshape(-1, 1, 1), result.shape), atol=1e-4)


def test_results_do_not_depend_on_threads():
    x, w = rand(2, 24, 17, 19), rand(50, 24, 3, 3, seed=1)
    a, b = rand(61, 192), rand(192, 100, seed=1)
    for name, inputs, shape, attributes in (
        ("Conv", [x, w], (2, 50, 17, 19), {"pads": [1, 1, 1, 1]}),
        ("MatMul", [a, b], (61, 100), {}),
        ("Softmax", [rand(50, 300)], (50, 300), {"axis": -1}),
        ("ReduceSum", [rand(3000, 40)], (1, 40), {"keepdims": 1}),
        ("LayerNormalization", [rand(50, 300), rand(300)], (50, 300), {}),
    ):
        known = [1] if name == "ReduceSum" else []
        feeds = [*inputs, np.array([0])] if name == "ReduceSum" else inputs
        results = {one(name, feeds, np.empty(shape, np.float32), known=known, threads=t, **attributes).tobytes() for t in (1, 2, 3)}
        assert len(results) == 1, name


@pytest.mark.parametrize("shape", [(1, 2, 7, 9), (2, 3, 33, 16), (1, 1, 4, 50)])
@pytest.mark.parametrize("window", [(2, 2, 0), (3, 2, 1), (3, 1, 1), (2, 3, 0)])
def test_pools(shape, window):
    kernel, stride, pad = window
    x = rand(*shape)
    out = [(n + 2 * pad - kernel) // stride + 1 for n in shape[2:]]
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)), constant_values=-np.inf)
    counted = np.pad(np.ones(shape), ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    rows, columns = ([slice(i, i + (n - 1) * stride + 1, stride) for i in range(kernel)] for n in out)
    taps = [(slice(None), slice(None), i, j) for i in rows for j in columns]
    largest = np.max([padded[t] for t in taps], axis=0)
    total = np.sum([np.where(np.isinf(padded), 0, padded)[t].astype(np.float64) for t in taps], axis=0)
    count = np.sum([counted[t] for t in taps], axis=0)
    attributes = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [pad] * 4, "threads": 2}
    check("MaxPool", [x], largest, **attributes)
    check("AveragePool", [x], (total / count).astype(np.float32), **attributes)
    check("AveragePool", [x], (total / kernel**2).astype(np.float32), count_include_pad=1, **attributes)


@pytest.mark.parametrize("size", [1, 7, 8, 9, 49, 1000])
def test_means_of_planes(size):
    for dtype, tolerance in ((np.float32, 1e-6), (np.float64, 1e-14), (np.float16, 2e-3)):
        x = rand(2, 3, size, dtype=dtype)
        wanted = x.astype(np.float64).mean(axis=2, keepdims=True).astype(dtype)
        check("GlobalAveragePool", [x], wanted, rtol=tolerance, atol=tolerance, threads=2)


@pytest.mark.parametrize("keys", [3, 8, 17, 40])
def test_attention_with_scores_far_apart(keys):
    """Probabilities from 1 down to 0; masked keys, whatever their values, and rows that are not numbers."""
    q, k, v = rand(1, 2, 5, 16), rand(1, 2, keys, 16, seed=1), rand(1, 2, keys, 12, seed=2)
    mask = np.zeros((5, keys), np.float32)
    mask[1, 1:], mask[2, 0], mask[3, 2] = -np.inf, -1e9, np.nan
    scores = q.astype(np.float64) @ k.transpose(0, 1, 3, 2) + mask
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    wanted = (weights / weights.sum(axis=-1, keepdims=True)) @ v
    result = check("Attention", [q, k, v, mask], wanted.astype(np.float32), rtol=1e-4, atol=1e-5, version=23, scale=1.0)
    np.testing.assert_array_equal(result[:, :, 1], v[:, :, 0])  # by a single key
    assert np.isnan(result[:, :, 3]).all() and not np.isnan(result[:, :, [0, 1, 2, 4]]).any()


@pytest.mark.parametrize("shape", [(3, 7), (5, 1), (2, 16), (1, 100), (64, 33), (4, 3, 5)])
def test_softmax_and_norms(shape):
    x = rand(*shape, low=-30, high=30)
    wide = x.astype(np.float64)
    for axis in range(len(shape)):
        shifted = wide - wide.max(axis, keepdims=True)
        total = np.exp(shifted).sum(axis, keepdims=True)
        check("Softmax", [x], (np.exp(shifted) / total).astype(np.float32), axis=axis, rtol=2e-6, atol=1e-7, threads=2)
        check("LogSoftmax", [x], (shifted - np.log(total)).astype(np.float32), axis=axis, rtol=2e-6, atol=1e-5)
    scale, bias = rand(shape[-1], seed=1), rand(shape[-1], seed=2)
    centred = wide - wide.mean(-1, keepdims=True)
    normal = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    check("LayerNormalization", [x, scale, bias], (normal * scale + bias).astype(np.float32), rtol=1e-4, atol=1e-4, axis=-1)
    root = wide / np.sqrt((wide**2).mean(-1, keepdims=True) + 1e-5)
    check("RMSNormalization", [x, scale], (root * scale).astype(np.float32), rtol=1e-5, atol=1e-5, axis=-1)


@pytest.mark.parametrize("name", ["LayerNormalization", "RMSNormalization", "FusedLayerNormalization", "FusedRMSNormalization"])
def test_scales_of_row_norms_have_the_normalised_shape(name):
    """Others may have as many elements: (8, 1) scales the rows of (8, 8), which the kernels do not."""
    x, fused = rand(3, 8, 8), name.startswith("Fused")
    options = {"domain": "ai.penlight", "version": 1} if fused else {}
    operands = [x, np.zeros_like(x)] if fused else [x]
    whole = one(name, [*operands, rand(8, 8, seed=1)], x, axis=1, **options)
    np.testing.assert_array_equal(one(name, [*operands, rand(8, 8, seed=1)[None]], x, axis=1, **options), whole)
    for shape, axis in [((8, 1), 2), ((64,), 1), ((1, 64), 1), ((3, 8, 8), 1), ((1, 1, 8, 8), 1), ((1,), 2)]:
        with pytest.raises(penlight_runtime.UnsupportedOperator, match=r"shape of the . normalised dimensions"):
            one(name, [*operands, rand(*shape)], x, axis=axis, **options)


def test_softmax_of_extremes():
    x = np.array([[1e38, -1e38, 0], [-np.inf, 0, 0], [88, 89, 90], [-1e9] * 3], np.float32)
    wanted = np.array([[1, 0, 0], [0, 0.5, 0.5], [0.09003057, 0.24472847, 0.66524096], [1 / 3] * 3], np.float32)
    check("Softmax", [x], wanted, axis=1)
    assert np.isnan(one("Softmax", [np.full((1, 3), -np.inf, np.float32)], wanted, axis=1)).all()


REDUCTIONS = {
    "ReduceSum": np.sum,
    "ReduceMean": np.mean,
    "ReduceMax": np.max,
    "ReduceMin": np.min,
    "ReduceProd": np.prod,
    "ReduceL1": lambda x, **k: np.abs(x).sum(**k),
    "ReduceL2": lambda x, **k: np.sqrt((x * x).sum(**k)),
    "ReduceLogSumExp": lambda x, **k: np.log(np.exp(x).sum(**k)),
    "ReduceSumSquare": lambda x, **k: (x * x).sum(**k),
}


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 2), (1, 2), (0, 1, 2)])
def test_reductions(name, axes):
    for shape in [(3, 5, 70), (2, 130, 1), (1, 1, 1)]:
        x = rand(*shape, low=-1.2, high=1.2)
        for keep in (False, True):
            wanted = REDUCTIONS[name](x.astype(np.float64), axis=axes, keepdims=keep).astype(np.float32)
            check(name, [x, np.array(axes)], wanted, rtol=1e-5, atol=1e-5, known=[1], keepdims=int(keep), threads=2)


MOVED = [np.float32, np.float16, np.int8, np.int64, np.bool_, ml_dtypes.bfloat16]


@pytest.mark.parametrize("dtype", MOVED, ids=lambda d: np.dtype(d).name)
def test_movements(dtype):
    x = rand(2, 3, 40, 5).astype(dtype)
    check("Transpose", [x], np.ascontiguousarray(x.transpose(3, 1, 0, 2)), perm=[3, 1, 0, 2], threads=2)
    check("Transpose", [x], np.ascontiguousarray(x.transpose(0, 1, 3, 2)), perm=[0, 1, 3, 2])
    slices = [np.array(v) for v in ([30, 1], [2, 9], [2, 3], [-3, 2])]
    check("Slice", [x, *slices], x[:, :, 30:2:-3, 1:9:2], known=[1, 2, 3, 4])
    check("Concat", [x, x[:, :1], x], np.concatenate([x, x[:, :1], x], 1), axis=1)
    first, second = x[:, :, :11], x[:, :, 11:]
    for ours, wanted in zip(
        run_node("Split", [x, np.array([11, 29])], [first, second], known=[1], axis=2), (first, second), strict=True
    ):
        np.testing.assert_array_equal(ours, wanted)
    check("Expand", [x[:, :, :1], np.array([4, 1, 1, 6, 1])], np.broadcast_to(x[:, :, :1], (4, 2, 3, 6, 5)), known=[1])
    check("Tile", [x, np.array([1, 2, 1, 3])], np.tile(x, (1, 2, 1, 3)), known=[1])
    pads = np.array([0, 1, 0, 2, 1, 0, 0, 3])
    check("Pad", [x, pads], np.pad(x, ((0, 1), (1, 0), (0, 0), (2, 3))), known=[1])
    check("Pad", [x, pads], np.pad(x, ((0, 1), (1, 0), (0, 0), (2, 3)), mode="edge"), known=[1], mode="edge")
    check("Gather", [x, np.array([[2, -1], [0, 1]])], x[:, [[2, -1], [0, 1]]], axis=1)
    index = np.random.default_rng(0).integers(-40, 40, (2, 3, 7, 5))
    check("GatherElements", [x, index], np.take_along_axis(x, index % 40, 2), axis=2)
    tuples = np.array([[1, 2], [0, -1]])
    check("GatherND", [x, tuples], x[[1, 0], [2, -1]])
    changed = x.copy()
    changed[[1, 0], [2, -1]] = x[0, :2]
    check("ScatterND", [x, tuples, x[0, :2]], changed)
    check("Trilu", [x], np.tril(x), upper=0)
    check("Identity", [x], x)


def test_a_million_elements_turn():
    x = rand(257, 1031)
    check("Transpose", [x], np.ascontiguousarray(x.T), perm=[1, 0], threads=3)

# SPDX-License-Identifier: Apache-2.0
"""Small programs that together reach most of the loader and many kernels: seeds of the fuzzer, prey of the mutation tests."""

from __future__ import annotations

import numpy as np
import pen_builder
from pen_builder import PenBuilder

import penlight_runtime

_RNG = np.random.default_rng(7)


def _weights(*shape: int) -> np.ndarray:
    return _RNG.standard_normal(shape, np.float32)


def convolution() -> PenBuilder:
    builder = PenBuilder()
    x = builder.input("x", "float32", ("batch", 2, 6, 6))
    w = builder.constant("w", _weights(3, 2, 3, 3))
    value = builder.node("Conv", [x, w, builder.constant("b", _weights(3))], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1])
    value = builder.node("MaxPool", [builder.node("Relu", [value])], kernel_shape=[2, 2], strides=[2, 2])
    value = builder.node("Flatten", [value], axis=1)
    head = [builder.constant("v", _weights(27, 4)), builder.constant("c", _weights(4))]
    value = builder.node("Gemm", [value, *head], alpha=1.0, beta=1.0)
    builder.output(builder.node("Softmax", [value], ["y"], axis=-1), "float32", ("batch", 4))
    return builder


def shapes() -> PenBuilder:
    """Shape arithmetic whose results steer Reshape, Slice and Expand."""
    builder = PenBuilder()
    x = builder.input("x", "float32", ("batch", 4, 3))
    batch = builder.node("Shape", [x], start=0, end=1)
    target = builder.node("Concat", [batch, builder.constant("rest", np.array([-1], np.int64))], axis=0)
    flat = builder.node("Reshape", [x, target])
    bounds = [
        builder.constant(name, np.array([n], np.int64)) for name, n in (("starts", 1), ("ends", 9), ("axes", 1), ("steps", 2))
    ]
    part = builder.node("Slice", [flat, *bounds])
    turned = builder.node("Transpose", [part], perm=[1, 0])
    both = builder.node("Concat", [turned, turned], axis=0)
    ends = builder.constant("shape", np.array([2, 8, 1], np.int64))
    builder.output(builder.node("Expand", [both, ends], ["y"]), "float32", (2, 8, "batch"))
    return builder


def language() -> PenBuilder:
    """An embedding, a layer norm, and a product: indices come from the input."""
    builder = PenBuilder()
    tokens = builder.input("tokens", "int64", ("batch", "time"))
    embedded = builder.node("Gather", [builder.constant("table", _weights(5, 8)), tokens], axis=0)
    norm = [builder.constant("scale", _weights(8)), builder.constant("shift", _weights(8))]
    value = builder.node("LayerNormalization", [embedded, *norm], axis=-1, epsilon=1e-5)
    value = builder.node("MatMul", [value, builder.constant("w", _weights(8, 5))])
    value = builder.node("ReduceMean", [value, builder.constant("axes", np.array([1], np.int64))], keepdims=0)
    builder.output(builder.node("Gelu", [value], ["y"]), "float32", ("batch", 5))
    return builder


def arithmetic() -> PenBuilder:
    """Integers, truth values, casts, several outputs."""
    builder = PenBuilder()
    a = builder.input("a", "int32", ("n",))
    b = builder.input("b", "float32", ("n",))
    product = builder.node("Mul", [builder.node("Cast", [a], to=1), b])
    large = builder.node("Greater", [product, builder.constant("limit", np.array(1.5, np.float32))], ["large"])
    chosen = builder.node("Where", [large, product, b], ["chosen"])
    low, high = (builder.constant(name, np.array(n, np.float32)) for name, n in (("low", -1), ("high", 1)))
    builder.output(builder.node("Clip", [chosen, low, high], ["y"]), "float32", ("n",))
    builder.output(large, "bool", ("n",))
    builder.output(a)
    return builder


def branches() -> PenBuilder:
    """Two branches of other shapes, one with a branch inside; what follows is sized by them."""
    builder = PenBuilder()
    x = builder.input("x", "float32", ("batch", 4))
    flag = builder.input("flag", "bool", ())
    then, other = builder.body("then"), builder.body("else")
    value = then.node("Relu", [then.input("x")])
    then.output(then.node("Reshape", [value, then.constant("shape", np.array([2, -1], np.int64))]))
    inner, outer = other.input("x"), other.input("flag")
    left, right = other.body("left"), other.body("right")
    left.output(left.node("Neg", [left.input("x")]))
    right.output(right.node("Add", [right.input("x"), right.constant("one", np.ones(4, np.float32))]))
    other.output(other.node("If", [outer, inner], then_branch=(left, [1]), else_branch=(right, [1])))
    chosen = builder.node("If", [flag, x], then_branch=(then, [1]), else_branch=(other, [1, 0]))
    builder.output(builder.node("Mul", [chosen, chosen], ["y"]), "float32", (None, None))
    return builder


def packed() -> PenBuilder:
    """A branch whose convolution packs its weights, once while it runs for the first time."""
    builder = PenBuilder()
    x = builder.input("x", "float32", (1, 32, 9, 13))
    then, other = builder.body("then"), builder.body("else")
    inner = then.input("x", "float32", (1, 32, 9, 13))
    weight = then.constant("w", np.full((32, 32, 3, 3), 0.5, np.float32))
    then.output(then.node("Conv", [inner, weight], pads=[1, 1, 1, 1]))
    other.output(other.node("Neg", [other.input("x")]))
    true = builder.constant("true", np.array(True))
    builder.output(
        builder.node("If", [true, x], ["y"], then_branch=(then, [1]), else_branch=(other, [1])), "float32", (1, 32, 9, 13)
    )
    return builder


def loops() -> PenBuilder:
    """A counted loop whose state grows and whose steps are collected, and one that ends by its condition."""
    builder = PenBuilder()
    trips = builder.input("trips", "int64", ())
    x = builder.input("x", "float32", ("n",))
    few = builder.node("Min", [trips, builder.constant("three", np.array(3, np.int64))])
    grow = builder.body("grow")
    number, go, state, extra = (grow.input(name) for name in ("number", "go", "state", "extra"))
    grow.output(go)
    grow.output(grow.node("Concat", [state, extra], axis=0))
    grow.output(grow.node("Cast", [number], to=1), "float32", ())
    grown = builder.node("Loop", [few, -1, x, x], ["grown", "numbers"], body=(grow, [3]))
    twice = builder.body("twice")
    _, _, total = (twice.input(name) for name in ("number", "go", "total"))
    more = twice.node("Add", [total, twice.constant("step", np.array(1.5, np.float32))])
    twice.output(twice.node("Less", [more, twice.constant("limit", np.array(9, np.float32))]))
    twice.output(more)
    start = builder.constant("start", np.array(0, np.float32))
    total = builder.node("Loop", [-1, builder.constant("true", np.array(True)), start], ["total"], body=(twice, []))
    builder.output(builder.node("Mul", [grown, total], ["y"]), "float32", (None,))
    builder.output(grown + 1, "float32", (None,))
    return builder


def scans() -> PenBuilder:
    """Running sums over columns, from the end, collected as columns again."""
    builder = PenBuilder()
    x = builder.input("x", "float32", (3, "time"))
    body = builder.body("step")
    state, column, scale = (body.input(name) for name in ("state", "column", "scale"))
    total = body.node("Add", [state, body.node("Mul", [column, scale])])
    body.output(total)
    body.output(body.node("Tanh", [total]), "float32", (3,))
    start = builder.constant("start", np.zeros(3, np.float32))
    factor = builder.node("ReduceMax", [x], keepdims=0)
    lists = {key: [1] for key in ("scan_input_axes", "scan_output_axes", "scan_input_directions", "scan_output_directions")}
    last = builder.node("Scan", [start, x, factor], ["last", "all"], num_scan_inputs=1, body=(body, [2]), **lists)
    builder.output(last, "float32", (3,))
    builder.output(last + 1, "float32", (3, None))
    return builder


def boxes() -> PenBuilder:
    """Outputs with an upper bound in the plan, and what is gathered by them."""
    builder = PenBuilder()
    corners = builder.input("boxes", "float32", (1, "n", 4))
    scores = builder.input("scores", "float32", (1, 2, "n"))
    limits = [builder.constant(f"limit{k}", np.array(v)) for k, v in enumerate((np.int64(2), np.float32(0.5), np.float32(0.1)))]
    chosen = builder.node("NonMaxSuppression", [corners, scores, *limits], ["chosen"])
    builder.output(chosen, "int64", (None, 3))
    values = builder.node("Unique", [scores], ["values", "first", "inverse", "counts"])
    builder.output(values, "float32", (None,))
    places = builder.node("NonZero", [scores], ["places"])
    builder.output(places, "int64", (3, None))
    return builder


def gathered() -> PenBuilder:
    """Nodes behind a value that is sized by data."""
    builder = PenBuilder()
    x = builder.input("x", "float32", ("n", 2))
    flat = builder.node("Reshape", [x, builder.constant("all", np.array([-1], np.int64))])
    places = builder.node("NonZero", [flat])
    picked = builder.node("GatherND", [flat, builder.node("Transpose", [places], perm=[1, 0])])
    total = builder.node("ReduceSum", [picked], keepdims=1)
    builder.output(builder.node("Div", [picked, total], ["y"]), "float32", (None,))
    builder.output(builder.node("Tile", [x, builder.node("Shape", [places])], ["tiled"]), "float32", (None, None))
    return builder


def idle() -> PenBuilder:
    """No node and no output: nothing to plan."""
    builder = PenBuilder()
    builder.input("x", "float32", (2,))
    return builder


def corpus() -> dict[str, bytes]:
    """Returns the bytes of every program whose operators this build has."""
    makers = {
        "small": pen_builder.small_program,
        "relu": pen_builder.relu_program,
        "convolution": convolution,
        "shapes": shapes,
        "language": language,
        "arithmetic": arithmetic,
        "branches": branches,
        "packed": packed,
        "loops": loops,
        "scans": scans,
        "boxes": boxes,
        "gathered": gathered,
        "states": pen_builder.counting_program,
        "idle": idle,
    }
    known = {entry.name for entry in penlight_runtime.operators()}
    missing = {"Conv", "MaxPool", "Gemm", "Shape", "Slice", "Gather", "Expand", "LayerNormalization"} - known
    assert not missing, f"kernels of the recipes are missing: {sorted(missing)}"
    return {name: make().build() for name, make in makers.items()}

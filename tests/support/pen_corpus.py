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


def corpus() -> dict[str, bytes]:
    """Returns the bytes of every program whose operators this build has."""
    makers = {
        "small": pen_builder.small_program,
        "relu": pen_builder.relu_program,
        "convolution": convolution,
        "shapes": shapes,
        "language": language,
        "arithmetic": arithmetic,
    }
    known = {entry.name for entry in penlight_runtime.operators()}
    missing = {"Conv", "MaxPool", "Gemm", "Shape", "Slice", "Gather", "Expand", "LayerNormalization"} - known
    assert not missing, f"kernels of the recipes are missing: {sorted(missing)}"
    return {name: make().build() for name, make in makers.items()}

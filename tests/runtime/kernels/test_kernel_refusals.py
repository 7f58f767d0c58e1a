# SPDX-License-Identifier: Apache-2.0
"""What kernels refuse: indices, divisors, shapes, attributes, sizes that do not fit."""

import numpy as np
import pytest
from kernel_runner import one, rand

import penlight_runtime


def failing(name, inputs, reference, error, match=None, **options):
    with pytest.raises(error, match=match):
        one(name, inputs, reference, **options)


def test_values_are_checked_while_running():
    x = rand(3, 4)
    bad = penlight_runtime.InvalidValue
    failing("Gather", [x, np.array([3])], x, bad, "index 3 is out of range for size 3", axis=0)
    failing("Gather", [x, np.array([-4])], x, bad, "index -4", axis=0)
    failing("GatherElements", [x, np.array([[0, 9, 0, 0]])], x, bad, "index 9", axis=0)
    failing("GatherND", [x, np.array([[0, 4]])], x[0], bad, "index 4")
    failing("ScatterND", [x, np.array([[-4]]), x[:1]], x, bad, "index -4")
    failing("ScatterElements", [x, np.array([[5]]), x[:1, :1]], x, bad, "index 5", axis=0)
    whole = rand(5, dtype=np.int64)
    failing("Div", [whole, np.array([1, 0, 1, 1, 1])], whole, bad, "division by zero")
    failing("Mod", [whole, np.zeros(1, np.int64)], whole, bad, "division by zero")


def test_shapes_are_checked_before():
    x = rand(3, 4)
    shape = penlight_runtime.ShapeMismatch
    failing("Add", [x, rand(3)], x, shape, "do not broadcast")
    failing("MatMul", [x, rand(3, 4)], x, shape, "inner sizes differ")
    failing("Gemm", [x, rand(4, 2), rand(3)], x, shape, "does not broadcast")
    failing("Conv", [rand(1, 3, 5, 5), rand(2, 2, 3, 3)], rand(1, 2, 3, 3), shape, "channels")
    failing("Conv", [rand(1, 3, 2, 5), rand(2, 3, 3, 3)], rand(1, 2, 3, 3), shape, "spans 3")
    failing("Reshape", [x, np.array([5, -1])], x, shape, "do not divide", known=[1])
    failing("Reshape", [x, np.array([-1, -1])], x, shape, "only one -1", known=[1])
    failing("Concat", [x, rand(3, 5)], x, shape, "size 5", axis=0)
    failing("Squeeze", [x, np.array([0])], x[0], shape, "only size 1", known=[1])
    failing("Split", [x, np.array([1, 1])], x, shape, "do not add up", known=[1], axis=0)
    failing("TopK", [x, np.array([5])], x, shape, "k is 5", known=[1])
    failing("Expand", [x, np.array([2, 4])], x, shape, "do not broadcast", known=[1])


def test_attributes_are_checked():
    images = rand(1, 2, 6, 6)
    invalid = penlight_runtime.InvalidProgram
    for name, value in (
        ("strides", [0, 1]),
        ("strides", [1]),
        ("dilations", [-1, 1]),
        ("pads", [-1, 0, 0, 0]),
        ("strides", [2**40, 1]),
    ):
        failing("Conv", [images, rand(2, 2, 3, 3)], images, invalid, name, **{name: value})
        failing("MaxPool", [images], images, invalid, name, kernel_shape=[2, 2], **{name: value})
    failing("MaxPool", [images], images, invalid, "kernel_shape")
    failing("Conv", [images, rand(2, 2, 3, 3)], images, penlight_runtime.ShapeMismatch, "groups", group=0)
    failing("Transpose", [images], images, invalid, "named twice", perm=[0, 0, 1, 2])
    failing("Gelu", [images], images, invalid, "approximate", approximate="x")
    failing("Softmax", [images], images, penlight_runtime.ShapeMismatch, "axis 4", axis=4)
    failing(
        "FusedConv",
        [images, rand(2, 2, 3, 3)],
        images,
        NotImplementedError,
        "activation 'x'",
        domain="ai.penlight",
        version=1,
        activation="x",
    )


def test_huge_sizes_end_in_an_error():
    x, wide = rand(1, 1), penlight_runtime.RuntimeFailure
    failing("Tile", [x, np.array([2**40, 2**40])], x, wide, known=[1])
    failing("Expand", [x, np.array([2**62, 2**62])], x, wide, known=[1])
    failing("Pad", [x, np.array([2**62, 2**62, 2**62, 2**62])], x, wide, known=[1])
    failing("ConstantOfShape", [np.array([2**50, 2**50])], x, wide, known=[0])
    failing("Range", [np.array(0), np.array(2**62), np.array(1)], np.empty(1, np.int64), wide, known=[0, 1, 2])
    failing("Conv", [rand(1, 1, 3, 3), rand(1, 1, 3, 3)], rand(1, 1, 3, 3), wide, pads=[2**30] * 4)
    failing("MaxPool", [rand(1, 1, 3, 3)], rand(1, 1, 3, 3), wide, kernel_shape=[1, 1], pads=[2**30] * 4)

# SPDX-License-Identifier: Apache-2.0
"""Convolutions with constant weights of 3 x 3, which Winograd's method takes where it pays, against float64 and the direct one."""

import numpy as np
import pytest
from kernel_runner import node_program, rand
from pen_builder import PenBuilder

import penlight_runtime

# channels, filters, height, width, pads, batch. Tiles of 4, borders that cut tiles, and for large weights tiles of 2.
SHAPES = [
    (32, 32, 12, 16, (1, 1, 1, 1), 1),
    (48, 64, 13, 19, (1, 1, 1, 1), 2),
    (32, 48, 30, 33, (0, 0, 0, 0), 1),
    (64, 32, 21, 14, (2, 0, 1, 2), 1),
    (288, 288, 8, 7, (1, 1, 1, 1), 1),
    (32, 32, 3, 3, (1, 1, 1, 1), 1),
    (40, 32, 16, 16, (1, 1, 1, 1), 1),
]


def convolve(x, weight, pads):
    """The definition, in float64."""
    outer = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])))
    windows = np.lib.stride_tricks.sliding_window_view(outer, (3, 3), axis=(2, 3))
    return np.einsum("nchwij,ocij->nohw", windows, weight.astype(np.float64), optimize=True)


def program(x, weight, bias, y, **attributes):
    options = {"domain": "ai.penlight", "version": 1} if "activation" in attributes else {}
    return node_program("FusedConv" if options else "Conv", [x, weight, bias], [y], known=(1, 2), **options, **attributes)


@pytest.mark.parametrize(("channels", "filters", "height", "width", "pads", "batch"), SHAPES)
def test_constant_weights(channels, filters, height, width, pads, batch):
    x = rand(batch, channels, height, width, low=-1, high=1)
    weight, bias = rand(filters, channels, 3, 3, low=-1, high=1, seed=1), rand(filters, seed=2)
    wanted = convolve(x, weight, pads) + bias.reshape(-1, 1, 1)
    for activation, reference in (
        ({}, wanted),
        ({"activation": "Relu"}, np.maximum(wanted, 0)),
        ({"activation": "HardSwish"}, wanted * np.clip(wanted / 6 + 0.5, 0, 1)),
    ):
        data = program(x, weight, bias, wanted.astype(np.float32), pads=list(pads), **activation)
        results = []
        for threads in (1, 2, 3):
            (y,) = penlight_runtime.Program(data).session(threads=threads).run([x]).values()
            results.append(y)
            # the transforms of tiles of 4 lose about a digit: 3e-5 of the largest result
            np.testing.assert_allclose(y, reference, rtol=0, atol=3e-5 * np.abs(wanted).max())
        assert all(np.array_equal(y, results[0]) for y in results)


def test_who_does_without():
    """Deterministic sessions, those of little memory and those with a budget do what they do when weights are not constants."""
    x, weight = rand(1, 32, 24, 24), rand(32, 32, 3, 3, seed=1)
    y = np.zeros((1, 32, 24, 24), np.float32)
    options = {"pads": [1, 1, 1, 1]}
    free = penlight_runtime.Program(node_program("Conv", [x, weight], [y], **options))
    packed = node_program("Conv", [x, weight], [y], known=(1,), **options)
    (fast,) = penlight_runtime.Program(packed).session().run([x]).values()
    (direct,) = free.session().run([x, weight]).values()
    assert not np.array_equal(fast, direct)
    (small,) = penlight_runtime.Program(packed, memory_budget=1 << 24).session().run([x]).values()
    np.testing.assert_array_equal(small, direct)
    (low,) = penlight_runtime.Program(packed).session(low_memory=True).run([x]).values()
    np.testing.assert_array_equal(low, direct)
    (exact,) = free.session(deterministic=True).run([x, weight]).values()
    (same,) = penlight_runtime.Program(packed).session(deterministic=True).run([x]).values()
    np.testing.assert_array_equal(same, exact)


def test_shapes_that_change():
    """Other sizes of the image take other tiles, or none; weights are packed anew where that needs it."""
    weight, bias = rand(32, 32, 3, 3, low=-1, high=1, seed=1), rand(32, seed=2)
    data = program_of_any_size(weight, bias)
    session = penlight_runtime.Program(data).session()
    for height, width, batch in ((16, 16, 1), (3, 3, 1), (9, 9, 1), (40, 17, 2), (16, 16, 1)):
        x = rand(batch, 32, height, width, low=-1, high=1)
        wanted = convolve(x, weight, (1, 1, 1, 1)) + bias.reshape(-1, 1, 1)
        (y,) = session.run([x]).values()
        np.testing.assert_allclose(y, wanted, rtol=0, atol=3e-5 * np.abs(wanted).max())


def program_of_any_size(weight, bias):
    builder = PenBuilder()
    operands = [builder.input("x", "float32", ["n", 32, "h", "w"]), builder.constant("w", weight), builder.constant("b", bias)]
    (y,) = (builder.node("Conv", operands, ["y"], pads=[1, 1, 1, 1]),)
    builder.output(y, "float32", [None] * 4)
    return builder.build()

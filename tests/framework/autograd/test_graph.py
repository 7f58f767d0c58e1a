# SPDX-License-Identifier: Apache-2.0
"""Hooks on what the tape saves."""

import gc
import weakref

import numpy as np
import pytest

import penlight as pl
from penlight.autograd.graph import disable_saved_tensors_hooks, save_on_cpu, saved_tensors_hooks
from penlight.errors import GradientError, VersionError


def network():
    pl.manual_seed(0)
    return pl.nn.Sequential(pl.nn.Linear(4, 8), pl.nn.GELU(), pl.nn.LayerNorm(8), pl.nn.Dropout(0.5), pl.nn.Linear(8, 2))


def gradients(manager):
    net, x = network(), pl.ones(3, 4, requires_grad=True)
    pl.manual_seed(1)
    with manager:
        y = net(x)
        loss = (y.exp() * y).sum()
    loss.backward()
    return [t.grad.numpy() for t in (*net.parameters(), x)]


def test_gradients_have_the_same_bits():
    packed = []

    def pack(t):
        packed.append(t)
        return t.numpy().copy()

    expected = gradients(pl.enable_grad())
    for manager in (saved_tensors_hooks(pack, pl.from_numpy), save_on_cpu()):
        for a, b in zip(expected, gradients(manager), strict=True):
            np.testing.assert_array_equal(a, b)
    assert len(packed) > 8 and not any(t.requires_grad for t in packed)


def test_what_unpack_returns_is_used():
    x = pl.tensor([1.0, 2.0], requires_grad=True)
    with saved_tensors_hooks(lambda t: t, lambda t: t * 10):
        y = (x * x).sum()
    y.backward()
    assert x.grad.tolist() == [20.0, 40.0]


def test_the_innermost_pair_is_used_and_nodes_outside_are_untouched():
    x, seen = pl.tensor([1.0], requires_grad=True), []

    def noting(name):
        return saved_tensors_hooks(lambda t: (seen.append(name), t)[1], lambda t: t)

    with noting("outer"):
        x.exp()
        with noting("inner"):
            x.exp()
        x.exp()
    x.exp()
    assert seen == ["outer", "inner", "outer"]


def test_second_derivatives_pass_through_packed_nodes():
    x = pl.tensor([0.3, -1.2], dtype=pl.float64, requires_grad=True)
    w = pl.tensor([2.0, 0.7], dtype=pl.float64, requires_grad=True)

    def packed(x, w):
        with saved_tensors_hooks(lambda t: t.numpy().copy(), pl.from_numpy):
            return (x * w).tanh() * x.exp()

    assert pl.autograd.gradcheck(packed, (x, w)) and pl.autograd.gradgradcheck(packed, (x, w))


def test_custom_functions_are_packed_too():
    class Exp(pl.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = x.exp()
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx, grad):
            return grad * ctx.saved_tensors[0]

    x = pl.tensor([0.3, -1.2], dtype=pl.float64, requires_grad=True)

    def packed(x):
        with saved_tensors_hooks(lambda t: t.numpy().copy(), pl.from_numpy):
            return Exp.apply(x)

    assert pl.autograd.gradcheck(packed, x) and pl.autograd.gradgradcheck(packed, x)


def test_packed_values_are_freed_with_the_tape():
    class Box:
        def __init__(self, t):
            self.t = t

    boxes, x = [], pl.tensor([1.0], requires_grad=True)
    gc.disable()
    try:

        def pack(t):
            box = Box(t)
            boxes.append(weakref.ref(box))
            return box

        with saved_tensors_hooks(pack, lambda box: box.t):
            y = (x * x).exp()
        y.backward(retain_graph=True)
        assert all(box() is not None for box in boxes)
        y.backward()
        assert all(box() is None for box in boxes)
    finally:
        gc.enable()
    with pytest.raises(GradientError, match="retain_graph"):
        y.backward()


def test_mistakes():
    x = pl.tensor([1.0], requires_grad=True)
    with saved_tensors_hooks(lambda t: 1, lambda one: one):
        y = x.exp()
    with pytest.raises(GradientError, match="unpack hook must return a tensor, came int"):
        y.backward()
    z = x * 1.0
    with saved_tensors_hooks(lambda t: t, lambda t: t):
        y = z * z
    z.add_(1.0)
    with pytest.raises(VersionError, match="clone it first"):
        y.backward()
    with disable_saved_tensors_hooks("not here"), pytest.raises(GradientError, match="not here"), save_on_cpu():
        pass

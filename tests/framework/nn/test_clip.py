# SPDX-License-Identifier: Apache-2.0
"""Gradient clipping."""

import math

import numpy as np
import pytest

import penlight as pl
from penlight import nn
from penlight.nn.utils import clip_grad_norm_, clip_grad_value_


def with_gradients(*gradients):
    parameters = [nn.Parameter(pl.zeros(*np.shape(gradient))) for gradient in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = pl.tensor(np.asarray(gradient, np.float32))
    return parameters


@pytest.mark.parametrize(("norm_type", "norm"), [(2.0, 13.0), (1.0, 19.0), (math.inf, 12.0)])
def test_norm(norm_type, norm):
    parameters = [*with_gradients([3.0, 4.0], [[-12.0]]), nn.Parameter(pl.zeros(2))]
    assert clip_grad_norm_(parameters, norm / 2, norm_type).item() == pytest.approx(norm)
    np.testing.assert_allclose(parameters[0].grad.numpy(), [1.5, 2], rtol=1e-5)
    np.testing.assert_allclose(parameters[1].grad.numpy(), [[-6]], rtol=1e-5)
    assert parameters[2].grad is None


def test_small_gradients_stay():
    (parameter,) = with_gradients([3.0, 4.0])
    assert clip_grad_norm_(iter([parameter]), 100.0).item() == 5
    assert parameter.grad.tolist() == [3, 4]
    assert clip_grad_norm_([], 1.0).item() == 0


def test_non_finite():
    parameters = with_gradients([np.nan, 1.0])
    with pytest.raises(ArithmeticError, match="total norm is nan"):
        clip_grad_norm_(parameters, 1.0, error_if_nonfinite=True)
    assert math.isnan(clip_grad_norm_(parameters, 1.0).item())


def test_broadcast_gradients_are_scaled_once():
    parameter = nn.Parameter(pl.ones(4, 4))
    parameter.sum().backward()
    clip_grad_norm_(parameter, 1.0)
    np.testing.assert_allclose(parameter.grad.numpy(), np.full((4, 4), 0.25), rtol=1e-5)


def test_value():
    (parameter,) = with_gradients([-3.0, 0.5, 4.0])
    clip_grad_value_([parameter], 1.0)
    assert parameter.grad.tolist() == [-1, 0.5, 1]


def test_same_as_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    gradients = [rng.normal(size=shape).astype(np.float32) for shape in ((3, 4), (5,), (2, 2, 2))]
    ours = with_gradients(*gradients)
    theirs = [torch.nn.Parameter(torch.zeros(g.shape)) for g in gradients]
    for parameter, gradient in zip(theirs, gradients, strict=True):
        parameter.grad = torch.tensor(gradient)
    norm = clip_grad_norm_(ours, 0.7).item()
    assert norm == pytest.approx(torch.nn.utils.clip_grad_norm_(theirs, 0.7).item(), rel=1e-6)
    for parameter, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(parameter.grad.numpy(), other.grad.numpy(), rtol=1e-5)

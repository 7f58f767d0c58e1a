# SPDX-License-Identifier: Apache-2.0
"""gradcheck and gradgradcheck: what passes, what fails with which message, and torch's verdict on the same functions."""

import numpy as np
import pytest

import penlight as pl
from penlight.autograd import gradcheck, gradgradcheck
from penlight.autograd.function import Function
from penlight.errors import ArgumentError, GradcheckError


def leaf(*shape, seed=0):
    return pl.from_numpy(np.random.default_rng(seed).normal(size=shape)).requires_grad_()


def function(backward, forward=None):
    """A custom function with x * 2 as its forward, unless another one is given."""
    members = {"forward": staticmethod(forward or (lambda ctx, x: x * 2)), "backward": staticmethod(backward)}
    return type("Custom", (Function,), members).apply


@pytest.mark.parametrize("fast", [False, True])
def test_right_gradients_pass(fast):
    x, w = leaf(2, 3), leaf(4, 3, seed=1)
    linear = pl.nn.functional.linear
    for check in (gradcheck, gradgradcheck):
        assert check(lambda x, w: linear(x, w).tanh(), (x, w), fast_mode=fast)
        assert check(lambda x: (x.exp(), x.sum(0)), x, fast_mode=fast)
        assert check(lambda x, k: x**k, (x, 3), fast_mode=fast)
        assert check(lambda x: pl.fft.rfft(x), x, fast_mode=fast)
    assert gradcheck(lambda x: x.T, leaf(2, 3).T.detach().requires_grad_(), fast_mode=fast)
    assert gradgradcheck(lambda x: x.exp(), x, pl.ones(2, 3, dtype=pl.float64, requires_grad=True), fast_mode=fast)
    assert gradgradcheck(lambda x: x.exp(), x, gen_non_contig_grad_outputs=True, fast_mode=fast)


def test_the_inputs_are_as_before():
    x = leaf(3)
    before = x.tolist()
    gradcheck(lambda x: x.exp(), x)
    gradcheck(lambda x: x.exp(), x, fast_mode=True)
    assert x.tolist() == before and x.grad is None


def noisy(ctx, grad):
    noisy.calls += 1
    return grad * (2 + 1e-7 * noisy.calls)


noisy.calls = 0
WRONG = {
    "factor": (
        function(lambda ctx, g: g * 3),
        "Jacobian mismatch for output 0 with respect to input 0,\nnumerical:.*\nanalytical:",
    ),
    "constant": (lambda x: x.detach() * 2 + 0 * x, "Jacobian mismatch"),
    "cut": (lambda x: x.detach() * 2, "expected to be zero: output 0"),
    "not linear": (function(lambda ctx, g: 2 * g + 1e-9), "backward not multiplied by grad_output"),
    "not repeatable": (function(noisy), "not reentrant"),
    "undefined": (
        lambda x: function(
            lambda ctx, a, b: a * 2 + b * 3,
            lambda ctx, x: (ctx.set_materialize_grads(False), (x * 2, x * 3))[1],
        )(x),
        "undefined output grads: without a gradient for output 0",
    ),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("fast", [False, True])
def test_wrong_gradients_fail_with_the_reason(name, fast):
    wrong, message = WRONG[name]
    with pytest.raises(GradcheckError, match=f"(?s){message}"):
        gradcheck(wrong, leaf(3), fast_mode=fast)
    assert not gradcheck(wrong, leaf(3), fast_mode=fast, raise_exception=False)


def test_tolerances():
    slightly = function(lambda ctx, g: g * 2.001)
    assert not gradcheck(slightly, leaf(3), raise_exception=False, rtol=1e-5)
    assert gradcheck(slightly, leaf(3), atol=1e-2)
    assert gradcheck(function(noisy), leaf(3), nondet_tol=1e-4)


def test_a_wrong_second_derivative_fails():
    def cube(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    cut = function(lambda ctx, g: g * 3 * ctx.saved_tensors[0].detach() ** 2, cube)
    assert gradcheck(cut, leaf(3))
    with pytest.raises(GradcheckError, match="Jacobian mismatch"):
        gradgradcheck(cut, leaf(3))


def test_inputs_that_cannot_be_checked():
    with pytest.raises(ArgumentError, match="at least one input tensor to require gradient"):
        gradcheck(lambda x: x, leaf(3).detach())
    with pytest.raises(ArgumentError, match="stride 0"):
        gradcheck(lambda x: x * 2, leaf(1).detach().expand(3).requires_grad_())
    with pytest.warns(UserWarning, match="input 0 requires a gradient and is penlight.float32"):
        gradcheck(lambda x: x * 2, pl.ones(2, requires_grad=True), raise_exception=False)
    with pytest.raises(ArgumentError, match="must return tensors, came float"):
        gradcheck(lambda x: 2.0, leaf(1))


def test_dtypes_and_sizes_of_gradients():
    loose = function(lambda ctx, g: g * 2)
    assert gradcheck(loose, leaf(2), check_grad_dtypes=True)
    assert gradcheck(lambda x: x * 2, leaf(0, 3))
    assert gradcheck(lambda x: x.exp(), leaf())


def test_torch_gives_the_same_verdicts():
    torch = pytest.importorskip("torch")
    cases = {
        "right": (lambda g, y: g * y, True),
        "factor": (lambda g, y: g * y * 1.5, False),
        "sign": (lambda g, y: -g * y, False),
        "off by little": (lambda g, y: g * y * 1.0005, True),
        "constant": (lambda g, y: g, False),
    }
    for name, (formula, verdict) in cases.items():
        for library in (pl, torch):

            class Exp(library.autograd.Function):
                @staticmethod
                def forward(ctx, x):
                    y = x.exp()
                    ctx.save_for_backward(y)
                    return y

                @staticmethod
                def backward(ctx, grad, formula=formula):
                    return formula(grad, *ctx.saved_tensors)

            x = library.tensor([0.3, -0.7, 1.1], dtype=library.float64, requires_grad=True)
            assert library.autograd.gradcheck(Exp.apply, x, raise_exception=False) is verdict, (name, library)

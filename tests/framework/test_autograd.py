# SPDX-License-Identifier: Apache-2.0
"""The tape: accumulation, modes, hooks, retained graphs, higher derivatives, errors."""

import gc
import weakref

import numpy as np
import pytest

import penlight as pl
from penlight.errors import DTypeError, GradientError, InPlaceError, VersionError


def leaf(*values):
    return pl.tensor(list(values), requires_grad=True)


def test_gradients_accumulate_until_they_are_cleared():
    x = leaf(1.0, 2.0)
    (x * 3).sum().backward()
    (x * 4).sum().backward()
    assert x.grad.tolist() == [7.0, 7.0]
    x.grad = None
    (x * 4).sum().backward()
    assert x.grad.tolist() == [4.0, 4.0]


def test_one_tensor_used_many_times():
    x = leaf(2.0)
    y = x * x + x * 3 + x
    (y + y * x).sum().backward()  # f = (1 + x)(x^2 + 4x)
    assert x.grad.tolist() == [(4.0 + 8.0) + 3.0 * (4.0 + 4.0)]


def test_gradients_of_two_leaves_do_not_share_memory():
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    (x + y).backward(pl.ones(2))
    x.grad.mul_(5.0)
    assert y.grad.tolist() == [1.0, 1.0]
    seed = pl.ones(2)
    z = leaf(1.0, 1.0)
    z.reshape(2).backward(seed)
    z.grad.mul_(9.0)
    assert seed.tolist() == [1.0, 1.0]


def test_a_gradient_that_was_kept_elsewhere_is_not_written_to():
    x = leaf(1.0)
    (x * 2).backward()
    kept = x.grad.clone()
    x.grad = kept  # set by the user: the next backward makes a new one
    (x * 2).backward()
    assert kept.tolist() == [2.0] and x.grad.tolist() == [4.0]


def test_the_tape_is_freed_unless_it_is_retained():
    x = leaf(1.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [4.0]
    with pytest.raises(GradientError, match="retain_graph=True"):
        y.backward()


def test_backward_needs_a_gradient_for_several_elements():
    x = leaf(1.0, 2.0)
    with pytest.raises(GradientError, match=r"\(2,\).*loss.mean\(\)"):
        (x * 2).backward()
    with pytest.raises(GradientError, match="has shape"):
        (x * 2).backward(pl.ones(3))
    with pytest.raises(GradientError, match="does not require"):
        pl.ones(1).backward()


def test_modes():
    x = leaf(1.0)
    with pl.no_grad():
        assert not (x * 2).requires_grad and not pl.is_grad_enabled()
        with pl.enable_grad():
            assert (x * 2).requires_grad
    with pl.set_grad_enabled(False):
        assert not (x * 2).requires_grad

    @pl.no_grad()
    def plain(t):
        return t * 2

    assert not plain(x).requires_grad and pl.is_grad_enabled()
    assert not x.detach().requires_grad
    assert (x.detach() * x).requires_grad


def test_the_mode_returns_after_an_error():
    with pytest.raises(ZeroDivisionError), pl.no_grad():
        raise ZeroDivisionError
    assert pl.is_grad_enabled()


def test_grad_leaves_grad_alone_and_reports_unused_inputs():
    x, y = leaf(2.0), leaf(3.0)
    (gx,) = pl.autograd.grad((x * x).sum(), x)
    assert gx.tolist() == [4.0] and x.grad is None
    with pytest.raises(GradientError, match="input 1"):
        pl.autograd.grad((x * x).sum(), [x, y])
    assert pl.autograd.grad((x * x).sum(), [x, y], allow_unused=True)[1] is None
    with pytest.raises(GradientError, match="requires_grad_"):
        pl.autograd.grad((x * x).sum(), pl.ones(1))


def test_grad_with_respect_to_an_intermediate_result():
    x = leaf(2.0)
    y = x * x
    (gy,) = pl.autograd.grad((y * y).sum(), y)
    assert gy.tolist() == [8.0]


def test_higher_derivatives():
    x = leaf(1.5)
    f, expected = x**5, [5 * 1.5**4, 20 * 1.5**3, 60 * 1.5**2, 120 * 1.5]
    for value in expected:
        (f,) = pl.autograd.grad(f.sum(), x, create_graph=True)
        assert f.item() == pytest.approx(value, rel=1e-5)


def test_backward_of_a_gradient_penalty():
    x, w = leaf(1.0, 2.0), leaf(3.0, -1.0)
    (g,) = pl.autograd.grad((x * x * w).sum(), x, create_graph=True)
    (g * g).sum().backward()  # sum (2 x w)^2
    np.testing.assert_allclose(x.grad.numpy(), 8 * np.array([1.0, 2.0]) * np.array([9.0, 1.0]))
    np.testing.assert_allclose(w.grad.numpy(), 8 * np.array([1.0, 4.0]) * np.array([3.0, -1.0]))


def test_hooks_see_and_replace_gradients():
    x = leaf(1.0, 2.0)
    y = x * 2
    seen = []
    y.register_hook(lambda g: seen.append(g.tolist()))
    remove = x.register_hook(lambda g: g * 10)
    y.sum().backward()
    assert seen == [[1.0, 1.0]] and x.grad.tolist() == [20.0, 20.0]
    remove()
    (x * 2).sum().backward()
    assert x.grad.tolist() == [22.0, 22.0]


def test_retained_gradients_and_accumulate_hooks():
    x = leaf(1.0, 2.0)
    calls = []
    x.register_post_accumulate_grad_hook(lambda t: calls.append(t.grad.tolist()))
    y = x * 3
    y.retain_grad()
    (y * y).sum().backward()
    assert y.grad.tolist() == [6.0, 12.0] and calls == [[18.0, 36.0]]


def test_requires_grad_rules():
    with pytest.raises(DTypeError, match="floating-point"):
        pl.tensor([1, 2]).requires_grad_()
    x = leaf(1.0)
    with pytest.raises(GradientError, match="detach"):
        (x * 2).requires_grad_(False)
    assert x.is_leaf and not (x * 2).is_leaf and (x * 2).grad_fn is not None
    assert not (x > 0).requires_grad and not x.argmax().requires_grad


def test_results_are_freed_without_the_garbage_collector():
    gc.disable()
    try:
        x = leaf(1.0, 2.0)
        y = pl.exp(x)  # saves its output
        node = weakref.ref(y._node)
        tensor = weakref.ref(y)
        z = (y * y).sum()
        del y
        assert tensor() is not None  # held by the product
        del z
        assert node() is None and tensor() is None
    finally:
        gc.enable()


def test_data_of_inputs_that_no_gradient_needs_is_not_kept():
    x, y = leaf(1.0, 2.0), pl.ones(2)
    reference = weakref.ref(y)
    z = x + y
    del y
    assert reference() is None and z.requires_grad


def test_a_saved_tensor_that_changed_is_refused():
    x = leaf(1.0, 2.0)
    y = x * 1.0
    z = y * y
    y.add_(1.0)
    with pytest.raises(VersionError, match="mul: input 0"):
        z.sum().backward()
    y = pl.exp(x)
    z = y.sum()
    y.mul_(2.0)
    with pytest.raises(VersionError, match="exp: its output"):
        z.backward()


def test_a_saved_tensor_that_changed_through_a_view_is_refused():
    x = leaf(1.0, 2.0)
    y = x * 1.0
    z = (y * y).sum()
    y.detach()[0].add_(1.0)
    with pytest.raises(VersionError):
        z.backward()


def test_a_leaf_changes_in_place_under_no_grad_only():
    x = leaf(1.0, 2.0)
    with pytest.raises(InPlaceError, match="no_grad"):
        x.add_(1.0)
    with pytest.raises(InPlaceError, match="no_grad"):
        x[0] = 5.0
    with pl.no_grad():
        x.add_(1.0)
    assert x.tolist() == [2.0, 3.0] and x.requires_grad


def test_deep_graphs_do_not_recurse():
    x = leaf(1.0)
    y = x
    for _ in range(20000):
        y = y + 0.001
    y.sum().backward()
    assert x.grad.tolist() == [1.0]
    del y  # freeing 20,000 nodes must not overflow the stack either


def test_float64_and_bfloat16_gradients_keep_their_dtype():
    for dtype in (pl.float64, pl.bfloat16, pl.float16):
        x = pl.ones(3, dtype=dtype, requires_grad=True)
        (x * x).sum().backward()
        assert x.grad.dtype is dtype and x.grad.float().tolist() == [2.0, 2.0, 2.0]

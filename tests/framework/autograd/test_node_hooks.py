# SPDX-License-Identifier: Apache-2.0
"""Hooks on nodes and tensors, their handles, and the nodes behind a node."""

import numpy as np
import pytest

import penlight as pl
from penlight.autograd.graph import AccumulateGrad
from penlight.errors import GradientError


def leaf(*values):
    return pl.tensor(list(values), dtype=pl.float64, requires_grad=True)


def test_hooks_of_a_node_see_both_sides():
    x, w, seen = leaf(1.0, 2.0), leaf(3.0, 4.0), []
    y = x * w
    y.grad_fn.register_prehook(lambda grads: seen.append([g.tolist() for g in grads]))
    handle = y.grad_fn.register_hook(lambda inputs, outputs: seen.append([g.tolist() for g in (*inputs, *outputs)]))
    y.sum().backward(retain_graph=True)
    assert seen == [[[1.0, 1.0]], [[3.0, 4.0], [1.0, 2.0], [1.0, 1.0]]]
    handle.remove()
    y.sum().backward()
    assert len(seen) == 3
    assert x.grad.tolist() == [6.0, 8.0]


def test_hooks_of_a_node_replace_gradients_and_are_differentiated():
    x = leaf(0.5, -1.0)

    def doubled(x):
        y = x.exp()
        y.grad_fn.register_prehook(lambda grads: (grads[0] * 2,))
        y.grad_fn.register_hook(lambda inputs, outputs: (inputs[0] * 3,))
        return y

    (g,) = pl.autograd.grad(doubled(x).sum(), x, create_graph=True)
    np.testing.assert_allclose(g.detach().numpy(), 6 * np.exp(x.detach().numpy()))
    (h,) = pl.autograd.grad(g.sum(), x)
    np.testing.assert_allclose(h.numpy(), 36 * np.exp(x.detach().numpy()))  # 6 exp passes the hooks of exp again


def test_hooks_work_on_nodes_with_several_outputs_and_packed_ones():
    x, seen = leaf(3.0, 1.0, 2.0), []
    values, _ = x.sort()
    values.grad_fn.register_hook(lambda inputs, outputs: seen.append(len(outputs)))
    values.sum().backward()
    assert seen == [values.grad_fn.count]
    with pl.autograd.graph.save_on_cpu():
        y = x * x
    y.grad_fn.register_hook(lambda inputs, outputs: tuple(g * 0 for g in inputs))
    x.grad = None
    y.sum().backward()
    assert x.grad.tolist() == [0.0, 0.0, 0.0]


def test_next_functions_lead_to_the_leaves():
    x = leaf(1.0)
    y = (x * 2.0).exp()
    ((product, index),) = y.grad_fn.next_functions
    assert product.name == "mul" and index == 0
    (end, _), (constant, _) = product.next_functions
    assert isinstance(end, AccumulateGrad) and end.variable is x and constant is None
    assert not hasattr(product, "no_such_thing")


def test_handles_of_tensor_hooks():
    x, calls = leaf(1.0), []
    first, second = x.register_hook(calls.append), x.register_post_accumulate_grad_hook(lambda t: calls.append(t))
    with x.register_hook(lambda g: g * 10):
        (x * 2.0).backward()
    assert x.grad.tolist() == [20.0] and calls[1] is x
    first.remove()
    second.remove()
    second.remove()
    (x * 2.0).backward()
    assert len(calls) == 2 and x.grad.tolist() == [22.0]
    for t in (x * 2.0, pl.ones(1)):
        with pytest.raises(GradientError, match="register_post_accumulate_grad_hook: expected a leaf"):
            t.register_post_accumulate_grad_hook(print)

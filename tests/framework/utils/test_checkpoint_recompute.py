# SPDX-License-Identifier: Apache-2.0
"""checkpoint: the same bits as without, less memory on the tape, random state, and what must not change."""

import numpy as np
import pytest

import penlight as pl
from penlight.errors import ArgumentError, RecomputeError, VersionError
from penlight.tensor import Tensor
from penlight.utils.checkpoint import checkpoint, checkpoint_sequential


def saved_bytes(output):
    """What the tape behind a tensor keeps, in bytes; an array that is saved twice counts once."""
    arrays, pending = {}, [output.grad_fn]
    seen = set(pending)
    while pending:
        node = pending.pop()
        kept = [t._data for t in node.inputs or () if isinstance(t, Tensor)] + list(node.outputs or ())
        arrays |= {id(a): a.nbytes for a in kept}
        for edge in node.edges:
            if isinstance(edge, tuple) and edge[0] not in seen:
                seen.add(edge[0])
                pending.append(edge[0])
    return sum(arrays.values())


def blocks(count=4, size=16):
    pl.manual_seed(0)
    parts = [pl.nn.Linear(size, size), pl.nn.GELU(), pl.nn.Dropout(0.3), pl.nn.LayerNorm(size)]
    return pl.nn.Sequential(
        *[
            pl.nn.Sequential(*[type(p)(*a) for p, a in zip(parts, ((size, size), (), (0.3,), (size,)), strict=True)])
            for _ in range(count)
        ]
    )


def one_by_one(net):
    def run(x):
        for block in net:
            x = checkpoint(block, x)
        return x

    return run


WAYS = {
    "whole": lambda net: lambda x: checkpoint(net, x),
    "one by one": one_by_one,
    "nested": lambda net: lambda x: checkpoint(one_by_one(net), x),
    "sequential": lambda net: lambda x: checkpoint_sequential(net, 2, x),
}


def step(net, way):
    """Bytes on the tape, and everything that must have the same bits."""
    x = pl.from_numpy(np.random.default_rng(1).normal(size=(8, 16)).astype(np.float32)).requires_grad_()
    net.zero_grad()
    pl.manual_seed(5)
    y = way(x)
    kept = saved_bytes(y)
    (y * y).sum().backward()
    return kept, [t.grad.numpy() for t in (*net.parameters(), x)] + [y.detach().numpy(), pl.rand(3).numpy()]


@pytest.mark.parametrize("name", WAYS)
def test_same_bits_and_less_memory(name):
    net = blocks()
    plain, expected = step(net, net)
    kept, found = step(net, WAYS[name](net))
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_array_equal(a, b)
    assert kept <= plain * (0.6 if name == "sequential" else 0.0)


def test_inner_values_are_gone_until_the_backward_and_after_it():
    alive, net = [], blocks(2)

    def watched(x):
        y = net(x)
        alive.append(y)
        return y * y

    x = pl.ones(2, 16, requires_grad=True)
    z = checkpoint(watched, x).sum()
    assert len(alive) == 1
    z.backward()
    assert len(alive) == 2


def test_keyword_arguments_other_values_and_several_results():
    def f(x, factor, *, shift, names):
        return (x * factor).exp() + shift, names, x.sum()

    x, shift = pl.tensor([0.5, 1.0], requires_grad=True), pl.tensor([1.0, 2.0], requires_grad=True)
    y, names, total = checkpoint(f, x, 2.0, shift=shift, names=["a"])
    assert names == ["a"]
    (y.sum() + total).backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * np.exp([1.0, 2.0]) + 1, rtol=1e-6)
    assert shift.grad.tolist() == [1.0, 1.0]


def test_higher_derivatives_grad_and_retained_graphs():
    x = pl.tensor([0.5, -1.0], dtype=pl.float64, requires_grad=True)
    w = pl.tensor([1.5, 0.3], dtype=pl.float64, requires_grad=True)

    def f(x):
        return ((x * w).exp() * x).tanh()  # w comes by closure

    assert pl.autograd.gradcheck(lambda x, w: checkpoint(f, x), (x, w))
    assert pl.autograd.gradgradcheck(lambda x, w: checkpoint(f, x), (x, w))
    assert pl.autograd.gradgradcheck(lambda x, w: checkpoint(lambda x: checkpoint(f, x * 2).sin(), x), (x, w))
    y = checkpoint(f, x).sum()
    first = pl.autograd.grad(y, [x, w], retain_graph=True)
    second = pl.autograd.grad(y, [x, w])
    assert [t.tolist() for t in first] == [t.tolist() for t in second]


def test_without_a_tape_the_function_just_runs():
    calls = []
    with pl.no_grad():
        checkpoint(lambda x: calls.append(x), pl.ones(1, requires_grad=True))
    assert len(calls) == 1


def test_dropout_without_the_random_state_differs():
    pl.manual_seed(0)
    x = pl.ones(1000, requires_grad=True)
    y = checkpoint(lambda x: pl.nn.functional.dropout(x * x, 0.5), x, preserve_rng_state=False)
    y.sum().backward()
    assert not np.array_equal(x.grad.numpy() != 0, y.detach().numpy() != 0)


def test_a_function_that_changes_is_told():
    calls = []

    def fickle(x):
        calls.append(1)
        return (x * x).exp() if len(calls) == 1 else x * x

    def shrinking(x):
        calls.append(1)
        return (x[: 3 - len(calls)] ** 2).sum()

    x = pl.ones(3, requires_grad=True)
    with pytest.raises(RecomputeError, match=r"saved \d tensors for the backward when it ran first, and \d when it ran again"):
        checkpoint(fickle, x).sum().backward()
    calls.clear()
    with pytest.raises(RecomputeError, match=r"saved tensor \d was \(2,\) .* and is \(1,\)"):
        checkpoint(shrinking, x).backward()


def test_arguments_may_not_change_before_the_backward():
    x = pl.ones(3, requires_grad=True)
    z = x * 1.0
    y = checkpoint(lambda t: t.exp().sin(), z)
    z.add_(1.0)
    with pytest.raises(VersionError, match=r"\(3,\) that was kept .* changed in place"):
        y.sum().backward()


def test_wrong_arguments():
    with pytest.raises(ArgumentError, match="use_reentrant=True is not there"):
        checkpoint(lambda x: x, pl.ones(1), use_reentrant=True)
    with pytest.raises(ArgumentError, match="determinism_check"):
        checkpoint(lambda x: x, pl.ones(1), determinism_check="maybe")
    with pytest.raises(ArgumentError, match="between 1 and 4"):
        checkpoint_sequential(blocks(), 5, pl.ones(1, 16))


def test_torch_gives_the_same_gradients():
    torch = pytest.importorskip("torch")
    from torch.utils.checkpoint import checkpoint as torch_checkpoint

    values, weights = np.random.default_rng(0).normal(size=(4, 3)), np.random.default_rng(1).normal(size=(3, 3))
    found = []
    for library, keep, options in ((pl, checkpoint, {}), (torch, torch_checkpoint, {"use_reentrant": False})):
        x, w = (library.from_numpy(a.copy()).requires_grad_() for a in (values, weights))
        (g,) = library.autograd.grad(keep(lambda x, w=w: (x @ w).tanh().exp(), x, **options).sum(), x, create_graph=True)
        (g * g).sum().backward()
        found.append((x.grad.numpy(), w.grad.numpy()))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10)

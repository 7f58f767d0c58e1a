# SPDX-License-Identifier: Apache-2.0
"""Results of several parts have PyTorch's names, and are still tuples."""

import numpy as np
import pytest

import penlight as pl

X = np.random.default_rng(0).normal(size=(3, 3))
CALLS = {
    "max": lambda m, x: m.max(x, 1),
    "min": lambda m, x: x.min(dim=0, keepdim=True),
    "sort": lambda m, x: x.sort(),
    "topk": lambda m, x: m.topk(x, 2),
    "median": lambda m, x: x.median(1),
    "nanmedian": lambda m, x: m.nanmedian(x, 1),
    "mode": lambda m, x: x.mode(),
    "kthvalue": lambda m, x: x.kthvalue(2),
    "cummax": lambda m, x: m.cummax(x, 0),
    "cummin": lambda m, x: m.cummin(x, 0),
    "aminmax": lambda m, x: x.aminmax(),
    "histogram": lambda m, x: m.histogram(x, 3),
    "svd": lambda m, x: m.linalg.svd(x),
    "old svd": lambda m, x: m.svd(x),
    "qr": lambda m, x: m.linalg.qr(x),
    "eigh": lambda m, x: m.linalg.eigh(x @ x.T),
    "lu": lambda m, x: m.linalg.lu(x),
    "slogdet": lambda m, x: m.linalg.slogdet(x),
    "out": lambda m, x: m.max(x, 1, out=(m.empty(0, dtype=m.float64), m.empty(0, dtype=m.int64))),
}


@pytest.mark.parametrize("call", CALLS)
def test_names(call):
    torch = pytest.importorskip("torch")
    ours, theirs = (CALLS[call](m, m.tensor(X)) for m in (pl, torch))
    names = [name for name in dir(type(theirs)) if not name.startswith(("_", "n_")) and name not in ("count", "index")]
    assert sorted(ours._fields) == names and isinstance(ours, tuple)
    for name in names:
        a, b = getattr(ours, name), getattr(theirs, name)
        np.testing.assert_allclose(np.abs(a.numpy()), np.abs(b.numpy()), rtol=1e-6, atol=1e-12)  # signs of vectors may differ
        assert a is ours[ours._fields.index(name)]


def test_they_unpack_and_say_what_there_is():
    x = pl.tensor([[1.0, 3.0], [4.0, 2.0]])
    values, indices = x.max(1)
    assert values.tolist() == [3.0, 4.0] and indices.tolist() == [1, 0]
    assert isinstance(x.max(), pl.Tensor) and isinstance(x.max(x), pl.Tensor)
    assert repr(x[0].max(0)) == "results(values=tensor(3.), indices=tensor(1))"
    with pytest.raises(AttributeError, match="there is no 'value', only values, indices"):
        _ = x.max(1).value


def test_a_model_may_return_them():
    from penlight.tracing import trace

    graph = trace(lambda x: x.topk(2), (pl.tensor(X),))
    assert len(graph.outputs) == 2

# SPDX-License-Identifier: Apache-2.0
"""`out=` over all functions that take it: PyTorch's OpInfo samples, and its errors."""

import functools
import inspect

import numpy as np
import pytest

import penlight as pl
from penlight.errors import ArgumentError, DTypeError, GradientError, ShapeError
from penlight.ops import out as table
from penlight.tree import flatten

torch = pytest.importorskip("torch")

import opinfo  # noqa: E402  needs torch
from torch.testing._internal import common_utils  # noqa: E402  likewise
from torch.utils import _pytree as pytree  # noqa: E402  likewise

NAMES = [
    *table.NAMES.split(),
    *(f"{module}.{name}" for module in ("linalg", "special", "fft") for name in getattr(table, module.upper()).split()),
]
# No OpInfo entry under this name or the first name of an alias: the call is here.
CALLS = {
    "bernoulli": lambda x: ((x > 0).double(),),
    "bucketize": lambda x: (x, pl.tensor([-1.0, 0.0, 1.0], dtype=pl.float64)),
    "histc": lambda x: (x,),
    "histogram": lambda x: (x, 3),
    "conj_physical": lambda x: (x,),
    "searchsorted": lambda x: (pl.tensor([-1.0, 0.0, 1.0], dtype=pl.float64), x),
    "fft.fftfreq": lambda x: (5,),
    "fft.rfftfreq": lambda x: (5,),
}


# PyTorch's text has it for these, and PyTorch refuses it.
LEFT_OUT = {"empty_like", "hamming_window", "ones_like", "rand_like", "randn_like", "std_mean", "var_mean", "zeros_like"}


def entry_of(name):
    """The OpInfo entry of a name, or of what it is a second name of."""
    found = opinfo.entries().get(name)
    if found is None:
        found = next((e for es in opinfo.entries().values() for e in es if any(a.name == name for a in e.aliases)), None)
        found = [found] if found is not None else None
    return found


def call_of(name):
    """(function, args, kwargs) of one call."""
    function = functools.reduce(getattr, name.split("."), pl)
    x = pl.tensor(np.random.default_rng(0).normal(size=(2, 3)))
    if CALLS.get(name):
        return function, CALLS[name](x), {}
    entries = entry_of(name)
    if not entries:
        return function, (x,), {}
    entry = entries[0]
    dtype = torch.float64 if torch.float64 in entry.dtypes else torch.int64
    sample = next(s for s in entry.sample_inputs("cpu", dtype) if s.input is not None)
    args, kwargs = pytree.tree_map(opinfo.convert, ((sample.input, *sample.args), dict(sample.kwargs)))
    if name.endswith("polygamma") or name == "where":  # OpInfo has the arguments of the method
        args = (args[1], args[0], *args[2:])
    return function, args, kwargs


@pytest.mark.parametrize("name", NAMES)
def test_results_go_where_they_are_wanted(name, monkeypatch):
    for slow in ("set_rng_seed", "extract_test_fn"):  # they walk the stack: most of the time here
        monkeypatch.setattr(common_utils, slow, lambda *seed: None)
    function, args, kwargs = call_of(name)
    pl.manual_seed(0)
    plain = flatten(function(*args, **kwargs))[0]
    targets = [pl.empty(tuple(t.shape), dtype=t.dtype) for t in plain]
    memory = [t.data_ptr() for t in targets]
    nothing = [pl.empty(0, dtype=pl.complex128) for _ in plain]
    for outs in (targets, nothing):
        pl.manual_seed(0)
        found = flatten(function(*args, out=outs[0] if len(outs) == 1 else tuple(outs), **kwargs))[0]
        assert all(a is b for a, b in zip(found, outs, strict=True))
        for mine, wanted in zip(found, plain, strict=True):
            np.testing.assert_array_equal(mine.numpy().real, wanted.numpy().real)
    assert [t.data_ptr() for t in targets] == memory and all(t.dtype is pl.complex128 for t in nothing)


@pytest.mark.parametrize(
    ("name", "args"),
    [("zeros", (2, 3)), ("ones", (2,)), ("full", ((2,), 3)), ("arange", (5,)), ("eye", (3,)), ("linspace", (0, 4, 5))],
)
@pytest.mark.parametrize("dtype", ["int64", "float64"])
def test_what_is_made_has_the_dtype_of_out(name, args, dtype):
    results = [getattr(m, name)(*args, out=m.empty(0, dtype=getattr(m, dtype))) for m in (pl, torch)]
    assert str(results[0].dtype).split(".")[1] == dtype
    np.testing.assert_array_equal(*(r.numpy() for r in results))


def test_functions_of_several_results_and_inputs_as_out():
    x = pl.tensor([[3.0, 1.0], [2.0, 5.0]])
    values, places = pl.empty(0), pl.empty(0, dtype=pl.int64)
    found = pl.max(x, 1, out=(values, places))
    assert found[0] is values and values.tolist() == [3.0, 5.0] and places.tolist() == [0, 1]
    version = x.version
    assert pl.mul(x, x, out=x) is x and x.tolist() == [[9.0, 1.0], [4.0, 25.0]] and x.version == version + 1
    whole = pl.zeros(2, 2)
    pl.sum(x, 1, out=whole[0])
    assert whole.tolist() == [[10.0, 29.0], [0.0, 0.0]]


def test_errors_are_those_of_torch():
    cases = [
        (lambda m: m.add(m.ones(2), 1.5, out=m.empty(2, dtype=m.int64)), DTypeError, "add: a result of penlight.float32 cannot"),
        (lambda m: m.exp(m.ones(2), out=m.empty(2, dtype=m.bool)), DTypeError, "cannot be written into an out of penlight.bool"),
        (lambda m: m.exp(m.ones(2, requires_grad=True), out=m.empty(2)), GradientError, "out= records no gradient"),
        (lambda m: m.cat([m.ones(2), m.ones(2, requires_grad=True)], out=m.empty(4)), GradientError, "cat: out= records no"),
        (lambda m: m.exp(m.ones(2), out=m.empty(2, requires_grad=True)), GradientError, "exp: out= records no gradient"),
        (lambda m: m.max(m.ones(2, 2), 1, out=m.empty(2)), ArgumentError, "needs 2 tensor"),
        (lambda m: m.exp(m.ones(2), out=[1.0, 2.0]), ArgumentError, "out must be a tensor, came float"),
    ]
    for call, error, words in cases:
        with pytest.raises((RuntimeError, TypeError)):
            call(torch)
        with pytest.raises(error, match=words):
            call(pl)
    with pytest.raises(ShapeError, match=r"exp: the result has shape \(2,\), out \(3,\); pass one of that shape or empty\(0\)"):
        pl.exp(pl.ones(2), out=pl.empty(3))  # torch warns, and will refuse
    with pl.no_grad():
        assert pl.exp(pl.zeros(2, requires_grad=True), out=pl.empty(2)).tolist() == [1.0, 1.0]


def test_memory_that_is_shared_is_refused():
    x = pl.arange(6.0)
    assert pl.add(x, 1, out=x) is x and x.tolist() == [1, 2, 3, 4, 5, 6]
    for call in (
        lambda: pl.add(x[1:], 1, out=x[:-1]),
        lambda: pl.take(x, pl.tensor([5, 4, 3, 2, 1, 0]), out=x),
        lambda: pl.cat((x[:3], x[3:]), out=x),
    ):
        with pytest.raises(ArgumentError, match="out shares memory with an input"):
            call()
    with pytest.raises(ArgumentError, match="out was expanded"):
        pl.neg(pl.ones(3), out=pl.zeros(1).expand(3))
    assert x.tolist() == [1, 2, 3, 4, 5, 6]
    assert pl.neg(x[::2], out=x[1::2]).tolist() == [-1, -3, -5]  # between each other, none in common


def test_the_table_holds_what_torch_has():
    documented = {
        name
        for name in dir(torch)
        if not name.startswith("_") and hasattr(pl, name) and "out=None" in (getattr(torch, name).__doc__ or "")
    }
    taking = {*table.NAMES.split(), *table.MADE.split(), "normal"}
    assert documented - taking == LEFT_OUT
    assert all(inspect.unwrap(getattr(pl, name)) is not getattr(pl, name) for name in taking)

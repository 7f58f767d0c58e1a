# SPDX-License-Identifier: Apache-2.0
"""Jacobians, Hessians and their products against formulas and torch; modules as functions of their weights."""

import collections

import numpy as np
import pytest

import penlight as pl
from penlight.autograd import functional
from penlight.errors import ArgumentError, GradientError, StateDictError
from penlight.tree import flatten

RNG = np.random.default_rng(0)
A, B, V, C = RNG.normal(size=(2, 3)), RNG.normal(size=3), RNG.normal(size=(2, 3)), np.array(0.7)


def several(x, y):
    return x.exp() * y, (x * y).sum()


def single(x, y):
    return (x.exp() * y).sum() ** 2


def tensors(library, *arrays, grad=False):
    made = tuple(library.from_numpy(a.copy()) for a in arrays)
    return tuple(t.requires_grad_() for t in made) if grad else made


def same(ours, theirs):
    """Equal nesting, shapes, values and requires_grad."""
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        ours, theirs = tuple(ours.values()), tuple(theirs.values())
    if isinstance(theirs, (tuple, list)):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            same(a, b)
        return
    assert tuple(ours.shape) == tuple(theirs.shape) and ours.requires_grad == theirs.requires_grad
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-10, atol=1e-12)


FUNCTIONAL = {
    "jacobian": lambda m, t, **o: m.autograd.functional.jacobian(several, t(A, B), **o),
    "jacobian of one": lambda m, t, **o: m.autograd.functional.jacobian(lambda x: x.sin(), t(A)[0], **o),
    "hessian": lambda m, t, **o: m.autograd.functional.hessian(single, t(A, B), **o),
    "hessian of one": lambda m, t, **o: m.autograd.functional.hessian(lambda x: x.sin().sum(), t(A)[0], **o),
    "vjp": lambda m, t, **o: m.autograd.functional.vjp(several, t(A, B), tensors(m, V, C), **o),
    "jvp": lambda m, t, **o: m.autograd.functional.jvp(several, t(A, B), tensors(m, V, B), **o),
    "vhp": lambda m, t, **o: m.autograd.functional.vhp(single, t(A, B), tensors(m, V, B), **o),
    "hvp": lambda m, t, **o: m.autograd.functional.hvp(single, t(A, B), tensors(m, V, B), **o),
    "unused": lambda m, t, **o: m.autograd.functional.jacobian(lambda x, y: x * 2, t(A, B), **o),
}
FUNC = {
    "grad": lambda m, t: m.func.grad(single, argnums=(0, 1))(*t(A, B)),
    "grad and value": lambda m, t: m.func.grad_and_value(single)(*t(A, B)),
    "third derivative": lambda m, t: m.func.grad(m.func.grad(m.func.grad(lambda x: x.sin())))(t(C)[0]),
    "hessian": lambda m, t: m.func.hessian(lambda x: x.sin().sum())(t(A)[0]),
    "jacrev": lambda m, t: m.func.jacrev(several, argnums=(0, 1))(*t(A, B)),
    "jacfwd": lambda m, t: m.func.jacfwd(several, argnums=(0, 1))(*t(A, B)),
    "jacfwd of a dict": lambda m, t: m.func.jacfwd(lambda p, y: {"a": p["w"] @ y, "b": (y, p["w"].sum())})({"w": t(A)[0]}, t(B)[0]),
    "jacfwd of jacrev": lambda m, t: m.func.jacfwd(m.func.jacrev(lambda x: x.sin().sum()))(t(A)[0]),
    "jacfwd, aux": lambda m, t: m.func.jacfwd(lambda x: (x.exp(), x * 2), has_aux=True)(t(A)[0]),
    "jvp": lambda m, t: m.func.jvp(several, t(A, B), tensors(m, V, B)),
    "vjp": lambda m, t: m.func.vjp(several, *t(A, B))[1](tensors(m, V, C)),
    "aux": lambda m, t: m.func.grad(lambda x, y: (single(x, y), x * 2), has_aux=True)(*t(A, B)),
    "nested": lambda m, t: m.func.grad(lambda p, k: (p["w"] * p["rest"][0] * k).sum())({"w": t(A)[0], "rest": [t(B)[0]]}, 2.0),
    "of a gradient": lambda m, t: m.func.grad(lambda x, y: (m.func.jacrev(lambda z: z.exp() * y)(x) ** 2).sum())(*t(B, B)),
}


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("name", FUNCTIONAL)
def test_autograd_functional_equals_torch(name, create_graph):
    torch = pytest.importorskip("torch")
    results = [
        FUNCTIONAL[name](m, lambda *a, m=m: tensors(m, *a, grad=create_graph), create_graph=create_graph) for m in (pl, torch)
    ]
    same(*results)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's own, on first use of its func
@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("name", FUNC)
def test_func_equals_torch(name, grad):
    torch = pytest.importorskip("torch")
    same(*[FUNC[name](m, lambda *a, m=m: tensors(m, *a, grad=grad)) for m in (pl, torch)])


def test_formulas_without_torch():
    (x,) = tensors(pl, B)
    np.testing.assert_allclose(functional.hessian(lambda x: (x**3).sum(), x).numpy(), np.diag(6 * B))
    np.testing.assert_allclose(pl.func.jacrev(lambda x: x[:2] * x[1:])(x).numpy(), [[B[1], B[0], 0], [0, B[2], B[1]]])
    _, derivative = pl.func.jvp(lambda x: x.exp(), (x,), (pl.ones(3, dtype=pl.float64),))
    np.testing.assert_allclose(derivative.numpy(), np.exp(B))
    assert functional.jacobian(lambda x: x * 2, pl.ones(0)).shape == (0, 0)


def test_results_stay_on_the_tape_of_other_tensors():
    x, w = tensors(pl, B)[0], tensors(pl, B, grad=True)[0]
    g = pl.func.grad(lambda x: (w * x**2).sum())(x)
    assert g.requires_grad and not pl.func.grad(lambda x: (x**2).sum())(x).requires_grad
    g.sum().backward()
    np.testing.assert_allclose(w.grad.numpy(), 2 * B)
    with pl.no_grad():
        assert not pl.func.grad(lambda x: (w * x**2).sum())(x).requires_grad


def test_strict_and_wrong_arguments():
    x, y = tensors(pl, B, B)
    with pytest.raises(GradientError, match="vjp: the output does not depend on input 1"):
        functional.vjp(lambda x, y: (x * 2).sum(), (x, y), strict=True)
    with pytest.raises(GradientError, match="output 0 does not depend on the inputs"):
        functional.jacobian(lambda x: pl.ones(2), x, strict=True)
    with pytest.raises(ArgumentError, match=r"single element, came \(3,\); did you mean .sum"):
        functional.hessian(lambda x: x * 2, x)
    with pytest.raises(ArgumentError, match=r"v has the shapes \[\(2,\)\], expected \[\(3,\)\]"):
        functional.jvp(lambda x: x * 2, x, pl.ones(2))
    with pytest.raises(ArgumentError, match="v may be left out for a single element only"):
        functional.vjp(lambda x: x * 2, x)
    with pytest.raises(ArgumentError, match="argnums names argument 1, and 1 positional"):
        pl.func.grad(lambda x: x.sum(), argnums=1)(x)
    with pytest.raises(ArgumentError, match=r"expected floating-point tensors .* came penlight.int64"):
        pl.func.grad(lambda x: x.sum())(pl.ones(3, dtype=pl.int64))
    with pytest.raises(ArgumentError, match=r"must return \(output, aux\)"):
        pl.func.grad(lambda x: x.sum(), has_aux=True)(x)
    with pytest.raises(ArgumentError, match="cotangents have the shapes"):
        pl.func.vjp(lambda x: x * 2, x)[1](pl.ones(2))


class Tied(pl.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = pl.nn.Linear(3, 3), pl.nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.norm = pl.nn.BatchNorm1d(3)

    def forward(self, x, shift=0.0):
        return self.norm(self.second(self.first(x))) + shift


def test_functional_call_swaps_and_restores():
    net = Tied()
    held = dict(net.named_parameters(remove_duplicate=False))
    x, weight = pl.randn(4, 3), pl.randn(3, 3, requires_grad=True)
    expected = Tied()
    expected.load_state_dict(net.state_dict())
    with pl.no_grad():
        expected.first.weight.copy_(weight)
    result = pl.func.functional_call(net, {"first.weight": weight}, x, {"shift": 1.0})
    np.testing.assert_array_equal(result.detach().numpy(), expected(x, 1.0).detach().numpy())
    assert all(held[name] is t for name, t in net.named_parameters(remove_duplicate=False))
    assert net.first.weight is held["first.weight"]
    result.sum().backward()
    assert weight.grad is not None and net.first.weight.grad is None
    apart = pl.func.functional_call(net, {"first.weight": weight}, (x,), tie_weights=False)
    assert not np.array_equal(apart.detach().numpy(), result.detach().numpy() - 1.0)


def test_functional_call_restores_after_an_error_and_checks_names():
    net = pl.nn.Linear(3, 2)
    held = net.weight
    with pytest.raises(Exception, match="linear"):
        pl.func.functional_call(net, {"weight": pl.zeros(2, 5)}, pl.ones(3))
    assert net.weight is held and net._parameters["weight"] is held
    with pytest.raises(StateDictError, match="unknown in Linear: wieght"):
        pl.func.functional_call(net, {"wieght": held}, pl.ones(3))
    with pytest.raises(StateDictError, match="missing in Linear: bias"):
        pl.func.functional_call(net, {"weight": held}, pl.ones(3), strict=True)
    with pytest.raises(StateDictError, match="given in two dicts: weight"):
        pl.func.functional_call(net, [{"weight": held}, {"weight": held}], pl.ones(3))


def test_per_parameter_gradients_equal_backward():
    net = pl.nn.Sequential(pl.nn.Linear(3, 4), pl.nn.Tanh(), pl.nn.Linear(4, 1))
    x = pl.randn(5, 3)
    weights = {name: t.detach() for name, t in net.named_parameters()}
    gradients = pl.func.grad(lambda w: (pl.func.functional_call(net, w, x) ** 2).sum())(weights)
    (net(x) ** 2).sum().backward()
    for name, t in net.named_parameters():
        np.testing.assert_array_equal(gradients[name].numpy(), t.grad.numpy())


def test_trees_keep_their_types():
    Pair = collections.namedtuple("Pair", "left right")
    leaves, rebuild = flatten({"a": [1, (2, 3)], "b": Pair(4, None)})
    assert leaves == [1, 2, 3, 4, None]
    assert rebuild([k * 10 if k else k for k in leaves]) == {"a": [10, (20, 30)], "b": Pair(40, None)}

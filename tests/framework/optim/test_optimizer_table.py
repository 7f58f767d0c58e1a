# SPDX-License-Identifier: Apache-2.0
"""Every configuration of PyTorch's OptimizerInfo table: the same parameters after the same gradients, and state that moves.

Ten steps in float64 on both sides with the state_dicts swapped after five. `MISSES` holds what is not there, with the
reason; a miss that starts to pass fails the test.
"""

import math
import warnings

import numpy as np
import pytest
from torch_databases import optim_db

import penlight as pl

torch = pytest.importorskip("torch")

MISSES = {"SparseAdam": "there are no sparse tensors, and torch's SparseAdam refuses dense gradients"}
MINIMUM = 80
TOLERANCE = {"rtol": 1e-7, "atol": 1e-12}
# Muon rounds to bfloat16 after each product: where sums in another order fall on the other side of a border, one
# element of a step differs by 2^-8 of its size, which lr = 1e-3 makes 1e-5 of a parameter.
ROUNDED = {"Muon": {"rtol": 0, "atol": 2e-4}}
INFOS = {info.optim_cls.__name__: info for info in optim_db}
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    CONFIGURATIONS = [
        (name, number, entry) for name, info in INFOS.items() for number, entry in enumerate(info.optim_inputs_func(device="cpu"))
    ]


def translate(value):
    return pl.tensor(value.numpy().copy()) if isinstance(value, torch.Tensor) else value


def to_torch(value):
    if isinstance(value, pl.Tensor):
        return torch.tensor(value.numpy().copy())
    if isinstance(value, dict):
        return {key: to_torch(entry) for key, entry in value.items()}
    return [to_torch(entry) for entry in value] if isinstance(value, list) else value


def to_penlight(value):
    if isinstance(value, dict):
        return {key: to_penlight(entry) for key, entry in value.items()}
    return [to_penlight(entry) for entry in value] if isinstance(value, list) else translate(value)


def closure_of(optimizer, parameters):
    """A loss with curvature, written so that it runs on either side."""

    def closure():
        optimizer.zero_grad()
        loss = sum(((p * p - 0.5) ** 2).sum() + (p * 0.3).sum() for p in parameters)
        loss.backward()
        return loss

    return closure


def run(name, kwargs):
    rng = np.random.default_rng(0)
    shapes = [(4, 3), (3, 5)] if name == "Muon" else [(4, 3), (3,), (2, 3, 2)]
    starts = [rng.standard_normal(shape) for shape in shapes]
    theirs = [torch.tensor(start.copy(), requires_grad=True) for start in starts]
    ours = [pl.tensor(start.copy()).requires_grad_() for start in starts]
    their_optimizer = INFOS[name].optim_cls(theirs, **kwargs)
    our_optimizer = getattr(pl.optim, name)(ours, **{key: translate(value) for key, value in kwargs.items()})
    for step in range(10):
        if step == 5:
            swap(their_optimizer, our_optimizer)
        if name == "LBFGS":
            their_loss = their_optimizer.step(closure_of(their_optimizer, theirs))
            our_loss = our_optimizer.step(closure_of(our_optimizer, ours))
            assert our_loss.item() == pytest.approx(their_loss.item(), rel=1e-7)
        else:
            for a, b in zip(theirs, ours, strict=True):
                gradient = rng.standard_normal(a.shape)
                a.grad, b.grad = torch.tensor(gradient), pl.tensor(gradient.copy())
            their_optimizer.step()
            our_optimizer.step()
        for a, b in zip(theirs, ours, strict=True):
            tolerance = ROUNDED.get(name, TOLERANCE)
            np.testing.assert_allclose(b.detach().numpy(), a.detach().numpy(), err_msg=f"step {step}", **tolerance)


def swap(theirs, ours):
    """Each goes on from the other's state."""
    their_state, our_state = theirs.state_dict(), ours.state_dict()
    assert set(our_state["param_groups"][0]) == set(their_state["param_groups"][0])
    assert {k: set(v) for k, v in our_state["state"].items()} == {k: set(v) for k, v in their_state["state"].items()}
    converted = to_penlight(their_state)
    theirs.load_state_dict(to_torch(our_state))
    ours.load_state_dict(converted)


@pytest.mark.parametrize(
    ("name", "kwargs"), [pytest.param(name, entry.kwargs, id=f"{name}-{number}") for name, number, entry in CONFIGURATIONS]
)
def test_optimizer_equals_torch(name, kwargs):
    if name in MISSES:
        with pytest.raises((AssertionError, AttributeError)):
            run(name, kwargs)
    else:
        run(name, kwargs)


def test_enough_configurations():
    assert set(MISSES) <= set(INFOS)
    assert sum(name not in MISSES for name, _, _ in CONFIGURATIONS) >= MINIMUM


def test_line_search_minimises_rosenbrock():
    x = pl.tensor([-1.2, 1.0], dtype=pl.float64).requires_grad_()
    optimizer = pl.optim.LBFGS([x], line_search_fn="strong_wolfe", max_iter=100)

    def closure():
        optimizer.zero_grad()
        loss = 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2
        loss.backward()
        return loss

    for _ in range(5):
        optimizer.step(closure)
    assert math.isclose(x[0].item(), 1, rel_tol=1e-4)
    assert math.isclose(x[1].item(), 1, rel_tol=1e-4)


def test_wrong_options_are_named():
    x = pl.zeros(2, 2).requires_grad_()
    with pytest.raises(TypeError, match="unknown option 'beta'"):
        pl.optim.RMSprop([x], beta=1)
    with pytest.raises(ValueError, match="lr must be 0 or more"):
        pl.optim.Adagrad([x], lr=-1.0)
    with pytest.raises(ValueError, match="give it to AdamW"):
        pl.optim.Muon([pl.zeros(2).requires_grad_()])
    with pytest.raises(TypeError, match="needs a closure"):
        pl.optim.LBFGS([x]).step()

# SPDX-License-Identifier: Apache-2.0
"""Optimizers against PyTorch, step by step; groups, state and its layout."""

import numpy as np
import pytest

import penlight as pl
from penlight import nn, optim
from penlight.backends.cpu import CPU
from penlight.errors import StateDictError
from penlight.optim.adamw import BLOCK, adamw_step

SETTINGS = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "nesterov": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.8, "dampening": 0.3}),
    ("Adam", {"lr": 0.01}),
    ("Adam", {"lr": 0.01, "weight_decay": 0.1, "betas": (0.8, 0.95), "eps": 1e-6}),
    ("AdamW", {"lr": 0.01}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.3, "betas": (0.7, 0.9)}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.0}),
]
SHAPES = [(3, 4), (5,), (), (2, 3, 2)]


def start():
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype(np.float32) for shape in SHAPES]


def gradients(steps):
    rng = np.random.default_rng(1)
    return [[rng.normal(size=shape).astype(np.float32) for shape in SHAPES] for _ in range(steps)]


@pytest.fixture(params=["kernel", "reference"])
def kernels(request, monkeypatch):
    """With the backend's own kernels, if it has any, and with the reference."""
    if request.param == "reference":
        monkeypatch.delitem(CPU.kernels, "adamw", raising=False)
        monkeypatch.delitem(CPU.kernels, "sgd", raising=False)


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_trace_equals_torch(name, settings, kernels):
    torch = pytest.importorskip("torch")
    ours = [nn.Parameter(pl.tensor(value)) for value in start()]
    theirs = [torch.nn.Parameter(torch.tensor(value)) for value in start()]
    optimizer, reference = getattr(optim, name)(ours, **settings), getattr(torch.optim, name)(theirs, **settings)
    for step, grads in enumerate(gradients(20)):
        for index, (parameter, other, grad) in enumerate(zip(ours, theirs, grads, strict=True)):
            late = index == 1 and step < 3  # a parameter without a gradient at first
            parameter.grad, other.grad = (None, None) if late else (pl.tensor(grad), torch.tensor(grad))
        optimizer.step()
        reference.step()
        for parameter, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(parameter.detach().numpy(), other.detach().numpy(), rtol=1e-6, atol=1e-6)
    state, theirs_state = optimizer.state_dict(), reference.state_dict()
    assert state["state"].keys() == theirs_state["state"].keys()
    for number, entry in state["state"].items():
        assert entry.keys() == theirs_state["state"][number].keys()
        for key, value in entry.items():
            np.testing.assert_allclose(value.numpy(), theirs_state["state"][number][key].numpy(), rtol=1e-5, atol=1e-6)
    assert [group["params"] for group in state["param_groups"]] == [group["params"] for group in theirs_state["param_groups"]]


def test_torchs_state_loads(kernels):
    torch = pytest.importorskip("torch")
    theirs = [torch.nn.Parameter(torch.tensor(value)) for value in start()]
    reference = torch.optim.AdamW(theirs, lr=0.02)
    before, after = gradients(6)[:5], gradients(6)[5]

    def step(parameters, optimizer, grads, make):
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.grad = make(grad)
        optimizer.step()

    for grads in before:
        step(theirs, reference, grads, torch.tensor)
    ours = [nn.Parameter(pl.tensor(parameter.detach().numpy())) for parameter in theirs]
    optimizer = optim.AdamW(ours)
    saved = reference.state_dict()
    state = {n: {k: pl.tensor(v.numpy()) for k, v in entry.items()} for n, entry in saved["state"].items()}
    optimizer.load_state_dict({"state": state, "param_groups": saved["param_groups"]})
    step(ours, optimizer, after, pl.tensor)
    step(theirs, reference, after, torch.tensor)
    for parameter, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(parameter.detach().numpy(), other.detach().numpy(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_state_round_trip_goes_on_bit_for_bit(name, settings, kernels):
    def run(optimizer, parameters, steps):
        for grads in steps:
            for parameter, grad in zip(parameters, grads, strict=True):
                parameter.grad = pl.tensor(grad)
            optimizer.step()

    steps = gradients(8)
    whole = [nn.Parameter(pl.tensor(value)) for value in start()]
    run(getattr(optim, name)(whole, **settings), whole, steps)
    first = [nn.Parameter(pl.tensor(value)) for value in start()]
    optimizer = getattr(optim, name)(first, **settings)
    run(optimizer, first, steps[:3])
    state = optimizer.state_dict()
    second = [nn.Parameter(parameter.detach().clone()) for parameter in first]
    resumed = getattr(optim, name)(second, lr=123.0)
    resumed.load_state_dict(state)
    run(optimizer, first, steps[3:4])  # must not reach into the copy
    run(resumed, second, steps[3:])
    for parameter, other in zip(whole, second, strict=True):
        np.testing.assert_array_equal(parameter.detach().numpy(), other.detach().numpy())


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK + 1, 2 * BLOCK + 7])
def test_blocks_change_nothing(size):
    rng = np.random.default_rng(0)
    p, g, m, v = (rng.random(size).astype(np.float32) for _ in range(4))
    settings = {"lr": 0.1, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.1, "step": 3}
    expected = [a.astype(np.float64) for a in (p, g, m, v)]
    adamw_step(np, [p], [g], [m], [v], **settings)
    ep, eg, em, ev = expected
    em, ev = 0.9 * em + 0.1 * eg, 0.99 * ev + 0.01 * eg * eg
    ep = ep * (1 - 0.1 * 0.1) - 0.1 * (em / (1 - 0.9**3)) / (np.sqrt(ev / (1 - 0.99**3)) + 1e-8)
    for got, wanted in ((p, ep), (m, em), (v, ev)):
        np.testing.assert_allclose(got, wanted, rtol=2e-6, atol=1e-7)


def test_views_and_broadcast_gradients(kernels):
    parameter = nn.Parameter(pl.ones(3, 3))
    parameter.sum().backward()  # a gradient of ones, possibly without memory of its own
    optim.AdamW([parameter], lr=0.1, weight_decay=0).step()
    np.testing.assert_allclose(parameter.detach().numpy(), np.full((3, 3), 0.9), rtol=1e-5)


def test_groups():
    a, b = nn.Parameter(pl.ones(1)), nn.Parameter(pl.ones(1))
    optimizer = optim.SGD([{"params": [a]}, {"params": b, "lr": 0.5}], lr=0.1)
    a.grad, b.grad = pl.ones(1), pl.ones(1)
    optimizer.step()
    assert (a.item(), b.item()) == (pytest.approx(0.9), pytest.approx(0.5))
    state = optimizer.state_dict()
    assert [group["params"] for group in state["param_groups"]] == [[0], [1]]
    with pytest.raises(ValueError, match="there twice"):
        optimizer.add_param_group({"params": [a]})
    named = optim.SGD(nn.Linear(2, 2).named_parameters(), lr=0.1)
    assert len(named.param_groups[0]["params"]) == 2


def test_zero_grad_and_closure():
    parameter = nn.Parameter(pl.tensor([2.0]))
    optimizer = optim.SGD([parameter], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (parameter * parameter).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 4
    assert parameter.item() == pytest.approx(1.6)
    optimizer.zero_grad(set_to_none=False)
    assert parameter.grad.tolist() == [0]
    optimizer.zero_grad()
    assert parameter.grad is None
    optimizer.step()
    assert parameter.item() == pytest.approx(1.6)


def test_a_step_is_seen_by_the_version_check():
    x = nn.Parameter(pl.tensor([2.0]))
    y = (x * x).sum()
    x.grad = pl.ones(1)
    optim.SGD([x], lr=0.1).step()
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: optim.SGD([], lr=0.1), "empty"),
        (lambda p: optim.SGD([p], lr=-1), "lr must be 0 or more, got -1"),
        (lambda p: optim.SGD([p], nesterov=True), "nesterov needs momentum"),
        (lambda p: optim.AdamW([p], betas=(1.0, 0.9)), r"betas must lie in \[0, 1\)"),
        (lambda p: optim.AdamW([p * 2]), "must be a leaf"),
        (lambda p: optim.AdamW([p, p]), "there twice"),
        (lambda p: optim.AdamW([3.0]), "got float"),
    ],
)
def test_wrong_arguments_are_explained(call, message):
    with pytest.raises(ValueError, match=message):
        call(nn.Parameter(pl.ones(2)))


def test_a_state_that_does_not_fit_is_explained():
    a, b = nn.Parameter(pl.ones(2)), nn.Parameter(pl.ones(3))
    optimizer = optim.AdamW([a])
    a.grad = pl.ones(2)
    optimizer.step()
    with pytest.raises(StateDictError, match=r"groups of \[1\] parameters, this optimizer \[2\]"):
        optim.AdamW([a, b]).load_state_dict(optimizer.state_dict())
    with pytest.raises(StateDictError, match=r"exp_avg has shape \(2,\), its parameter \(3,\)"):
        optim.AdamW([b]).load_state_dict(optimizer.state_dict())

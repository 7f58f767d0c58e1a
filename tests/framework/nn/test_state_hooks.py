# SPDX-License-Identifier: Apache-2.0
"""Hooks around state_dict, loading by assignment, extra state, hooks with keywords; where it is installed, as in PyTorch."""

import numpy as np
import pytest

import penlight as pl
from penlight import nn
from penlight.errors import StateDictError

FRAMEWORKS = ["penlight", "torch"]


@pytest.fixture(params=FRAMEWORKS)
def fw(request):
    """The framework under test: both must behave alike."""
    return pl if request.param == "penlight" else pytest.importorskip("torch")


def model(fw):
    return fw.nn.Sequential(fw.nn.Linear(2, 3), fw.nn.Sequential(fw.nn.BatchNorm1d(3)))


def test_state_dict_hooks_run_in_order(fw):
    net, calls = model(fw), []
    net.register_state_dict_pre_hook(lambda module, prefix, keep_vars: calls.append(("pre", prefix, keep_vars)))
    net[1].register_state_dict_pre_hook(lambda module, prefix, keep_vars: calls.append(("pre", prefix, keep_vars)))

    def post(module, state, prefix, metadata):
        calls.append(("post", prefix, len(state)))
        state[prefix + "note"] = fw.ones(1)

    handle = net[1].register_state_dict_post_hook(post)
    state = net.state_dict()
    assert calls == [("pre", "", False), ("pre", "1.", False), ("post", "1.", 7)]
    assert list(state)[-1] == "1.note"
    handle.remove()
    assert "1.note" not in net.state_dict()


def test_state_dict_arguments(fw):
    net = model(fw)
    destination = {"other": 1}
    state = net.state_dict(destination=destination, prefix="net.", keep_vars=True)
    assert state is destination
    assert list(state)[:3] == ["other", "net.0.weight", "net.0.bias"]
    assert state["net.0.weight"] is net[0].weight
    assert not net.state_dict()["0.weight"].requires_grad


def test_load_hooks_rename_and_forgive(fw):
    net, seen = model(fw), []
    state = {f"old.{name}": value for name, value in model(fw).state_dict().items()}
    del state["old.1.0.bias"]

    def rename(module, state, prefix, metadata, strict, missing, unexpected, errors):
        seen.append((module is net, prefix, strict))
        for name in list(state):
            state[name.removeprefix("old.")] = state.pop(name)

    def forgive(module, keys):
        keys.missing_keys.remove("1.0.bias")

    net.register_load_state_dict_pre_hook(rename)
    net.register_load_state_dict_post_hook(forgive)
    found = net.load_state_dict(state)
    assert seen == [(True, "", True)]
    assert list(found.missing_keys) == list(found.unexpected_keys) == []
    np.testing.assert_array_equal(net[0].weight.detach().numpy(), state["old.0.weight"].numpy())


def test_a_pre_hook_can_refuse(fw):
    net = model(fw)
    net.register_load_state_dict_pre_hook(lambda *details: details[-1].append("too old"))
    with pytest.raises((StateDictError, RuntimeError), match="too old"):
        net.load_state_dict(net.state_dict())


def test_load_by_assignment(fw):
    net = model(fw)
    net[0].bias.requires_grad_(False)
    state = {name: value.to(fw.float64) if value.dtype == fw.float32 else value for name, value in model(fw).state_dict().items()}
    net.load_state_dict(state, assign=True)
    assert net[0].weight.dtype == fw.float64
    assert net[1][0].running_mean.dtype == fw.float64
    assert isinstance(net[0].weight, fw.nn.Parameter)
    assert net[0].weight.requires_grad
    assert not net[0].bias.requires_grad
    state["0.weight"][0, 0] = 42.0
    assert net[0].weight[0, 0].item() == 42.0
    with pytest.raises((StateDictError, RuntimeError), match=r"0\.bias"):
        net.load_state_dict({**state, "0.bias": fw.ones(7)}, assign=True)


def test_extra_state_travels(fw):
    class Counter(fw.nn.Module):
        def __init__(self):
            super().__init__()
            self.count = 0

        def get_extra_state(self):
            return {"count": self.count}

        def set_extra_state(self, state):
            self.count = state["count"]

    first, second = fw.nn.Sequential(Counter()), fw.nn.Sequential(Counter())
    first[0].count = 7
    assert list(first.state_dict()) == ["0._extra_state"]
    second.load_state_dict(first.state_dict())
    assert second[0].count == 7
    assert list(second.load_state_dict({}, strict=False).missing_keys) == ["0._extra_state"]


def test_forward_hooks_with_keywords_and_order(fw):
    class Scale(fw.nn.Module):
        def forward(self, x, factor=1.0):
            return x * factor

    net, calls = Scale(), []
    net.register_forward_pre_hook(lambda module, args: calls.append("second"))
    net.register_forward_pre_hook(lambda module, args: calls.append("first"), prepend=True)
    net.register_forward_pre_hook(lambda module, args, kwargs: (args, {"factor": kwargs["factor"] + 1}), with_kwargs=True)
    net.register_forward_hook(lambda module, args, kwargs, output: output + kwargs["factor"], with_kwargs=True)
    assert net(fw.ones(1), factor=2.0).item() == 6.0
    assert calls == ["first", "second"]


def test_set_submodule(fw):
    net = model(fw)
    net.set_submodule("1.0", fw.nn.Identity())
    assert isinstance(net[1][0], fw.nn.Identity)
    with pytest.raises(AttributeError):
        net.get_submodule("1.7")


def test_nothing_changes_when_the_state_does_not_fit():
    net = model(pl)
    before = {name: value.numpy().copy() for name, value in net.state_dict().items()}
    with pytest.raises(StateDictError, match=r"missing: 0\.bias"):
        net.load_state_dict({"0.weight": np.ones((3, 2), np.float32)})
    assert all(np.array_equal(before[name], value.numpy()) for name, value in net.state_dict().items())
    assert isinstance(net, nn.Module)

# SPDX-License-Identifier: Apache-2.0
"""Module: registration, names, state, modes, hooks, representation."""

import copy

import numpy as np
import pytest

import penlight as pl
from penlight import nn
from penlight.errors import StateDictError


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.layers = nn.ModuleList([nn.Linear(4, 4), nn.ReLU()])
        self.named = nn.ModuleDict({"last": nn.Linear(4, 2, bias=False)})
        self.scale = nn.Parameter(pl.ones(2))
        self.register_buffer("count", pl.zeros(1))
        self.register_buffer("scratch", pl.zeros(5), persistent=False)

    def forward(self, x):
        x = self.first(x)
        for layer in self.layers:
            x = layer(x)
        return self.named["last"](x) * self.scale


KEYS = ["scale", "count", "first.weight", "first.bias", "layers.0.weight", "layers.0.bias", "named.last.weight"]


def test_names():
    net = Net()
    assert list(net.state_dict()) == KEYS
    assert [name for name, _ in net.named_parameters()] == [key for key in KEYS if key != "count"]
    assert [name for name, _ in net.named_buffers()] == ["count", "scratch"]
    assert [name for name, _ in net.named_modules()] == ["", "first", "layers", "layers.0", "layers.1", "named", "named.last"]
    assert [name for name, _ in net.named_children()] == ["first", "layers", "named"]
    assert net.get_submodule("layers.0") is net.layers[0]
    with pytest.raises(AttributeError, match="layers has no submodule '7'; it has 0, 1"):
        net.get_submodule("layers.7")


def test_super_init_may_be_forgotten():
    class Forgetful(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(2, 2)

    assert list(Forgetful().state_dict()) == ["layer.weight", "layer.bias"]


def test_shared_parameters_come_once_and_are_saved_twice():
    net = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    net[1].weight = net[0].weight
    assert len(list(net.parameters())) == 1
    assert list(net.state_dict()) == ["0.weight", "1.weight"]


def test_state_dict_shares_memory_and_loads_in_place():
    net, other = Net(), Net()
    weight = net.first.weight
    result = net.load_state_dict(other.state_dict())
    assert result == ([], [])
    assert net.first.weight is weight
    np.testing.assert_array_equal(weight.detach().numpy(), other.first.weight.detach().numpy())
    net.state_dict()["scale"].numpy()[:] = 7
    assert net.scale.tolist() == [7, 7]
    assert other.scale.tolist() == [1, 1]


def test_load_takes_arrays_and_converts_between_floating_dtypes():
    net = nn.Linear(2, 1, bias=False)
    net.load_state_dict({"weight": np.array([[1.0, 2.0]])})
    assert net.weight.dtype is pl.float32
    assert net.weight.tolist() == [[1, 2]]


def test_load_errors_list_everything_and_change_nothing():
    net = Net()
    state = net.state_dict()
    before = {name: value.numpy().copy() for name, value in state.items()}
    changed = {name: pl.zeros(*value.shape) for name, value in state.items() if name != "scale"}
    changed |= {"extra": pl.zeros(1), "first.bias": pl.zeros(9)}
    with pytest.raises(
        StateDictError,
        match=r"missing: scale; unexpected: extra; of another shape: first.bias: the module has \(4,\), the state has \(9,\)",
    ):
        net.load_state_dict(changed)
    with pytest.raises(StateDictError, match=r"of another shape: first.bias"):
        net.load_state_dict(changed, strict=False)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])
    del changed["first.bias"]
    assert net.load_state_dict(changed, strict=False) == (["scale", "first.bias"], ["extra"])
    assert not net.first.weight.detach().numpy().any()


def test_assignment_rules():
    net = nn.Linear(2, 2)
    with pytest.raises(TypeError, match=r"Linear.weight is a parameter: expected a Parameter or None, got Tensor"):
        net.weight = pl.zeros(2, 2)
    net.bias = None
    assert list(net.state_dict()) == ["weight"]
    net.weight = nn.Parameter(pl.zeros(5, 2))
    assert net.state_dict()["weight"].shape == (5, 2)
    del net.weight
    assert list(net.state_dict()) == []
    assert not hasattr(net, "weight")
    with pytest.raises(ValueError, match="without dots"):
        net.add_module("a.b", nn.ReLU())
    with pytest.raises(ValueError, match="'items' is a method"):
        nn.ModuleDict({"items": nn.ReLU()})
    with pytest.raises(TypeError, match="expected a Module, got int"):
        net.add_module("x", 3)


def test_a_module_replaces_what_had_its_name():
    net = nn.Module()
    net.register_buffer("x", pl.zeros(1))
    net.x = pl.ones(2)
    assert net.state_dict()["x"].tolist() == [1, 1]
    net.x = nn.Linear(1, 1)
    assert list(net.state_dict()) == ["x.weight", "x.bias"]


def test_modes_reach_everything_below():
    net = Net().eval()
    assert not any(module.training for module in net.modules())
    assert net.train() is net
    assert all(module.training for module in net.modules())


def test_apply_visits_children_first():
    seen = []
    Net().apply(lambda module: seen.append(type(module).__name__))
    assert seen == ["Linear", "Linear", "ReLU", "ModuleList", "Linear", "ModuleDict", "Net"]


def test_to_converts_floating_tensors_only():
    net = nn.BatchNorm2d(3).to(pl.float64)
    assert net.weight.dtype is pl.float64
    assert net.running_mean.dtype is pl.float64
    assert net.num_batches_tracked.dtype is pl.int64
    assert net.weight.requires_grad


def test_zero_grad():
    net = Net()
    net(pl.ones(2, 3)).sum().backward()
    assert net.first.weight.grad is not None
    net.zero_grad(set_to_none=False)
    assert not net.first.weight.grad.numpy().any()
    net.zero_grad()
    assert net.first.weight.grad is None


def test_requires_grad():
    net = Net().requires_grad_(False)
    assert not net(pl.ones(2, 3)).requires_grad
    net.first.requires_grad_()
    net(pl.ones(2, 3)).sum().backward()
    assert net.first.weight.grad is not None
    assert net.scale.grad is None


def test_hooks():
    net = nn.Identity()
    before = net.register_forward_pre_hook(lambda module, args: (args[0] + 1,))
    after = net.register_forward_hook(lambda module, args, output: output * 10)
    silent = net.register_forward_hook(lambda module, args, output: None)
    assert net(pl.tensor([1.0])).tolist() == [20]
    before.remove()
    silent.remove()
    silent.remove()
    assert net(pl.tensor([1.0])).tolist() == [10]
    after.remove()
    assert net(pl.tensor([1.0])).tolist() == [1]


def test_deepcopy_shares_nothing():
    net = Net()
    other = copy.deepcopy(net)
    assert isinstance(other.scale, nn.Parameter)
    assert other.scale is dict(other.named_parameters())["scale"]
    other.scale.detach().numpy()[:] = 5
    assert net.scale.tolist() == [1, 1]
    other(pl.ones(1, 3)).sum().backward()
    assert net.first.weight.grad is None


def test_containers():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    assert len(net) == 3
    assert isinstance(net[:2], nn.Sequential)
    assert net[-1] is list(net)[2]
    assert net(pl.ones(5, 2)).shape == (5, 1)
    net[1] = nn.Tanh()
    assert isinstance(net[1], nn.Tanh)
    named = nn.Sequential({"a": nn.Linear(2, 2), "b": nn.ReLU()})
    assert list(named.state_dict()) == ["a.weight", "a.bias"]
    parameters = nn.ParameterList([pl.ones(2), nn.Parameter(pl.zeros(3))])
    assert [tuple(p.shape) for p in parameters] == [(2,), (3,)]
    assert list(parameters.state_dict()) == ["0", "1"]
    modules = nn.ModuleDict({"x": nn.ReLU()})
    assert "x" in modules
    assert list(modules.keys()) == ["x"]


def test_repr():
    assert repr(nn.Linear(2, 3)) == "Linear(in_features=2, out_features=3, bias=True)"
    assert repr(nn.Sequential(nn.ReLU(), nn.Flatten())) == "Sequential(\n  (0): ReLU()\n  (1): Flatten(start_dim=1, end_dim=-1)\n)"
    assert "kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False" in repr(nn.Conv2d(1, 2, 3, padding=1, bias=False))


def test_forward_is_asked_for():
    with pytest.raises(NotImplementedError, match=r"Module must define forward"):
        nn.Module()(1)

# SPDX-License-Identifier: Apache-2.0
"""Optimizers on float16 and bfloat16 parameters: a float32 step, rounded once, and states that PyTorch exchanges."""

import numpy as np
import pytest

import penlight as pl

OPTIMIZERS = {
    "SGD": {"lr": 0.1, "momentum": 0.9},
    "Adam": {"lr": 0.01, "weight_decay": 0.1},
    "AdamW": {"lr": 0.01, "amsgrad": True},
    "Adagrad": {"lr": 0.01, "initial_accumulator_value": 0.1},
    "RMSprop": {"lr": 0.01, "momentum": 0.5},
    "Adadelta": {},
    "Adamax": {},
    "NAdam": {},
    "RAdam": {},
    "Rprop": {},
    "ASGD": {},
    "Adafactor": {},
    "Muon": {},
}


def gradients(scale, count=8):
    rng = np.random.default_rng(1)
    return [pl.tensor(rng.normal(size=(4, 6)).astype(np.float32) * scale) for _ in range(count)]


def parameter(dtype):
    return pl.tensor(np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)).to(dtype).requires_grad_()


@pytest.mark.parametrize("dtype", [pl.float16, pl.bfloat16], ids=["float16", "bfloat16"])
@pytest.mark.parametrize(("name", "settings"), OPTIMIZERS.items(), ids=OPTIMIZERS)
def test_a_step_is_that_of_float32_rounded_once(name, settings, dtype):
    narrow = parameter(dtype)
    wide = narrow.detach().float().requires_grad_()
    ours, reference = (getattr(pl.optim, name)([p], **settings) for p in (narrow, wide))
    memory = narrow.data_ptr()
    for g in gradients(1e-4):  # whose squares are 0 in float16
        narrow.grad, wide.grad = g.to(dtype), g.to(dtype).float()
        given = narrow.grad
        ours.step()
        reference.step()
        wide.data = wide.detach().to(dtype).float()
        assert narrow.dtype is dtype and narrow.data_ptr() == memory and narrow.grad is given and given.dtype is dtype
        np.testing.assert_array_equal(narrow.detach().float().numpy(), wide.detach().numpy())
    for key, value in ours.state[narrow].items():
        np.testing.assert_array_equal(value.numpy(), reference.state[wide][key].numpy())


def test_states_go_to_torch_and_come_back():
    torch = pytest.importorskip("torch")
    p, q = parameter(pl.bfloat16), parameter(pl.bfloat16)
    theirs = torch.tensor(p.detach().float().numpy()).bfloat16().requires_grad_()
    ours, other, adam = (make.AdamW([w], lr=0.01) for make, w in ((pl.optim, p), (pl.optim, q), (torch.optim, theirs)))
    p.grad = gradients(1e-2)[0].bfloat16()
    ours.step()
    saved = ours.state_dict()
    adam.load_state_dict({**saved, "state": {0: {k: torch.tensor(v.numpy()) for k, v in saved["state"][0].items()}}})
    assert adam.state[theirs]["exp_avg"].dtype is torch.bfloat16
    there = {k: pl.tensor(v.float().numpy()).to(str(v.dtype).removeprefix("torch.")) for k, v in adam.state[theirs].items()}
    other.load_state_dict({**saved, "state": {0: there}})
    assert {v.dtype for v in other.state[q].values()} == {pl.float32}
    rounded = ours.state[p]["exp_avg"].bfloat16().float().numpy()
    np.testing.assert_array_equal(other.state[q]["exp_avg"].numpy(), rounded)


def test_an_error_leaves_the_parameter_as_it_was():
    class Broken(pl.optim.Optimizer):
        def update(self, group, parameters):
            assert parameters[0].dtype is pl.float32
            raise RuntimeError("no")

    p = parameter(pl.float16)
    before = p.detach().clone()
    p.grad = gradients(1.0)[0].half()
    with pytest.raises(RuntimeError, match="no"):
        Broken([p], {}).step()
    assert p.dtype is pl.float16 and p.grad.dtype is pl.float16 and p.tolist() == before.tolist()

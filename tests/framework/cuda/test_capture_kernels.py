# SPDX-License-Identifier: Apache-2.0
"""Captured steps with the kernels that keep state on the device (optimizers, dropout, unscaling), run on the CPU."""

import fake_cuda as stand_in
import numpy as np
import pytest
from cuda_host import HostLauncher

import penlight as pl
import penlight.nn.functional as F
from penlight import nn
from penlight.backends import cuda
from penlight.backends.cuda import dropout, optimizer

STEPS = 6


class Launcher(HostLauncher):
    """Runs kernels on arrays of the stand-in device: now, or when the graph under capture is launched."""

    def pointer(self, array):
        return array._host.ctypes.data

    def launch(self, kernel, dtype, grid, *values):
        given = [value._host if isinstance(value, stand_in.Array) else value for value in values]

        def call(held=values):
            HostLauncher.launch(self, kernel, dtype, grid, *given)

        capturing = stand_in.Stream.capturing
        call() if capturing is None else capturing.launches.append(call)


@pytest.fixture
def launcher(cuda_library, fake_cuda):
    launcher = Launcher(cuda_library)
    for family in (optimizer, dropout):
        cuda.backend().kernels.update(family.table(fake_cuda, launcher))
    return launcher


OPTIMIZERS = {
    "adamw": lambda p: pl.optim.AdamW(p, lr=1e-2, weight_decay=0.1),
    "adam": lambda p: pl.optim.Adam(p, lr=1e-2, weight_decay=0.1),
    "sgd": lambda p: pl.optim.SGD(p, lr=1e-1, momentum=0.9, nesterov=True),
}


def train(kind, wrap):
    """Losses, weights and state of the optimizer; the third batch is infinite, the rate falls from call to call."""
    pl.manual_seed(3)
    model = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Dropout(0.4), nn.Linear(8, 3)).to("cuda")
    optimizer = OPTIMIZERS[kind](model.parameters())
    scaler = pl.amp.GradScaler(init_scale=256.0, growth_interval=2)

    @wrap
    def step(x, y):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        scaler.step(optimizer)
        scaler.update()
        return loss, norm

    rng, seen = np.random.default_rng(0), []
    for k in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] *= 0.8
        x, y = rng.normal(size=(4, 6)).astype(np.float32), rng.normal(size=(4, 3)).astype(np.float32)
        x[0, 0] = np.inf if k == 4 else x[0, 0]
        loss, norm = step(pl.from_numpy(x).to("cuda"), pl.from_numpy(y).to("cuda"))
        seen.append((loss.detach().cpu().numpy().tobytes(), norm.cpu().numpy().tobytes(), scaler.get_scale()))
    state = [[v.cpu().numpy().tobytes() for v in entry.values()] for entry in optimizer.state.values()]
    return seen, [p.detach().cpu().numpy().tobytes() for p in model.parameters()], state


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(OPTIMIZERS))
def test_captured_training_is_eager_training_bit_for_bit(launcher, kind):
    expected = train(kind, lambda step: step)
    assert len(set(expected[1])) == 4 and len({scale for *_, scale in expected[0]}) > 2
    actual = train(kind, pl.cuda.capture)
    assert actual == expected
    assert any("dropout" in name for name in launcher.launched) and len(set(launcher.launched)) >= 4

# SPDX-License-Identifier: Apache-2.0
"""Captured steps, memory and streams on a real device, and a model that was trained there and exported."""

import numpy as np
import pytest

import penlight as pl
import penlight.nn.functional as F
from penlight import nn


@pytest.fixture
def device(gpu):
    if gpu == "cpu":
        pytest.skip("needs a CUDA device")
    return gpu


def train(place, wrap, dtype, count=8):
    """Losses and weights after some steps with dropout, a scaler and a rate that changes."""
    pl.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 64), nn.GELU(), nn.Dropout(0.3), nn.LayerNorm(64), nn.Linear(64, 5)).to(place)
    optimizer = pl.optim.AdamW(model.parameters(), lr=1e-2)
    scaler = pl.amp.GradScaler(enabled=dtype is pl.float16)

    @wrap
    def step(x, y):
        optimizer.zero_grad()
        with pl.autocast("cuda", dtype=dtype or pl.bfloat16, enabled=dtype is not None):
            loss = F.cross_entropy(model(x), y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss

    rng, losses = np.random.default_rng(0), []
    for k in range(count):
        optimizer.param_groups[0]["lr"] = 1e-2 / (k + 1)
        x, y = rng.normal(size=(16, 20)).astype(np.float32), rng.integers(0, 5, 16)
        losses.append(step(pl.from_numpy(x).to(place), pl.from_numpy(y).to(place)).item())
    return losses, {name: t.cpu().numpy() for name, t in model.state_dict().items()}


@pytest.mark.parametrize("dtype", [None, pl.float16, pl.bfloat16])
def test_captured_steps_equal_eager_ones_bit_for_bit(device, dtype):
    losses, state = train(device, pl.cuda.capture, dtype)
    expected_losses, expected = train(device, lambda step: step, dtype)
    assert losses == expected_losses
    for name, value in expected.items():
        np.testing.assert_array_equal(state[name], value, err_msg=name)


def test_a_captured_convolution_equals_the_eager_one(device):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.LazyLinear(4)).to(device)
    x = pl.randn(4, 3, 8, 8).to(device)
    model(x)
    model.eval()
    step = pl.cuda.capture(lambda x: model(x), warmup=1)
    for _ in range(3):
        result = step(x)
    np.testing.assert_array_equal(result.cpu().numpy(), model(x).detach().cpu().numpy())


def test_out_of_memory_and_on(device):
    free, _ = pl.cuda.mem_get_info()
    with pytest.raises(pl.cuda.OutOfMemoryError, match=r"out of memory: .* were asked for"):
        pl.ones(2 * free // 4 + (1 << 28), device=device)
    assert float(pl.ones(8, device=device).sum()) == 8


def test_prefetched_batches_are_the_loaders(device):
    data = pl.data.TensorDataset(np.arange(4000, dtype=np.float32).reshape(1000, 4))
    loader = pl.data.DataLoader(data, batch_size=64, pin_memory=True)
    for (ours,), (expected,) in zip(pl.cuda.Prefetch(loader, device, depth=2), loader, strict=True):
        np.testing.assert_array_equal((ours * 1).cpu().numpy(), expected.numpy())


def test_a_model_trained_here_answers_the_same_everywhere(gpu, tmp_path):
    export = pytest.importorskip("penlight_export", reason="the export is a part of its own")
    runtime = pytest.importorskip("penlight_runtime", reason="the runtime is a part of its own")
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime for the .onnx file")
    model = nn.Sequential(nn.Linear(20, 32), nn.GELU(), nn.Linear(32, 5)).to(gpu)
    optimizer = pl.optim.AdamW(model.parameters(), lr=1e-2)
    rng = np.random.default_rng(0)
    for _ in range(10):
        x, y = (pl.from_numpy(a).to(gpu) for a in (rng.normal(size=(16, 20)).astype(np.float32), rng.integers(0, 5, 16)))
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    given = rng.normal(size=(3, 20)).astype(np.float32)
    expected = model(pl.from_numpy(given).to(gpu)).detach().cpu().numpy()
    exported = export.export(model.to("cpu").eval(), (pl.from_numpy(given),))
    exported.save(tmp_path / "model.onnx")
    exported.save(tmp_path / "model.pen")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    answers = [session.run(None, {session.get_inputs()[0].name: given})[0]]
    answers.append(next(iter(runtime.Program.open(tmp_path / "model.pen").session().run([given]).values())))
    for answer in answers:
        np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-5)

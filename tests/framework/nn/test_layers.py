# SPDX-License-Identifier: Apache-2.0
"""Every layer against PyTorch: state_dict keys, first values' range, outputs, and gradients of input and parameters."""

import math

import numpy as np
import pytest

import penlight as pl
from penlight import nn

torch = pytest.importorskip("torch")


LAYERS = [
    # (name, arguments, keyword arguments, input)
    ("Linear", (5, 3), {}, (4, 5)),
    ("Linear", (5, 3), {"bias": False}, (2, 4, 5)),
    ("Linear", (5, 3), {}, (0, 5)),
    ("Conv1d", (4, 6, 3), {"padding": 1, "stride": 2}, (2, 4, 9)),
    ("Conv2d", (3, 6, 3), {}, (2, 3, 7, 6)),
    ("Conv2d", (4, 6, (3, 2)), {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2), "groups": 2, "bias": False}, (2, 4, 9, 8)),
    ("Conv2d", (4, 4, 3), {"groups": 4, "padding": "same"}, (1, 4, 5, 5)),
    ("BatchNorm1d", (4,), {}, (6, 4)),
    ("BatchNorm1d", (4,), {}, (3, 4, 5)),
    ("BatchNorm2d", (4,), {}, (3, 4, 5, 2)),
    ("BatchNorm2d", (4,), {"momentum": None, "eps": 1e-3}, (3, 4, 5, 2)),
    ("BatchNorm2d", (4,), {"affine": False, "momentum": 0.3}, (3, 4, 5, 2)),
    ("BatchNorm2d", (4,), {"track_running_stats": False}, (3, 4, 5, 2)),
    ("LayerNorm", (6,), {}, (2, 3, 6)),
    ("LayerNorm", ((3, 6),), {"eps": 1e-3}, (2, 3, 6)),
    ("LayerNorm", (6,), {"bias": False}, (2, 6)),
    ("LayerNorm", (6,), {"elementwise_affine": False}, (2, 6)),
    ("RMSNorm", (6,), {}, (2, 3, 6)),
    ("RMSNorm", (6,), {"eps": 1e-2}, (2, 6)),
    ("GroupNorm", (2, 6), {}, (3, 6, 4, 2)),
    ("GroupNorm", (6, 6), {"affine": False}, (3, 6, 4)),
    ("ReLU", (), {}, (3, 5)),
    ("ReLU6", (), {}, (3, 5)),
    ("SiLU", (), {}, (3, 5)),
    ("Mish", (), {}, (3, 5)),
    ("Hardswish", (), {}, (3, 5)),
    ("Hardsigmoid", (), {}, (3, 5)),
    ("Sigmoid", (), {}, (3, 5)),
    ("Tanh", (), {}, (3, 5)),
    ("GELU", (), {}, (3, 5)),
    ("GELU", (), {"approximate": "tanh"}, (3, 5)),
    ("LeakyReLU", (0.2,), {}, (3, 5)),
    ("ELU", (1.5,), {}, (3, 5)),
    ("Softplus", (), {"beta": 2.0}, (3, 5)),
    ("Softmax", (), {"dim": 1}, (3, 5, 2)),
    ("LogSoftmax", (), {"dim": -1}, (3, 5)),
    ("MaxPool2d", (2,), {}, (2, 3, 6, 7)),
    ("MaxPool2d", (3,), {"stride": 2, "padding": 1, "ceil_mode": True}, (2, 3, 8, 7)),
    ("AvgPool2d", (2,), {}, (2, 3, 6, 7)),
    ("AvgPool2d", (3,), {"stride": 2, "padding": 1, "count_include_pad": False}, (2, 3, 8, 7)),
    ("AdaptiveAvgPool2d", (1,), {}, (2, 3, 6, 7)),
    ("AdaptiveAvgPool2d", ((2, 3),), {}, (2, 3, 5, 7)),
    ("Flatten", (), {}, (2, 3, 4)),
    ("Flatten", (0, 1), {}, (2, 3, 4)),
    ("Identity", (), {}, (2, 3)),
]


def pair(name, args, kwargs):
    """Our layer and PyTorch's with the same weights, which are drawn so that none is at a special value."""
    ours, theirs = getattr(nn, name)(*args, **kwargs), getattr(torch.nn, name)(*args, **kwargs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    rng = np.random.default_rng(1)
    state = {}
    for key, value in theirs.state_dict().items():
        assert tuple(ours.state_dict()[key].shape) == tuple(value.shape), key
        fresh = rng.uniform(0.5, 1.5, value.shape).astype(np.float32)
        state[key] = torch.from_numpy(fresh) if value.dtype == torch.float32 else value
    theirs.load_state_dict(state)
    ours.load_state_dict({key: value.numpy() for key, value in state.items()})
    return ours, theirs


def close(ours, theirs, message="", tolerance=2e-5):
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=tolerance, atol=tolerance, err_msg=message)


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize(("name", "args", "kwargs", "shape"), LAYERS, ids=lambda value: str(value)[:40])
def test_layer_equals_torch(name, args, kwargs, shape, mode):
    ours, theirs = pair(name, args, kwargs)
    (ours.train() if mode == "train" else ours.eval()), theirs.train(mode == "train")
    rng = np.random.default_rng(2)
    for _ in range(2):  # twice: running averages change
        data = rng.normal(size=shape).astype(np.float32) * 3
        x, tx = pl.tensor(data, requires_grad=True), torch.tensor(data, requires_grad=True)
        y, ty = ours(x), theirs(tx)
        assert y.shape == tuple(ty.shape)
        close(y, ty)
        seed = rng.normal(size=ty.shape).astype(np.float32)
        ours.zero_grad()
        theirs.zero_grad()
        y.backward(pl.tensor(seed))
        ty.backward(torch.tensor(seed))
        close(x.grad, tx.grad, "gradient of the input", 1e-4)
        for (key, parameter), (_, other) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
            close(parameter.grad, other.grad, key, 1e-4)
        for (key, buffer), (_, other) in zip(ours.named_buffers(), theirs.named_buffers(), strict=True):
            close(buffer, other, key)


@pytest.mark.parametrize(("name", "args", "kwargs"), [(n, a, k) for n, a, k, _ in LAYERS if n in {"Linear", "Conv1d", "Conv2d"}])
def test_first_values_lie_in_torchs_range(name, args, kwargs):
    pl.manual_seed(0)
    layer = getattr(nn, name)(*args, **kwargs)
    bound = 1 / math.sqrt(math.prod(layer.weight.shape[1:]))
    for parameter in layer.parameters():
        assert abs(parameter.detach().numpy()).max() <= bound
    assert layer.weight.detach().numpy().std() > 0.4 * bound  # uniform: 0.577


def test_embedding():
    ours, theirs = pair("Embedding", (7, 3), {"padding_idx": 2})
    indices = np.array([[1, 2, 6], [0, 2, 1]])
    y, ty = ours(pl.tensor(indices)), theirs(torch.tensor(indices))
    close(y, ty)
    y.sum().backward()
    ty.sum().backward()
    close(ours.weight.grad, theirs.weight.grad)
    pl.manual_seed(0)
    fresh = nn.Embedding(500, 20, padding_idx=-1).weight.detach().numpy()
    assert not fresh[-1].any()
    assert abs(fresh[:-1].std() - 1) < 0.05


def test_dropout():
    pl.manual_seed(0)
    layer, x = nn.Dropout(0.3), pl.ones(200, 100)
    y = layer(x).numpy()
    kept = y != 0
    assert abs(kept.mean() - 0.7) < 0.02
    np.testing.assert_allclose(y[kept], 1 / 0.7, rtol=1e-6)
    np.testing.assert_array_equal(layer.eval()(x).numpy(), x.numpy())
    assert not nn.Dropout(1.0)(x).numpy().any()
    with pytest.raises(ValueError, match=r"between 0 and 1, got 1\.5"):
        nn.Dropout(1.5)


LOSSES = [
    ("MSELoss", "real"),
    ("L1Loss", "real"),
    ("CrossEntropyLoss", "class"),
    ("NLLLoss", "class"),
    ("BCEWithLogitsLoss", "probability"),
]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("name", "kind"), LOSSES)
def test_loss_equals_torch(name, kind, reduction):
    rng = np.random.default_rng(0)
    data = rng.normal(size=(6, 4)).astype(np.float32)
    target = {"real": rng.normal(size=(6, 4)), "class": rng.integers(4, size=6), "probability": rng.random((6, 4))}[kind]
    target = target if kind == "class" else target.astype(np.float32)
    x, tx = pl.tensor(data, requires_grad=True), torch.tensor(data, requires_grad=True)
    y = getattr(nn, name)(reduction=reduction)(x, pl.tensor(target))
    ty = getattr(torch.nn, name)(reduction=reduction)(tx, torch.tensor(target))
    close(y, ty)
    y.sum().backward()
    ty.sum().backward()
    close(x.grad, tx.grad)


@pytest.mark.parametrize("kwargs", [{"ignore_index": 1}, {"label_smoothing": 0.1}, {"weight": [1.0, 2.0, 0.5, 3.0]}])
def test_cross_entropy_options_equal_torch(kwargs):
    rng = np.random.default_rng(0)
    data, target = rng.normal(size=(6, 4, 3)).astype(np.float32), rng.integers(4, size=(6, 3))
    ours = {key: pl.tensor(value) if key == "weight" else value for key, value in kwargs.items()}
    theirs = {key: torch.tensor(value) if key == "weight" else value for key, value in kwargs.items()}
    x, tx = pl.tensor(data, requires_grad=True), torch.tensor(data, requires_grad=True)
    y, ty = nn.CrossEntropyLoss(**ours)(x, pl.tensor(target)), torch.nn.CrossEntropyLoss(**theirs)(tx, torch.tensor(target))
    close(y, ty)
    y.backward()
    ty.backward()
    close(x.grad, tx.grad)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "groups=2 must divide in_channels=3"),
        (lambda: nn.GroupNorm(4, 6), "num_groups=4 must divide num_channels=6"),
        (lambda: nn.MultiheadAttention(10, 3), "num_heads=3 must divide embed_dim=10"),
        (lambda: nn.MSELoss(reduction="median"), "reduction must be"),
        (lambda: nn.BatchNorm2d(3)(pl.zeros(2, 4, 5, 5)), r"4-dim input with 3 channels, got \(2, 4, 5, 5\)"),
        (lambda: nn.BatchNorm1d(3)(pl.zeros(2, 3, 5, 5)), "2-dim or 3-dim input"),
    ],
)
def test_wrong_arguments_are_explained(call, message):
    with pytest.raises(ValueError, match=message):
        call()

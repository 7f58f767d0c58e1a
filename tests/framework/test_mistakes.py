# SPDX-License-Identifier: Apache-2.0
"""What PyTorch users get wrong most often: each message names the operator, what was expected, what came, and what to do."""

import numpy as np
import pytest

import penlight as pl
import penlight.nn.functional as F
from penlight import nn, optim
from penlight.backends.backend import Backend
from penlight.errors import (
    ArgumentError,
    DeviceError,
    DTypeError,
    GradientError,
    InPlaceError,
    PenlightError,
    ShapeError,
    StateDictError,
    VersionError,
)


def leaf() -> pl.Tensor:
    return pl.ones(3, requires_grad=True)


def twice() -> None:
    loss = (leaf() * 2).sum()
    loss.backward()
    loss.backward()


def changed_leaf() -> None:
    weight = leaf()
    weight -= 0.1


def changed_part_of_a_leaf() -> None:
    leaf()[0] = 0.0


def changed_saved() -> None:
    output = leaf().exp()
    output.add_(1)
    output.sum().backward()


LOGITS = pl.zeros(4, 3)

# name: (what is done, the error, what the message says)
MISTAKES = {
    "in_features": (
        lambda: nn.Linear(5, 2)(pl.ones(4, 3)),
        ShapeError,
        r"linear: input \(4, 3\) must end in 5, the last size of weight \(2, 5\); make the layer with in_features=3",
    ),
    "not flattened": (
        lambda: nn.Linear(12, 2)(pl.ones(5, 3, 2, 2)),
        ShapeError,
        r"linear: input \(5, 3, 2, 2\) must end in 12, .*; did you mean input.flatten\(1\)\?",
    ),
    "matmul": (
        lambda: pl.ones(4, 3) @ pl.ones(4, 3),
        ShapeError,
        r"matmul: inner dimensions differ: a \(4, 3\) has 3, b \(4, 3\) has 4; did you mean b.T\?",
    ),
    "float targets": (
        lambda: F.cross_entropy(LOGITS, pl.zeros(4)),
        ShapeError,
        r"cross_entropy: targets of dtype penlight.float32 are probabilities .* came \(4,\); convert .* .to\(penlight.int64\)",
    ),
    "targets in a column": (
        lambda: F.cross_entropy(LOGITS, pl.zeros(4, 1, dtype=pl.int64)),
        ShapeError,
        r"cross_entropy: for logits \(4, 3\) expected targets \(4,\), came \(4, 1\)",
    ),
    "class out of range": (
        lambda: F.cross_entropy(LOGITS, pl.tensor([0, 1, 3, 0])),
        IndexError,
        r"cross_entropy: classes 0\.\.3 are out of range for 3 logits; check the labels, or the out_features",
    ),
    "index out of range": (
        lambda: nn.Embedding(10, 3)(pl.tensor([10])),
        IndexError,
        r"embedding: indices 10\.\.10 are out of range for 10 rows",
    ),
    "numpy with grad": (
        lambda: leaf().numpy(),
        GradientError,
        r"numpy: the tensor requires a gradient; use tensor.detach\(\).numpy\(\)",
    ),
    "asarray with grad": (lambda: np.asarray(leaf() * 2), GradientError, r"use tensor.detach\(\).numpy\(\)"),
    "backward twice": (twice, GradientError, r"its tape was already freed; pass retain_graph=True to the first backward\(\)"),
    "in-place on a leaf": (
        changed_leaf,
        InPlaceError,
        r"a leaf that requires a gradient was to be changed in place; do it under no_grad",
    ),
    "in-place on a part": (changed_part_of_a_leaf, InPlaceError, r"a view of a leaf that requires a gradient .* under no_grad"),
    "in-place on a saved result": (changed_saved, VersionError, r"exp: its output was changed in place, .*; clone it first"),
    "mixed dtypes": (
        lambda: nn.Linear(3, 2)(pl.ones(4, 3, dtype=pl.float64)),
        DTypeError,
        r"linear: expected inputs of one dtype, came float64, float32, float32; convert with .to\(dtype\)",
    ),
    "images of bytes": (
        lambda: nn.Conv2d(3, 8, 3)(pl.ones(1, 3, 8, 8, dtype=pl.uint8)),
        DTypeError,
        r"conv2d: expected inputs of one dtype, came uint8, float32; convert with .to\(dtype\)",
    ),
    "channels": (
        lambda: nn.Conv2d(3, 8, 3)(pl.ones(1, 1, 8, 8)),
        ShapeError,
        r"conv2d: input has 1 channels, weight \(8, 3, 3, 3\) with groups=1 wants 3; make the layer with in_channels=1",
    ),
    "channels last": (
        lambda: nn.Conv2d(3, 8, 3)(pl.ones(1, 32, 32, 3)),
        ShapeError,
        r"conv2d: input has 32 channels, .* wants 3; did you mean input.permute\(0, 3, 1, 2\)\?",
    ),
    "no batch": (lambda: nn.Conv2d(3, 8, 3)(pl.ones(8, 8)), ShapeError, r"conv2d: expected input \(N, C, H, W\) .* came \(8, 8\)"),
    "keys": (
        lambda: nn.Linear(3, 2).load_state_dict({"weigth": pl.ones(2, 3), "bias": pl.ones(2)}),
        StateDictError,
        r"load_state_dict: the state does not fit Linear; missing: weight; unexpected: weigth",
    ),
    "keys of a wrapped model": (
        lambda: nn.Linear(3, 2).load_state_dict({"module.weight": pl.ones(2, 3), "module.bias": pl.ones(2)}),
        StateDictError,
        r"unexpected: module.weight, module.bias; the names begin with 'module.': it was saved from a wrapped model",
    ),
    "sizes": (
        lambda: nn.Linear(3, 2).load_state_dict({"weight": pl.ones(3, 3), "bias": pl.ones(2)}),
        StateDictError,
        r"of another shape: weight: the module has \(2, 3\), the state has \(3, 3\)",
    ),
    "integers with a gradient": (
        lambda: pl.tensor([1, 2], requires_grad=True),
        DTypeError,
        r"only floating-point tensors have gradients, came penlight.int64; convert with .to\(penlight.float32\)",
    ),
    "backward of many": (
        lambda: (leaf() * 2).backward(),
        GradientError,
        r"backward: a tensor of shape \(3,\) needs a gradient argument; .* loss.mean\(\).backward\(\)\?",
    ),
    "backward of nothing": (
        lambda: pl.ones(1).backward(),
        GradientError,
        r"backward: the tensor does not require a gradient; was it computed under no_grad\(\), or detached\?",
    ),
    "truth of many": (
        lambda: bool(pl.ones(3) > 0),
        ShapeError,
        r"bool: the truth of shape \(3,\) is ambiguous; use .any\(\) or .all\(\)",
    ),
    "item of many": (lambda: pl.ones(3).item(), ShapeError, r"item: expected one element, came shape \(3,\); use .tolist\(\)"),
    "view of a transpose": (lambda: pl.ones(3, 4).T.view(12), ShapeError, r"view: \(4, 3\) is not laid out .*; use .reshape\(\)"),
    "broadcast": (
        lambda: pl.ones(4, 3) + pl.ones(4),
        ShapeError,
        r"add: shapes \(4, 3\) and \(4,\) do not broadcast: sizes \(3, 4\) differ and none of them is 1",
    ),
    "a batch of one": (
        lambda: nn.BatchNorm1d(3)(pl.ones(1, 3)),
        ShapeError,
        r"batch_norm: training needs more than one value per channel",
    ),
    "logits as probabilities": (
        lambda: F.binary_cross_entropy(pl.tensor([-1.5, 0.5]), pl.ones(2)),
        ArgumentError,
        r"binary_cross_entropy: expected probabilities in \[0, 1\], came -1.5 to 0.5; use binary_cross_entropy_with_logits",
    ),
    "an array of NumPy": (
        lambda: nn.Linear(3, 2)(np.ones((2, 3), np.float32)),
        TypeError,
        r"expected a Tensor, came numpy.ndarray",
    ),
    "no parameters": (
        lambda: optim.SGD([], lr=0.1),
        ValueError,
        r"SGD: the list of parameters is empty; pass model.parameters\(\)",
    ),
    "the model itself": (
        lambda: optim.SGD(nn.Linear(2, 2), lr=0.1),
        TypeError,
        r"SGD: expected an iterable of parameters, got Linear; pass model.parameters\(\)",
    ),
    "a function as a layer": (lambda: nn.Sequential(F.relu), TypeError, r"Sequential.0: expected a Module, got function relu; use"),
    "a class as a layer": (lambda: nn.Sequential(nn.ReLU), TypeError, r"expected a Module, got the class ReLU; call it"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_the_message_says_what_to_do(name):
    make, error, message = MISTAKES[name]
    with pytest.raises(error, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
    if isinstance(caught.value, PenlightError):
        assert caught.value.code.startswith("PL-E1")


def test_a_loss_that_broadcasts_warns():
    with pytest.warns(
        UserWarning, match=r"mse_loss: input \(4, 1\) and target \(4,\) differ and will broadcast; give both one shape"
    ):
        F.mse_loss(pl.ones(4, 1), pl.ones(4))


class OtherArray(np.ndarray):
    """Stands for an array in the memory of another device."""


class OtherBackend(Backend):
    name = "cuda"
    xp = np

    def device_of(self, array):
        return pl.device("cuda", 0)


def test_mixed_devices(monkeypatch):
    other, here = OtherBackend(), pl.ones(2)
    there = pl.ones(2)
    there._data = there._data.view(OtherArray)
    known = pl.ops.dispatch.backend_of
    monkeypatch.setattr(pl.ops.dispatch, "backend_of", lambda array: other if type(array) is OtherArray else known(array))
    with pytest.raises(
        DeviceError, match=r"add: all inputs must be on one device, came cpu and cuda:0; move them with .to\(device\)"
    ):
        here + there

# SPDX-License-Identifier: Apache-2.0
"""Making tensors, reading them, converting them, and the errors for what does not fit."""

import copy
import math
import pickle

import numpy as np
import pytest

import penlight as pl
from penlight.errors import ArgumentError, DeviceError, DTypeError, GradientError, ShapeError


def test_tensor_takes_numbers_lists_arrays_and_tensors():
    assert pl.tensor(1).dtype is pl.int64 and pl.tensor(1.5).dtype is pl.float32 and pl.tensor(True).dtype is pl.bool
    assert pl.tensor([[1, 2], [3, 4]]).shape == (2, 2)
    assert pl.tensor([1, 2.5]).tolist() == [1.0, 2.5]
    assert pl.tensor(np.arange(3.0)).dtype is pl.float64
    assert pl.tensor([np.float32(1), 2]).dtype is pl.float32
    assert pl.tensor([pl.tensor(1.0), 2.0]).tolist() == [1.0, 2.0]
    assert pl.tensor([], dtype=pl.int32).shape == (0,)
    assert pl.tensor([1, 0], dtype=pl.bool).tolist() == [True, False]
    with pytest.raises(ShapeError, match="evenly nested"):
        pl.tensor([[1, 2], [3]])
    with pytest.raises(DTypeError, match="U1"):
        pl.from_numpy(np.array(["a"]))
    with pytest.raises(DTypeError, match="from_numpy"):
        pl.from_numpy([1, 2])


def test_creation_functions():
    assert pl.zeros(2, 3).tolist() == [[0.0] * 3] * 2 and pl.ones((2,), dtype=pl.int32).tolist() == [1, 1]
    assert pl.full((2,), 7).dtype is pl.int64 and pl.full((2,), 7.0).dtype is pl.float32
    assert pl.arange(5).tolist() == [0, 1, 2, 3, 4] and pl.arange(1, 2, 0.5).tolist() == [1.0, 1.5]
    assert pl.arange(5, 0, -2).tolist() == [5, 3, 1] and pl.linspace(0, 1, 3).tolist() == [0.0, 0.5, 1.0]
    assert pl.eye(2, 3).tolist() == [[1, 0, 0], [0, 1, 0]]
    x = pl.ones(2, 3, dtype=pl.float64)
    assert pl.zeros_like(x).dtype is pl.float64 and pl.full_like(x, 2).sum().item() == 12
    assert pl.empty(0, 3).shape == (0, 3)
    with pytest.raises(ArgumentError, match="step"):
        pl.arange(0, 5, 0)


def test_reading_values():
    x = pl.tensor([[1.5, 2.5]])
    assert x[0, 0].item() == 1.5 and float(x[0, 1]) == 2.5 and int(pl.tensor(3)) == 3 and bool(pl.tensor(0)) is False
    assert [t.tolist() for t in x] == [[1.5, 2.5]] and len(x) == 1 and 2.5 in x
    assert np.asarray(x).tolist() == [[1.5, 2.5]] and list(range(5))[pl.tensor(2)] == 2
    with pytest.raises(ShapeError, match="one element"):
        x.item()
    with pytest.raises(ShapeError, match="ambiguous"):
        bool(x)
    with pytest.raises(DTypeError):
        len(pl.tensor(1))
    with pytest.raises(GradientError, match="detach"):
        pl.ones(2, requires_grad=True).numpy()


def test_properties():
    x = pl.zeros(2, 3, 4)
    assert (x.ndim, x.dim(), x.numel(), x.size(), x.size(-1), x.nbytes) == (3, 3, 24, (2, 3, 4), 4, 96)
    assert x.stride() == (12, 4, 1) and x.is_contiguous() and not x.transpose(0, 1).is_contiguous()
    assert x.transpose(0, 2).contiguous().is_contiguous() and x.is_floating_point() and x.device == "cpu"
    assert x.T.shape == (4, 3, 2) and x.mT.shape == (2, 4, 3)
    assert repr(pl.tensor([1.0, 2.0])) == "tensor([1., 2.])"
    assert "dtype=penlight.float64" in repr(x.double()) and "requires_grad" in repr(pl.ones(1, requires_grad=True))


def test_conversions():
    x = pl.tensor([1.7, -1.7])
    assert x.int().tolist() == [1, -1] and x.long().dtype is pl.int64 and x.double().dtype is pl.float64
    assert x.half().dtype is pl.float16 and x.bfloat16().dtype is pl.bfloat16 and x.bool().tolist() == [True, True]
    assert x.to(pl.float32) is x and x.to("float64").dtype is pl.float64 and x.to(np.float64).dtype is pl.float64
    assert x.to("cpu") is x and x.to(pl.tensor([1], dtype=pl.int8)).dtype is pl.int8
    assert x.to(pl.float32, copy=True) is not x
    with pytest.raises(ArgumentError, match="cuda"):
        x.to(device="gpu")


def test_python_and_numpy_operands():
    x = pl.tensor([1.0, 2.0])
    assert (np.array([1.0, 2.0]) + x).tolist() == [2.0, 4.0]
    assert (np.float64(2) * x).tolist() == [2.0, 4.0]
    assert (2 - x).tolist() == [1.0, 0.0] and (x == [1.0, 3.0]) is not None
    assert (x == "text") is False and x != "text"
    assert (-pl.tensor([1, -2])).tolist() == [-1, 2] and (~pl.tensor([True, False])).tolist() == [False, True]
    with pytest.raises(TypeError):
        x + "text"
    with pytest.raises(DTypeError, match="bool"):
        x & x


def test_special_values_pass_without_warnings():
    x = pl.tensor([0.0, -1.0, float("inf"), float("nan")])
    assert math.isnan(pl.log(x)[1].item()) and pl.log(x)[0].item() == -math.inf
    assert (1 / x)[0].item() == math.inf and math.isnan((x - x)[2].item()) and math.isnan(pl.sqrt(x)[1].item())
    assert pl.isfinite(x).tolist() == [True, True, False, False]
    assert pl.exp(pl.tensor([1000.0])).item() == math.inf
    assert pl.softmax(pl.tensor([1000.0, -1000.0]), 0).tolist() == [1.0, 0.0]
    assert math.copysign(1, (pl.tensor([-0.0]) * 1.0).item()) == -1 and math.copysign(1, (pl.tensor([1.0]) * -0.0).item()) == -1
    assert pl.maximum(x, pl.zeros(4))[3].item() != 0


def test_copies():
    x = pl.tensor([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward()
    twin = copy.deepcopy(x)
    assert twin.requires_grad and twin.tolist() == [1.0, 2.0] and twin.grad.tolist() == [2.0, 4.0]
    assert not np.shares_memory(twin.detach().numpy(), x.detach().numpy())
    moved = pickle.loads(pickle.dumps(pl.tensor([1, 2])))  # how worker processes return batches
    assert moved.tolist() == [1, 2] and moved.dtype is pl.int64
    with pytest.raises(GradientError, match="leaves"):
        copy.deepcopy(x * 2)


def test_dlpack_shares_memory():
    x = pl.arange(4).float()
    array = np.from_dlpack(x)
    assert np.shares_memory(array, x.numpy()) and array.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: pl.zeros(2, 3) @ pl.zeros(4, 3),
            r"matmul: inner dimensions differ: a \(2, 3\) has 3, b \(4, 3\) has 4; did you mean b.T",
        ),
        (lambda: pl.zeros(2, 3) + pl.zeros(2), r"add: shapes \(2, 3\) and \(2,\) do not broadcast"),
        (lambda: pl.zeros(2, 3).reshape(4, 2), r"reshape: \(2, 3\) has 6 elements, \(4, 2\) wants 8"),
        (lambda: pl.zeros(2, 3).reshape(4, -1), r"reshape: \(2, 3\) does not fit \(4, -1\)"),
        (lambda: pl.zeros(2, 3).T.view(6), "use .reshape"),
        (lambda: pl.zeros(2, 3).sum(2), r"sum: dim 2 is out of range for 2 dimensions; expected -2..1"),
        (lambda: pl.zeros(2, 3).sum((0, 0)), "named twice"),
        (lambda: pl.zeros(2, 3).permute(0, 0), "each of the 2 dimensions once"),
        (lambda: pl.zeros(2, 3).expand(3, 3), r"expand: \(2, 3\) does not expand to \(3, 3\)|do not broadcast"),
        (lambda: pl.cat([pl.zeros(2, 3), pl.zeros(2, 4)]), r"cat: shapes \(2, 3\), \(2, 4\) differ outside dim 0"),
        (lambda: pl.cat([]), "at least one"),
        (lambda: pl.zeros(2, 3).split([1, 1], 1), "add up to 2, dim 1 has 3"),
        (lambda: pl.zeros(0, 3).max(0), "empty"),
        (lambda: pl.zeros(3).topk(4), "k=4"),
        (lambda: pl.einsum("ij,jk->iz", pl.zeros(1, 1), pl.zeros(1, 1)), "a letter that no operand has"),
        (lambda: pl.zeros(3).matmul(pl.tensor(1.0)), r"use \* to scale"),
        (lambda: pl.nn.functional.conv2d(pl.zeros(1, 3, 4, 4), pl.zeros(2, 4, 3, 3)), "input has 3 channels"),
        (lambda: pl.nn.functional.conv2d(pl.zeros(1, 3, 2, 2), pl.zeros(2, 3, 3, 3)), "larger than the padded input"),
        (lambda: pl.nn.functional.linear(pl.zeros(2, 3), pl.zeros(5, 4)), r"linear: input \(2, 3\) must end in 4"),
        (lambda: pl.nn.functional.layer_norm(pl.zeros(2, 3), 4), r"must end in normalized_shape \(4,\)"),
        (lambda: pl.nn.functional.cross_entropy(pl.zeros(2, 3), pl.tensor([0])), r"expected targets \(2,\), came \(1,\)"),
        (lambda: pl.nn.functional.max_pool2d(pl.zeros(1, 1, 4, 4), 2, padding=2), "at most half"),
        (lambda: pl.nn.functional.gelu(pl.zeros(1), approximate="erf"), "none.*tanh"),
        (lambda: pl.nn.functional.dropout(pl.zeros(1), 1.5), r"\[0, 1\]"),
        (lambda: pl.nn.functional.scaled_dot_product_attention(*[pl.zeros(2, 3)] * 3, pl.zeros(3), is_causal=True), "not both"),
    ],
)
def test_errors_say_what_came_and_what_to_do(call, message):
    with pytest.raises(ValueError, match=message) as raised:
        call()
    assert raised.value.code.startswith("PL-E1") and "\n" not in str(raised.value)


def test_out_of_range_indices():
    with pytest.raises(IndexError, match="out of range for 3 logits"):
        pl.nn.functional.cross_entropy(pl.zeros(2, 3), pl.tensor([0, 3]))
    with pytest.raises(IndexError, match="out of range for 4 rows"):
        pl.nn.functional.embedding(pl.tensor([4]), pl.zeros(4, 2))
    with pytest.raises(DTypeError, match="integer"):
        pl.nn.functional.embedding(pl.tensor([1.0]), pl.zeros(4, 2))


def test_a_missing_device_is_reported():
    try:
        pl.zeros(1, device="cuda")
    except DeviceError as error:
        assert error.exit_code == 4

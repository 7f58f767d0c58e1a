# SPDX-License-Identifier: Apache-2.0
"""What scripts written for PyTorch ask for beside layers and operators: second names, switches, questions, random fills."""

import importlib

import numpy as np
import pytest

import penlight as pl
from penlight import absent, second_names
from penlight.errors import ArgumentError, DTypeError


@pytest.mark.parametrize("name", second_names.PLACES)
def test_every_name_is_there_as_in_torch(name):
    assert hasattr(pl, name)
    torch = pytest.importorskip("torch")
    theirs = getattr(torch, name)
    if isinstance(theirs, torch.dtype):
        assert getattr(pl, name).name == str(theirs).removeprefix("torch.")


def test_constructors_by_dtype():
    torch = pytest.importorskip("torch")
    for name in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool"):
        ours, theirs = (getattr(m, f"{name}Tensor")([1, 0]) for m in (pl, torch))
        assert ours.tolist() == theirs.tolist() and ours.dtype.name == str(theirs.dtype).removeprefix("torch.")
        assert getattr(pl, f"{name}Tensor")(2, 3).shape == (2, 3) and getattr(pl, f"{name}Tensor")().shape == (0,)
    with pytest.raises(ArgumentError, match=r"Tensor: sizes make no tensor; use penlight.empty\(2, 3, ...\)"):
        pl.Tensor(2, 3)


def test_questions_have_torchs_answers():
    torch = pytest.importorskip("torch")
    for dtype in ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64"):
        ours, theirs = (m.zeros(4, dtype=getattr(m, dtype)) for m in (pl, torch))
        assert ours.type() == theirs.type().replace("torch", "penlight")
        assert pl.ones(1).type(theirs.type()).dtype is ours.dtype
        for question in ("is_cuda", "is_cpu", "is_sparse", "is_quantized", "is_meta"):
            assert getattr(ours, question) == getattr(theirs, question)
        assert ours[1:].storage_offset() == 1 and ours.get_device() == theirs.get_device() and ours.is_pinned() is False
    x = pl.ones(2)
    assert x.pin_memory() is x and x.share_memory_() is x and x.type(pl.int8).dtype is pl.int8
    assert x.new(2, 3).shape == (2, 3) and x.new([1, 2]).tolist() == [1.0, 2.0] and x.new((3,)).shape == (3,)
    assert pl.tensor([[1 + 1j, 2j]]).adjoint().tolist() == [[1 - 1j], [-2j]]
    assert pl.can_cast(pl.int64, pl.float16) and not pl.can_cast(pl.float32, pl.int64)
    with pytest.raises(DTypeError, match=r"there is no type 'torch.OddTensor'"):
        x.type("torch.OddTensor")


def test_places_and_calls_in_other_forms():
    x = pl.tensor([[0.0, 2.0], [3.0, 0.0]])
    rows, columns = pl.where(x > 0)
    assert (
        rows.tolist() == [0, 1] and columns.tolist() == [1, 0] and pl.where(x > 0, x, -1.0).tolist() == [[-1.0, 2.0], [3.0, -1.0]]
    )
    for draw in (pl.randint(high=2, size=(50,)), pl.randint(2, size=(50,)), pl.randint(2, (50,)), pl.randint(0, 2, (50,))):
        assert sorted(set(draw.tolist())) == [0, 1]
    assert isinstance(x.shape, pl.Size) and pl.inf > 0 and x[:, pl.newaxis].shape == (2, 1, 2) and pl.pi > 3 > pl.e
    assert isinstance(pl.distributed.is_available(), bool)


def test_switches():
    pl.set_default_dtype(pl.float32)
    assert pl.get_default_dtype() is pl.float32 and pl.are_deterministic_algorithms_enabled()
    pl.use_deterministic_algorithms(True)
    pl.backends.cudnn.benchmark = False
    with pytest.raises(ArgumentError, match=r"set_default_dtype: it is always float32 here, came float64; pass dtype="):
        pl.set_default_dtype(pl.float64)
    assert isinstance(pl.__version__, str) and pl.__version__


def test_print_options():
    x = pl.tensor([1.23456789, 1e-5])
    try:
        pl.set_printoptions(precision=2, sci_mode=False)
        assert repr(x) == "tensor([1.23, 0.  ])"
        pl.set_printoptions(sci_mode=True)
        assert repr(x) == "tensor([1.23e+00, 1.00e-05])"
        pl.set_printoptions(profile="full", sci_mode=False)
        assert "..." not in repr(pl.zeros(2000))
        pl.set_printoptions(profile="short")
        assert repr(pl.zeros(2000)) == "tensor([0., 0., ..., 0., 0.])"
        with pytest.raises(ArgumentError, match="profile must be one of default, short, full, came 'odd'"):
            pl.set_printoptions(profile="odd")
    finally:
        importlib.import_module("penlight.tensor").PRINTING.clear()
        importlib.import_module("penlight.tensor").PRINTING.update(precision=4, threshold=1000)


def test_cuda_without_a_device():
    if pl.cuda.is_available():
        pytest.skip("there is a device")
    assert pl.cuda.device_count() == 0 and pl.cuda.memory_allocated() == 0
    pl.cuda.empty_cache()
    pl.cuda.manual_seed_all(3)
    assert pl.initial_seed() == 3
    with pytest.raises(pl.errors.DeviceError):
        pl.cuda.synchronize()


def test_random_fills_have_their_moments():
    pl.manual_seed(0)
    x, n = pl.empty(20000), 20000
    for fill, mean, deviation in (
        (lambda: x.exponential_(2.0), 0.5, 0.5),
        (lambda: x.geometric_(0.25), 4.0, 12**0.5),
        (lambda: x.log_normal_(0.0, 0.5), np.exp(0.125), np.sqrt((np.exp(0.25) - 1) * np.exp(0.25))),
        (lambda: x.bernoulli_(0.3), 0.3, 0.21**0.5),
        (lambda: x.random_(2, 10), 5.5, (63 / 12) ** 0.5),
        (lambda: x.copy_(pl.normal(3.0, 2.0, (n,))), 3.0, 2.0),
        (lambda: x.copy_(pl.normal(pl.zeros(n), pl.full((n,), 2.0))), 0.0, 2.0),
        (lambda: x.copy_(pl.poisson(pl.full((n,), 4.0))), 4.0, 2.0),
    ):
        assert fill() is x
        assert abs(float(x.mean()) - mean) < 5 * deviation / n**0.5 and abs(float(x.std()) - deviation) < 0.1 * deviation + 0.02
    assert abs(float(x.cauchy_(1.0, 2.0).median()) - 1.0) < 0.1
    assert pl.randint_like(x, 3).max() == 2.0 and pl.empty(2, dtype=pl.int8).random_().max() <= 127
    assert pl.tensor([0.0, 1.0]).bernoulli().tolist() == [0.0, 1.0]
    with pytest.raises(ArgumentError, match="normal: two numbers need size="):
        pl.normal(0.0, 1.0)


def test_places_of_data_and_tensorboard():
    from penlight.utils.data import DataLoader
    from penlight.utils.tensorboard import SummaryWriter

    assert pl.utils.data is pl.data and DataLoader is pl.data.DataLoader
    assert SummaryWriter.__module__ == "penlight.train.tensorboard"
    with pytest.raises(AttributeError, match=r"module 'penlight.utils' has no attribute 'odd'"):
        _ = pl.utils.odd


def test_what_is_absent_says_what_to_do():
    with pytest.raises(AttributeError, match="models are exported instead"):
        _ = pl.jit
    for name in absent.HINTS:
        assert not hasattr(pl, name), "it is there now: take it off the table"
    assert absent.message("odd") == "module 'penlight' has no attribute 'odd'"


def test_only_inputs_of_grad():
    x = pl.ones(2, requires_grad=True)
    (g,) = pl.autograd.grad(outputs=(x * x).sum(), inputs=x, only_inputs=True)
    assert g.tolist() == [2.0, 2.0]

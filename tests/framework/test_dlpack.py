# SPDX-License-Identifier: Apache-2.0
"""DLPack both ways: NumPy and PyTorch, shared memory, types, layouts, read-only memory, versions, errors."""

import gc

import numpy as np
import pytest

import penlight as pl
from penlight.errors import DataError, DeviceError, DTypeError, GradientError, InPlaceError
from penlight.utils.dlpack import from_dlpack, to_dlpack

TYPES = (
    *("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"),
    *("complex64", "complex128", "uint16", "uint32", "uint64"),
)


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("versioned", [True, False])
def test_types_both_ways_with_torch(name, versioned):
    torch = pytest.importorskip("torch")
    ours = pl.tensor([[0, 1, 2], [3, 4, 5]]).to(getattr(pl, name))

    class Old:  # a producer or consumer from before max_version
        def __init__(self, tensor):
            self.tensor = tensor

        def __dlpack__(self, stream=None):
            return self.tensor.__dlpack__()

        def __dlpack_device__(self):
            return self.tensor.__dlpack_device__()

    theirs = torch.from_dlpack(ours if versioned else Old(ours))
    assert str(theirs.dtype) == f"torch.{name}" and theirs.data_ptr() == ours.data_ptr()
    back = pl.from_dlpack(theirs if versioned else Old(theirs))
    assert back.dtype is ours.dtype and back.shape == (2, 3) and back.data_ptr() == ours.data_ptr()
    assert back.tolist() == ours.tolist() == theirs.tolist()


@pytest.mark.parametrize("name", TYPES)
def test_types_both_ways_with_numpy(name):
    ours = pl.tensor([[0, 1, 2], [3, 4, 5]]).to(getattr(pl, name))
    if name == "bfloat16":
        with pytest.raises(RuntimeError, match="Unsupported dtype"):
            np.from_dlpack(ours)
        return
    array = np.from_dlpack(ours)
    assert array.dtype == ours.dtype.numpy and array.ctypes.data == ours.data_ptr()
    np.testing.assert_array_equal(pl.from_dlpack(array).numpy(), array)


def test_writes_are_seen_on_both_sides_and_memory_lives_on():
    torch = pytest.importorskip("torch")
    theirs = torch.zeros(4)
    ours = pl.from_dlpack(theirs)
    theirs[1] = 5.0
    ours[2] = 7.0
    assert ours.tolist() == theirs.tolist() == [0, 5, 7, 0]
    del theirs
    gc.collect()
    assert ours.tolist() == [0, 5, 7, 0]
    again = torch.from_dlpack(ours.to(pl.bfloat16))  # the only owner is the capsule
    gc.collect()
    assert again.tolist() == [0, 5, 7, 0]


def test_strides_offsets_and_sizes():
    torch = pytest.importorskip("torch")
    base = pl.arange(24.0).to(pl.bfloat16).reshape(4, 6)
    for ours in (base.T, base[1:, ::2], base[:, 3], base[2, 4], base[:0], base.reshape(1, 4, 6, 1)):
        theirs = torch.from_dlpack(ours)
        assert tuple(theirs.shape) == tuple(ours.shape) and theirs.tolist() == ours.tolist()
        assert pl.from_dlpack(theirs).tolist() == ours.tolist()


def test_read_only_memory_stays_read_only():
    array = np.arange(3.0)
    array.flags.writeable = False
    ours = pl.from_dlpack(array)
    with pytest.raises(InPlaceError, match="read-only"):
        ours.add_(1.0)
    assert not np.from_dlpack(ours).flags.writeable
    with pytest.raises(BufferError):
        ours.__dlpack__()  # the old protocol cannot say it
    assert pl.from_dlpack(array, copy=True).add_(1.0).tolist() == [1, 2, 3] and array[0] == 0


def test_copies_are_made_on_request():
    array = np.arange(3.0)
    assert pl.from_dlpack(array, copy=True).data_ptr() != array.ctypes.data
    assert pl.from_dlpack(array, copy=False, device="cpu").data_ptr() == array.ctypes.data
    ours = pl.ones(2)
    assert np.from_dlpack(ours, copy=True).ctypes.data != ours.data_ptr()


def test_capsules_are_used_once():
    ours = pl.tensor([1.0, 2.0])
    capsule = to_dlpack(ours)
    assert from_dlpack(capsule).data_ptr() == ours.data_ptr()
    with pytest.raises(DataError, match="a capsule can be used once"):
        from_dlpack(capsule)
    torch = pytest.importorskip("torch")
    assert torch.utils.dlpack.from_dlpack(to_dlpack(ours.to(pl.bfloat16))).tolist() == [1, 2]
    assert from_dlpack(torch.utils.dlpack.to_dlpack(torch.ones(2).bfloat16())).dtype is pl.bfloat16


def test_what_cannot_be_exchanged():
    with pytest.raises(GradientError, match=r"use tensor.detach\(\)"):
        pl.ones(2, requires_grad=True).__dlpack__()
    with pytest.raises(TypeError, match="expected an object with __dlpack__, or a capsule, came list"):
        pl.from_dlpack([1, 2])
    assert pl.ones(2).__dlpack_device__() == (1, 0)

    class Elsewhere:
        def __dlpack_device__(self):
            return 7, 0

    with pytest.raises(DeviceError, match="device type 7 is neither"):
        pl.from_dlpack(Elsewhere())


def test_types_that_no_one_here_has():
    torch = pytest.importorskip("torch")
    with pytest.raises(DTypeError, match="NumPy does not take the type"):
        pl.from_dlpack(torch.zeros(2, dtype=torch.float8_e5m2))

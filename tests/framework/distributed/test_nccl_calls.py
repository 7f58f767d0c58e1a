# SPDX-License-Identifier: Apache-2.0
"""The NCCL engine without a GPU: what it calls is what CuPy's compiled module declares, with the arguments in place."""

import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest

from penlight.distributed.nccl import DATATYPES, OPERATIONS, NcclEngine

SIGNATURES = {
    "allReduce": "(self, intptr_t sendbuf, intptr_t recvbuf, size_t count, int datatype, int op, intptr_t stream)",
    "allGather": "(self, intptr_t sendbuf, intptr_t recvbuf, size_t count, int datatype, intptr_t stream)",
    "broadcast": "(self, intptr_t sendbuff, intptr_t recvbuff, size_t count, int datatype, int root, intptr_t stream)",
}


@pytest.fixture(scope="module")
def compiled():
    """The text in CuPy's nccl module; it cannot be imported where NCCL is missing."""
    pytest.importorskip("cupy_backends", reason="needs CuPy")
    spec = importlib.util.find_spec("cupy_backends.cuda.libs.nccl")
    with open(spec.origin, "rb") as file:
        return file.read()


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(compiled, name):
    assert f"NcclCommunicator.{name}{SIGNATURES[name]}".encode() in compiled


def test_constants_and_the_id(compiled):
    for name in {*DATATYPES.values(), *OPERATIONS.values()}:
        assert b"\0NCCL_" + name.encode() + b"\0" in compiled, name
    assert b"NcclCommunicator(int ndev, bytes commId, int rank" in compiled


class Communicator:
    """Takes down the calls."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        return lambda *arguments: self.calls.append((name, arguments))


def engine_without_device():
    engine = object.__new__(NcclEngine)
    names = {*DATATYPES.values(), *OPERATIONS.values()}
    engine.nccl = SimpleNamespace(**{f"NCCL_{name}": name for name in names})
    engine.communicator, engine.rank, engine.size = Communicator(), 0, 2

    def launch(collective, result, source=None):
        collective("stream")
        return SimpleNamespace(wait=lambda: result)

    engine._launch = launch
    return engine


def array(dtype, size):
    dtype = np.dtype(dtype)
    return SimpleNamespace(dtype=dtype, size=size, nbytes=size * dtype.itemsize, data=SimpleNamespace(ptr=64), shape=(size,))


def test_arguments_are_in_place():
    engine = engine_without_device()
    engine.all_reduce(array(np.float32, 3), "max")
    engine.all_reduce(array(np.complex128, 3), "sum")
    engine.broadcast(array(np.int64, 3), 1)
    assert engine.communicator.calls == [
        ("allReduce", (64, 64, 3, "FLOAT32", "MAX", "stream")),
        ("allReduce", (64, 64, 6, "FLOAT64", "SUM", "stream")),
        ("broadcast", (64, 64, 24, "UINT8", 1, "stream")),
    ]


def test_the_id_reaches_every_rank_unchanged():
    sent = []
    world = SimpleNamespace(
        Bcast=lambda values, root: sent.append(values) if values.any() else values.__setitem__(slice(None), sent[-1])
    )
    for own in (bytes(range(128)), tuple(range(-64, 64))):
        for rank in range(2):
            engine = engine_without_device()
            engine.world, engine.rank, engine.nccl.get_unique_id = world, rank, lambda own=own: own
            assert engine._shared_id() == own

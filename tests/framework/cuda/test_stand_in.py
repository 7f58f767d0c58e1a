# SPDX-License-Identifier: Apache-2.0
"""The stand-in of CuPy has nothing that CuPy lacks: what runs on it finds the same names on a GPU."""

import fake_cuda as stand_in
import pytest


def public(owner):
    return {name for name in vars(owner) if not name.startswith("_")}


def test_every_name_of_the_stand_in_is_one_of_cupy():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed (penlight[cuda13])")
    fake = stand_in.cupy()
    pairs = [
        (stand_in.Stream, cupy.cuda.Stream, {"ticks", "current", "capturing", "is_capturing", "entered"}),
        (stand_in.Event, cupy.cuda.Event, set()),
        (stand_in.Graph, cupy.cuda.Graph, set()),
        (stand_in.MemoryPool, cupy.cuda.MemoryPool, set()),
        (stand_in.MemoryHook, cupy.cuda.MemoryHook, {"active"}),
        (stand_in.Device, cupy.cuda.Device, {"current", "number"}),
        (stand_in.Array, cupy.ndarray, set()),
        (fake.cuda, cupy.cuda, set()),
        (fake.cuda.runtime, cupy.cuda.runtime, set()),
        (fake.cuda.memory, cupy.cuda.memory, set()),
    ]
    missing = {
        f"{real.__name__}.{name}"
        for ours, real, own in pairs
        for name in (public(ours) if isinstance(ours, type) else set(vars(ours))) - own
        if not hasattr(real, name)
    }
    assert missing == set()
    assert {"machine"} == {name for name in vars(fake) if not name.startswith("_") and not hasattr(cupy, name)}

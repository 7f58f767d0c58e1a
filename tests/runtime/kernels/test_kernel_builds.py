# SPDX-License-Identifier: Apache-2.0
"""The kernels in other builds: with the baseline vectors alone, and under the sanitizers."""

import ctypes
import struct

import numpy as np
import pytest
from kernel_runner import node_program, rand
from native_builds import build_runtime, run
from onnx_nodes import node_cases

import penlight_runtime

GCC = ("gcc", "g++")
QUICK = ("-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG=-O1 -g")


def tolerance_of(outputs):
    """16-bit floats have 8 to 11 bits of fraction; float32 sums are in another order in another build."""
    return 2e-2 if any(o is not None and o.dtype.itemsize == 2 and o.dtype.kind in "fV" for o in outputs) else 1e-3


def node_programs():
    """A program for every case of the onnx package that runs, its expected outputs as golden sample."""
    for case in node_cases():
        options = {"domain": case.domain, "version": case.version, "tolerance": tolerance_of(case.outputs), **case.attributes}
        for known in ((), range(1, len(case.inputs)), range(len(case.inputs))):
            data = node_program(case.operator, case.inputs, case.outputs, known=known, **options)
            try:
                penlight_runtime.Program(data).self_test()
            except penlight_runtime.RuntimeFailure:
                continue
            yield case.name, data
            break


def large_programs():
    """Products and convolutions that need whole tiles, partial ones, several blocks and several passes."""
    for m, n, k in [(7, 65, 31), (13, 40, 800), (1, 200, 33), (100, 3, 1)]:
        a, b, c = rand(m, k), rand(k, n, seed=1), rand(n, seed=2)
        wanted = (a.astype(np.float64) @ b + c).astype(np.float32)
        yield f"gemm {m}x{n}x{k}", node_program("Gemm", [a, b, c], [wanted], tolerance=1e-3)
    for x, weight, attributes in [
        ((2, 16, 20, 21), (50, 16, 3, 3), {"pads": [1, 1, 1, 1]}),
        ((1, 8, 40, 21), (16, 1, 3, 3), {"strides": [2, 2], "group": 8}),
        ((1, 70, 9, 9), (9, 70, 1, 1), {}),
    ]:
        images, filters = rand(*x), rand(*weight, seed=1)
        program = node_program("Conv", [images, filters], [np.empty((x[0], weight[0], 1, 1), np.float32)], **attributes)
        (wanted,) = penlight_runtime.Program(program).session().run({"x0": images, "x1": filters}).values()
        yield f"conv {x}", node_program("Conv", [images, filters], [wanted], tolerance=1e-3, **attributes)


@pytest.fixture(scope="module")
def programs():
    return [*node_programs(), *large_programs()]


@pytest.mark.slow
def test_baseline_vectors_give_the_same_answers(programs, tmp_path):
    build_runtime(tmp_path, GCC, "penlight_shared", "-DPENLIGHT_BUILD_SHARED=ON", "-DCMAKE_CXX_FLAGS=-DPENLIGHT_BASELINE_ONLY")
    library = ctypes.CDLL(str(tmp_path / "libpenlight.so"))
    failures = []
    for name, data in programs:
        buffer = ctypes.create_string_buffer(len(data) + 64)
        address = (ctypes.addressof(buffer) + 63) // 64 * 64
        ctypes.memmove(address, data, len(data))
        program, error = ctypes.c_void_p(), ctypes.create_string_buffer(512)
        assert (
            library.penlight_program_load(ctypes.c_void_p(address), ctypes.c_size_t(len(data)), None, ctypes.byref(program), error)
            == 0
        )
        if library.penlight_program_self_test(program, error) != 0:
            failures.append(f"{name}: {error.raw[4:].split(bytes(1))[0].decode()}")
        library.penlight_program_free(program)
    assert not failures, "\n".join(failures)
    assert len(programs) > 700


@pytest.mark.slow
def test_no_sanitizer_reports(programs, tmp_path):
    options = ("-DPENLIGHT_BUILD_TESTS=ON", "-DPENLIGHT_SANITIZE=address,undefined", "-DPENLIGHT_BUILD_SHARED=OFF", *QUICK)
    build_runtime(tmp_path, GCC, "penlight_replay_bundle", *options)
    bundle = tmp_path / "bundle"
    bundle.write_bytes(b"".join(struct.pack("<Q", len(data)) + data for _, data in programs))
    output = run(next(tmp_path.rglob("penlight_replay_bundle")), bundle, tmp_path / "last.pen", timeout=600)
    ran, refused = (int(word) for word in output.split() if word.isdigit())
    assert ran + refused == len(programs) and ran > 700

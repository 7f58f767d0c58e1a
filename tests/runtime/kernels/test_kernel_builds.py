# SPDX-License-Identifier: Apache-2.0
"""The kernels with the baseline vectors alone; test_native.py runs them under the sanitizers."""

import ctypes

import pytest
from kernel_programs import all_programs
from native_builds import QUICK, build_runtime

GCC = ("gcc", "g++")


@pytest.mark.slow
def test_baseline_vectors_give_the_same_answers(tmp_path):
    programs = all_programs()
    build_runtime(tmp_path, GCC, "penlight_shared", *QUICK, "-DCMAKE_CXX_FLAGS=-DPENLIGHT_BASELINE_ONLY")
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

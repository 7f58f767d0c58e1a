# SPDX-License-Identifier: Apache-2.0
"""The C header: C99 and C++, at most 40 functions, documented numbers."""

import pytest
from native_builds import HEADER_FUNCTIONS, ROOT, need, run

HEADER = ROOT / "runtime/include/penlight.h"


def test_at_most_forty_functions():
    assert 20 <= len(HEADER_FUNCTIONS) == len(set(HEADER_FUNCTIONS)) <= 40


@pytest.mark.parametrize(
    ("compiler", "standard", "suffix"), [("gcc", "c99", "c"), ("g++", "c++11", "cpp"), ("clang-16", "c99", "c")]
)
def test_compiles_alone(tmp_path, compiler, standard, suffix):
    need(compiler)
    source = tmp_path / f"use.{suffix}"
    source.write_text("#include <penlight.h>\nint main(void) { return PENLIGHT_OK; }\n")
    warnings = ["-Wall", "-Wextra", "-pedantic", "-Werror"]
    run(compiler, f"-std={standard}", *warnings, "-fsyntax-only", "-I", HEADER.parent, source)


@pytest.mark.parametrize("compiler", ["g++", "clang++-16"])
def test_cpp_program_of_the_tests_is_cpp17_without_exceptions(compiler):
    need(compiler)
    source = ROOT / "tests/runtime/native/cpp_api.cpp"
    warnings = ["-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror"]
    run(compiler, "-std=c++17", "-fno-exceptions", "-fno-rtti", *warnings, "-fsyntax-only", "-I", HEADER.parent, source)


def test_c_program_of_the_tests_is_c99():
    need("gcc")
    source = ROOT / "tests/runtime/native/c_api.c"
    run("gcc", "-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only", "-I", HEADER.parent, source)


def test_is_ascii():
    assert HEADER.read_text().isascii()

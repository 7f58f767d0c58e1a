# SPDX-License-Identifier: Apache-2.0
"""runtime/tools/amalgamate.py: selection, order, and one file that compiles without warnings."""

import itertools
import shutil
import subprocess
import sys

import pytest

from penlight_mobile import sources

amalgamate = sources.amalgamate()
Operator = amalgamate.Operator
FLAGS = ["-std=c++17", "-O0", "-fno-exceptions", "-fno-rtti", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-c"]


def script(*arguments):
    command = [sys.executable, sources.runtime_folder() / "tools/amalgamate.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize("compiler", ["g++", "clang++-16", "aarch64-linux-gnu-g++"])
def test_all_kernels_compile_in_one_file(tmp_path, compiler):
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    assert script("--operators", "all", "--output", tmp_path).returncode == 0
    done = subprocess.run([compiler, *FLAGS, "penlight.cpp"], cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_kernel_line_is_read():
    text = (sources.runtime_folder() / "kernels/kernels.inc").read_text()
    assert len(amalgamate.kernel_lines()) == sum(line.startswith("PENLIGHT_KERNEL(") for line in text.splitlines())


def test_each_guarded_header_stands_once_and_no_local_include_is_left(tmp_path):
    text = amalgamate.amalgamate([Operator("", "Relu", 14)])
    assert '#include "' not in text.replace('#include "penlight.h"', "", 1)
    assert "#pragma once" not in text
    assert text.count("// kernels/kernel.h\n") == text.count("// core/program.h\n") == 1
    assert "// kernels/conv.cpp\n" not in text


def test_system_headers_stand_at_the_top():
    lines = amalgamate.amalgamate([]).splitlines()
    depths = list(itertools.accumulate(line.startswith("#if") - line.startswith("#endif") for line in lines))
    places = {line: i for i, line in enumerate(lines) if line.startswith("#include <") and depths[i] == 0}
    assert max(places.values()) < 30 and "#include <stdint.h>" in places
    # What bare metal lacks is included where the build asks for it.
    assert not {"#include <pthread.h>", "#include <time.h>", "#include <stdlib.h>"} & places.keys()


def test_versions_select():
    lines = amalgamate.kernel_lines()
    (low,) = [line.versions[0] for line in lines if line.name == "Relu"]
    assert [line.name for line in amalgamate.select([Operator("", "Relu", low)], lines)] == ["Relu"]
    with pytest.raises(amalgamate.MissingKernels, match=f"Relu:{low - 1}"):
        amalgamate.select([Operator("", "Relu", low - 1)], lines)


def test_command_line_reports_all_missing_operators(tmp_path):
    done = script("--operators", "Relu NoSuch ai.nowhere/Other:3", "--output", tmp_path / "out")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "amalgamate: the runtime has no kernel for: NoSuch, ai.nowhere/Other:3\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["", "Relu:x", "a/b/c", "Relu 14"])
def test_operator_syntax(text):
    with pytest.raises(ValueError, match="expected"):
        Operator.parse(text)

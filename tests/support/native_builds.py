# SPDX-License-Identifier: Apache-2.0
"""Builds the runtime with other compilers and flags, for tests."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
JOBS = str(os.cpu_count() or 1)
QUICK = ("-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG=-O1")  # what a test of behaviour needs; -O2 compiles twice as long
HEADER_FUNCTIONS = re.findall(r"PENLIGHT_API[^;]*?\b(penlight_\w+)\(", (ROOT / "runtime/include/penlight.h").read_text())


def need(*programs: str) -> None:
    """Skips the test when a program is not installed."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def build_runtime(folder: Path, compiler: tuple[str, str], target: str, *options: str) -> Path:
    """Configures and builds a target of runtime/CMakeLists.txt with warnings as errors; returns the build folder."""
    need("cmake", *compiler)
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    settings = [f"-DCMAKE_C_COMPILER={compiler[0]}", f"-DCMAKE_CXX_COMPILER={compiler[1]}", "-DPENLIGHT_WERROR=ON", *options]
    run("cmake", "-S", ROOT / "runtime", "-B", folder, *generator, *settings)
    run("cmake", "--build", folder, "--parallel", JOBS, "--target", target)
    return folder


def run(*command: object, timeout: float = 3600, **options) -> str:
    """Runs a command and returns its output; a failure shows that output."""
    words = [str(word) for word in command]
    result = subprocess.run(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=timeout, **options
    )
    assert result.returncode == 0, f"{' '.join(words)}: exit {result.returncode}\n{result.stdout[-6000:]}"
    return result.stdout

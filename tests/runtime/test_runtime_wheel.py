# SPDX-License-Identifier: Apache-2.0
"""runtime/python/pyproject.toml: the wheel penlight-runtime, which is the edge runtime and NumPy alone."""

import ast
import sys

from native_builds import ROOT

PROJECT = ROOT / "runtime/python/pyproject.toml"
STANDARD = sys.stdlib_module_names


def field(path, name):
    (line,) = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith(f"{name} = ")]
    return ast.literal_eval(line.split(" = ", 1)[1])


def test_version_is_that_of_the_whole():
    assert field(PROJECT, "version") == field(ROOT / "pyproject.toml", "version")
    assert field(PROJECT, "requires-python") == field(ROOT / "pyproject.toml", "requires-python")


def test_needs_numpy_only():
    assert [text.split(">")[0] for text in field(PROJECT, "dependencies")] == ["numpy"]
    imported = set()
    for path in (ROOT / "runtime/python/penlight_runtime").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {name.name.split(".")[0] for name in node.names}
            if isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").split(".")[0])
    # bfloat16 programs alone want ml_dtypes, and say so.
    assert imported - STANDARD <= {"numpy", "penlight_runtime", "ml_dtypes"}


def test_sources_are_found_from_the_folder():
    text = (ROOT / "runtime/python/wheel/CMakeLists.txt").read_text(encoding="utf-8")
    assert field(PROJECT, "cmake.source-dir") == "wheel" and "/../.. runtime)" in text
    assert field(PROJECT, "wheel.packages") == ["penlight_runtime"]

# SPDX-License-Identifier: Apache-2.0
"""What `import penlight` needs, and what it leaves for later."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import penlight as pl
from penlight.ops.registry import operators

PACKAGE = Path(pl.__file__).parent


def run(code, **environment):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment})


def test_a_tree_that_was_not_built_says_so(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "penlight", ignore=shutil.ignore_patterns("_native*", "__pycache__"))
    done = run("import penlight", PYTHONPATH=str(tmp_path))
    message = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and message.startswith("ImportError: penlight: the compiled module penlight._native is missing")
    assert str(tmp_path / "penlight") in message and "`pip install .`" in message


def test_a_compiled_module_that_does_not_load_is_another_error(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "penlight", ignore=shutil.ignore_patterns("_native*.so", "__pycache__"))
    (tmp_path / "penlight" / "_native.py").write_text("import a_module_that_is_missing\n")
    done = run("import penlight", PYTHONPATH=str(tmp_path))
    assert done.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'a_module_that_is_missing'"


def test_nothing_is_imported_that_can_wait():
    """These take a fifth of the time of an import; numpy itself imports inspect, ast and pickle."""
    late = ["numpy.random", "hashlib", "secrets", "random", "multiprocessing", "socket", "subprocess", "asyncio", "zipfile", "json"]
    late += [
        f"penlight.{name}" for name in ("nn", "optim", "data", "train", "models", "amp", "func", "distributed", "utils", "files")
    ]
    done = run(
        f"import sys, numpy; before = set(sys.modules); import penlight; print(*({{*{late}}} & (set(sys.modules) - before)))"
    )
    assert done.stderr == "" and done.stdout.split() == []


def test_operator_classes_are_made_without_generated_code():
    """A dataclass compiles text for each class, half a millisecond: there are 200 operators."""
    assert [cls for cls in operators().values() if "__dataclass_fields__" in vars(cls)] == []

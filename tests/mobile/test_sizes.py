# SPDX-License-Identifier: Apache-2.0
"""The runtime grows by no more than 2 % over tests/benchmarks/results/sizes.json, which runtime/tools/sizes.py writes."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = json.loads((ROOT / "tests/benchmarks/results/sizes.json").read_text(encoding="utf-8"))
PARTS = ("text", "constants", "data")
REMEDY = "make it smaller, or record the new sizes: python runtime/tools/sizes.py --write tests/benchmarks/results/sizes.json"


@pytest.fixture(scope="module")
def sizes():
    """The script as a module; it imports amalgamate.py beside it."""
    folder = ROOT / "runtime/tools"
    sys.path.insert(0, str(folder))
    try:
        spec = importlib.util.spec_from_file_location("sizes", folder / "sizes.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules["sizes"] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(folder))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "row"), [("x86-64", "core"), ("aarch64", "core"), ("cortex-m4", "core"), ("cortex-m4", "int8 cnn")]
)
def test_no_more_than_two_percent_above_the_table(sizes, tmp_path, target, row):
    version = sizes.TARGETS[target].version()
    if version is None:
        pytest.skip(f"{sizes.TARGETS[target].compiler} is not installed")
    if version != COMMITTED[target]["compiler"]:
        pytest.skip(f"the table is of {COMMITTED[target]['compiler']}, this is {version}, which makes other code")
    found = sizes.measure(row, sizes.TARGETS[target], tmp_path)
    before = sum(COMMITTED[target][row][part] for part in PARTS)
    now = sum(found[part] for part in PARTS)
    assert now <= before * 1.02, f"{row} on {target} takes {now:,} bytes, {now - before:,} more than recorded; {REMEDY}"


def test_table_holds_every_target_and_row(sizes):
    assert set(sizes.TARGETS) <= set(COMMITTED)
    for name in sizes.TARGETS:
        assert {"compiler", "core", "float cnn", "int8 cnn"} <= set(COMMITTED[name]) <= {"compiler", *sizes.ROWS}


def test_all_kernels_stay_below_the_promise():
    """900 KiB on aarch64, one instruction set, at -Os."""
    assert sum(COMMITTED["aarch64"]["all kernels"][part] for part in PARTS) <= 900 << 10


def test_bytes_of_a_file_are_told_apart(sizes):
    """A file goes on behind what it includes."""
    text = sizes.amalgamate.amalgamate([sizes.amalgamate.Operator.parse("Relu:14")])
    files = list(sizes._file_of_lines(text))
    (line,) = [i for i, line in enumerate(text.splitlines()) if line.startswith("Status relu_run(Context& context) {")]
    assert files[line] == "kernels/unary.cpp"

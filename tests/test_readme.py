# SPDX-License-Identifier: Apache-2.0
"""Every example in the README runs, and what it says of the project is true."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.S)
PENLIGHT = [sys.executable, "-m", "penlight_cli"]


def run(command: list[str], folder: Path) -> str:
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
    return result.stdout


def test_python_example(tmp_path):
    (code,) = [text for language, text in BLOCKS if language == "python"]
    assert len([line for line in code.splitlines() if line.strip()]) <= 25
    printed = run([sys.executable, "-c", code], tmp_path)
    assert float(printed.split()[-1]) >= 0.9
    assert (tmp_path / "digits.pen").exists()


def test_command_line_example(tmp_path):
    commands = [line for language, text in BLOCKS if language == "sh" for line in text.splitlines() if line.startswith("penlight ")]
    assert len(commands) >= 5
    for command in commands:
        run([*PENLIGHT, *shlex.split(command)[1:]], tmp_path)


def test_every_verb_is_named():
    listed = run([*PENLIGHT, "--help"], ROOT)
    verbs = re.findall(r"^  ([a-z]+)  ", listed.partition("Commands:")[2], flags=re.M)
    assert len(verbs) >= 12
    for verb in verbs:
        assert re.search(rf"\b{verb}\b", README), f"the README does not name {verb}"


def test_header_is_as_small_as_the_readme_says():
    header = (ROOT / "runtime/include/penlight.h").read_text(encoding="ascii")
    functions = len(set(re.findall(r"\b(penlight_\w+)\(", re.sub(r"/\*.*?\*/", "", header, flags=re.S))))
    assert f"a C header of {functions} functions" in README
    assert functions <= 40


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#:]+)\)", README))
def test_links_lead_somewhere(target):
    assert (ROOT / target).exists()

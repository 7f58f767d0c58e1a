# SPDX-License-Identifier: Apache-2.0
"""The output contract, the same for every command: help, JSON, exit codes, error lines, imports."""

import errno
import importlib
import importlib.machinery
import importlib.util
import inspect
import json
import os
import subprocess
import sys
import types

import pytest
from cli_runner import command_line, in_process, in_shell

from penlight_cli import failure
from penlight_cli.commands.explain import PACKAGES
from penlight_cli.main import VERBS

OURS = {"penlight", "penlight_export", "penlight_runtime", "penlight_serving", "penlight_mobile"}
HEAVY = OURS | {"numpy", "onnx", "onnx_ir", "onnxruntime", "PIL", "rich", "starlette", "uvicorn"}
RUN_HERE = """
import sys
from penlight_cli.main import main
for line in sys.argv[1:]:
    main(line.split())
print("loaded:", *sys.modules)
"""

# For each verb, arguments that name something that is not there, and the exit code.
FAILURES = {
    "quickstart": (["--out", "/dev/null/x"], 3),
    "train": (["no-such-recipe"], 2),
    "launch": (["--ranks", "0"], 2),
    "export": (["no-such-run"], 3),
    "convert": (["no-such.onnx"], 3),
    "inspect": (["no-such.onnx"], 3),
    "view": (["no-such.onnx"], 3),
    "run": (["no-such.onnx", "x.npy"], 3),
    "verify": (["no-such.onnx", "no-such.pen"], 3),
    "bench": (["no-such.onnx"], 3),
    "serve": (["no-such.onnx"], 3),
    "package": (["no-such.pen", "--output", "x"], 3),
    "doctor": (["--no-such-option"], 2),
    "operators": (["no-such-operator"], 2),
    "explain": (["PL-E9999"], 2),
}


def modules_after(*lines):
    """The top-level modules that are loaded after some command lines, and what was printed."""
    result = subprocess.run([sys.executable, "-c", RUN_HERE, *lines], capture_output=True, text=True, check=True)
    text, loaded = result.stdout.split("loaded:")
    return {name.split(".")[0] for name in loaded.split()}, text


def test_help_lists_every_verb_and_imports_nothing_heavy():
    loaded, text = modules_after("--help")
    assert all(verb in text for verb in VERBS)
    assert not HEAVY & loaded


def test_usage_errors_import_nothing_heavy():
    loaded, _ = modules_after("trian", "train --x", "explain --help", "doctor --jsn")
    assert not HEAVY & loaded


def test_no_arguments_is_help(capsys):
    assert in_process(capsys).out == in_process(capsys, "--help").out


def test_version(capsys):
    outcome = in_process(capsys, "--version")
    assert outcome.code == 0 and outcome.out.startswith("penlight ")


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_each_verb_has_an_example(capsys, verb):
    outcome = in_process(capsys, verb, "--help")
    assert outcome.code == 0 and not outcome.err
    assert f"Example: penlight {verb}" in outcome.out
    for option in ("--json", "--quiet", "--no-color", "--debug", "--help"):
        assert option in outcome.out
    assert VERBS[verb] in outcome.out


def test_summaries_are_not_cut_in_the_list_of_verbs(capsys):
    text = in_process(capsys, "--help").out
    assert all(summary in text for summary in VERBS.values())


@pytest.mark.parametrize("verb", VERBS)
def test_failure_is_one_line_and_one_json_object(capsys, tmp_path, monkeypatch, verb):
    monkeypatch.chdir(tmp_path)
    arguments, exit_code = FAILURES[verb]
    in_process(capsys, verb, *arguments).failed_cleanly(exit_code)
    outcome = in_process(capsys, verb, *arguments, "--json")
    outcome.failed_cleanly(exit_code)
    assert outcome.json["schema"] == f"penlight.{verb}/1" and outcome.json["ok"] is False
    assert outcome.json["error"]["exit_code"] == exit_code and outcome.json["error"]["code"].startswith("PL-E")
    assert outcome.json["error"]["message"] in outcome.err
    assert not list(tmp_path.iterdir())


def test_unknown_verb_and_option_are_met_with_the_nearest(capsys):
    in_process(capsys, "trian").failed_cleanly(2, "did you mean 'train'?")
    in_process(capsys, "doctor", "--jsn").failed_cleanly(2, "did you mean --json?")
    in_process(capsys, "--verison").failed_cleanly(2, "--version")
    in_process(capsys, "explain", "PL-E5O01").failed_cleanly(2, "did you mean 'PL-E5001'?")
    in_process(capsys, "train", "digit-cnn").failed_cleanly(2, "did you mean 'digits-cnn'?")
    in_process(capsys, "train", "digits-cnn", "--epochs", "many").failed_cleanly(2, "--epochs")
    in_process(capsys, "inspect").failed_cleanly(2, "Missing argument")


def test_traceback_only_with_debug(capsys):
    assert "Traceback" not in in_process(capsys, "inspect", "nothing.onnx").err
    assert "Traceback" in in_process(capsys, "inspect", "nothing.onnx", "--debug").err


def test_exit_codes_reach_the_shell(tmp_path):
    assert in_shell("doctor", "--quiet").code == 0
    in_shell("inspect", tmp_path / "none.onnx").failed_cleanly(3, "none.onnx")
    in_shell("nonsense").failed_cleanly(2)


def test_closed_pipe_is_no_error():
    process = subprocess.Popen(command_line("explain"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.wait(timeout=600) == 0
    assert process.stderr.read() == b""
    process.stderr.close()


def test_no_colour_when_piped_or_asked_not_to(capsys):
    assert "\x1b" not in in_shell("nonsense", FORCE_COLOR="1", NO_COLOR="1").err
    assert "\x1b" not in in_process(capsys, "nonsense").err


def test_explain_lists_and_explains_every_code(capsys):
    listed = in_process(capsys, "explain", "--json").json["codes"]
    codes = [entry["code"] for entry in listed]
    assert codes == sorted(codes) and len(codes) == len(set(codes))
    assert {code[:5] for code in codes} >= {"PL-E1", "PL-E2", "PL-E3", "PL-E4", "PL-E5"}
    for entry in listed:
        assert len(entry["summary"]) > 20, entry
        assert entry["exit_code"] in {1, 2, 3, 4, 5, 130}, entry
    one = in_process(capsys, "explain", "pl-e5003", "--json").json
    assert one["code"] == "PL-E5003" and "truncated" in one["explanation"]
    assert "PL-E5003 InputFormat (exit code 3)" in in_process(capsys, "explain", "PL-E5003").out


def test_each_code_is_declared_once():
    declared = {}
    for package in PACKAGES:
        for kind in vars(importlib.import_module(f"{package}.errors")).values():
            if inspect.isclass(kind) and "code" in vars(kind) and kind.__module__ == f"{package}.errors":
                assert declared.setdefault(kind.code, kind) is kind, f"{kind} and {declared[kind.code]} have the same code"
    assert len(declared) > 50


def test_doctor_reports_the_gpu_without_failing(capsys):
    facts = in_process(capsys, "doctor", "--json").json
    assert facts["ok"] and isinstance(facts["gpu"]["available"], bool) and facts["gpu"]["state"]
    assert facts["cpu"]["cores"] >= 1 and facts["packages"]["numpy"][0].isdigit()
    assert facts["native"]["penlight_runtime"] == "ok" and facts["edge_operators"] > 10
    text = in_process(capsys, "doctor").out
    assert "Traceback" not in text and "gpu" in text and "processor" in text


@pytest.mark.parametrize(
    ("missing", "words"), [("driver", "no NVIDIA driver is installed"), ("cupy", "pip install 'penlight[cuda13]'")]
)
def test_doctor_says_in_words_why_there_is_no_gpu(capsys, monkeypatch, missing, words):
    runtime = types.SimpleNamespace(driverGetVersion=lambda: 0)
    cupy = types.ModuleType("cupy")
    cupy.cuda = types.SimpleNamespace(is_available=lambda: False, runtime=runtime)
    monkeypatch.setitem(sys.modules, "cupy", cupy if missing == "driver" else None)
    find = importlib.util.find_spec
    spec = importlib.machinery.ModuleSpec("cupy", None) if missing == "driver" else None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: spec if name == "cupy" else find(name, *rest))
    importlib.import_module("penlight.backends.cuda").backend.cache_clear()
    state = in_process(capsys, "doctor", "--json").json["gpu"]["state"]
    assert words in state and "Error" not in state, state


def test_doctor_names_the_line_that_installs_an_extra(capsys, monkeypatch):
    extras = importlib.import_module("penlight_cli.commands.doctor").EXTRAS
    monkeypatch.setitem(extras, "nothing_here", ("nothing", "a test", "pip install x"))
    assert "not installed (a test): pip install x" in in_process(capsys, "doctor").out


@pytest.mark.parametrize(
    ("error", "code", "exit_code", "words"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a.txt"), "PL-E5002", 3, "a.txt: No such file"),
        (OSError(errno.ENOSPC, "No space left on device", "m.pen"), "PL-E5006", 3, "m.pen: the disk is full"),
        (OSError(errno.EADDRINUSE, "Address already in use"), "PL-E5001", 2, "choose another --host or --port"),
        (ModuleNotFoundError("No module named 'cupy'", name="cupy"), "PL-E5005", 4, "pip install 'penlight[cuda13]'"),
        (ModuleNotFoundError("No module named 'penlight.x'", name="penlight.x"), "PL-E5000", 1, "defect"),
        (MemoryError("cannot allocate 8 GiB"), "PL-E5004", 3, "not enough memory"),
        (ValueError("matmul: shapes differ"), "PL-E5004", 3, "matmul: shapes differ"),
        (KeyError("x"), "PL-E5000", 1, "--debug"),
        (KeyboardInterrupt(), "PL-E5009", 130, "interrupted"),
    ],
)
def test_exceptions_become_codes(error, code, exit_code, words):
    found = failure.failure_of(error)
    assert (found.code, found.exit_code) == (code, exit_code) and words in found.message


def test_json_has_no_nan(capsys):
    from penlight_cli import output

    output._print_json({"a": float("nan"), "b": [float("inf"), 1.5], "c": os})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [None, 1.5], "c": str(os)}


def test_table_aligns_numbers_right():
    from penlight_cli.output import table

    lines = table(["Name", "Size"], [["a", 5], ["bcd", 1234]], "").splitlines()
    assert lines == ["Name  Size", "----  ----", "a        5", "bcd   1234"]

# SPDX-License-Identifier: Apache-2.0
"""`penlight train`: what it writes, how it stops and goes on, and what it refuses."""

import gzip
import io
import json
import os
import re
import resource
import signal
import struct
import subprocess
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from cli_runner import command_line, in_process, in_shell
from PIL import Image

from penlight_cli.training import warm_up_then_cosine

SHORT = ("--epochs", 1, "--batch-size", 128)


def weights_of(folder):
    """The SHA-256 of the weights, as the checkpoint notes it."""
    return json.loads((folder / "checkpoint" / "checkpoint.json").read_text())["weights"]["sha256"]


def test_a_run_leaves_everything_behind(trained):
    folder, outcome = trained
    said = outcome.json
    assert said["schema"] == "penlight.train/1" and said["ok"] and said["recipe"] == "digits-cnn"
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert lines == said["history"] and [line["epoch"] for line in lines] == [1, 2]
    assert lines[1]["validation_accuracy"] > 0.9 and lines[1]["validation_loss"] < lines[0]["validation_loss"]
    Image.open(io.BytesIO((folder / "curve.png").read_bytes())).load()
    assert ET.parse(folder / "curve.svg").getroot().tag.endswith("svg")
    assert [os.path.basename(entry["path"]) for entry in said["files"]] == ["model.onnx", "model.pen"]
    for entry in said["files"]:
        assert os.path.getsize(entry["path"]) == entry["size_bytes"] > 10_000
    assert said["report"] == json.loads((folder / "verify.json").read_text())


def test_progress_goes_to_stderr_in_plain_lines(trained):
    _, outcome = trained
    assert re.search(r"^digits-cnn: +\d %  epoch 1/2  loss", outcome.err, re.M) and "100 %" in outcome.err
    assert "epoch 2/2: train loss" in outcome.err and "\x1b" not in outcome.err and "\r" not in outcome.err


def test_another_seed_gives_other_weights(trained, tmp_path):
    # That the same seed gives the same weights, the tests of signals below show.
    assert in_shell("train", "digits-cnn", "--out", tmp_path, "--seed", 1, "--epochs", 2, "--batch-size", 64).code == 0
    assert weights_of(tmp_path) != weights_of(trained[0])


def test_a_folder_with_a_run_is_not_overwritten_unasked(capsys, trained):
    folder, _ = trained
    before = weights_of(folder)
    in_process(capsys, "train", "digits-cnn", "--out", folder).failed_cleanly(2, "--resume", "--overwrite")
    assert weights_of(folder) == before


def test_overwrite_forgets_the_old_run(trained, tmp_path, capsys):
    copy = tmp_path / "run"
    subprocess.run(["cp", "-r", trained[0], copy], check=True)
    options = ("--overwrite", *SHORT, "--lr", 1e30)
    in_process(capsys, "train", "digits-cnn", "--out", copy, *options).failed_cleanly(5)
    assert not (copy / "model.pen").exists() and not (copy / "checkpoint" / "checkpoint.json").exists()


def test_resume_refuses_other_options(capsys, trained):
    folder, _ = trained
    in_process(capsys, "train", "digits-cnn", "--out", folder, "--resume", "--epochs", 3).failed_cleanly(2, "epochs 2, not 3")
    in_process(capsys, "train", "char-gpt", "--out", folder, "--resume").failed_cleanly(2, "digits-cnn")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_resume_ends_in_the_same_weights(trained, tmp_path, number, code):
    folder, _ = trained
    out = tmp_path / "run"
    arguments = ("train", "digits-cnn", "--out", out, "--epochs", 2, "--batch-size", 64)
    process = subprocess.Popen(command_line(*arguments), stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "digits-cnn:" in line:
            process.send_signal(number)
            break
    rest = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=600) == code, rest
    assert "error PL-E1401: training stopped by SIG" in rest and "Traceback" not in rest
    step = json.loads((out / "checkpoint" / "checkpoint.json").read_text())["step"]
    assert 0 < step < 44
    resumed = in_shell(*arguments, "--resume", "--json")
    assert resumed.code == 0, resumed.err
    assert weights_of(out) == weights_of(folder)
    assert (out / "model.pen").read_bytes() == (folder / "model.pen").read_bytes()
    with_seconds = (resumed.json["history"], trained[1].json["history"])
    a, b = ([{k: v for k, v in line.items() if k != "seconds"} for line in lines] for lines in with_seconds)
    assert a == b


def test_full_disk_is_one_line_and_the_old_files_stay(trained, tmp_path):
    folder, _ = trained
    copy = tmp_path / "run"
    subprocess.run(["cp", "-r", folder, copy], check=True)
    before = {path.name: path.read_bytes() for path in copy.rglob("*") if path.is_file()}

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # a write beyond it fails as on a full disk

    command = command_line("export", copy, "-o", copy / "model.onnx", "--json")
    result = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True)
    assert result.returncode == 3, result.stderr
    assert "disk is full" in json.loads(result.stdout)["error"]["message"] and "Traceback" not in result.stderr
    assert {path.name: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


def test_learning_rate_rises_then_falls_to_zero():
    factor = warm_up_then_cosine(100, 0.1)
    values = [factor(step) for step in range(101)]
    assert values[0] == pytest.approx(0.1) and values[10] == pytest.approx(1.0) and values[100] == pytest.approx(0.0)
    assert values[:11] == sorted(values[:11]) and values[10:] == sorted(values[10:], reverse=True)
    assert warm_up_then_cosine(1, 0.05)(0) == 1.0


def test_nan_in_training_is_a_numerical_failure(capsys, tmp_path):
    outcome = in_process(capsys, "train", "digits-cnn", "--out", tmp_path / "run", *SHORT, "--lr", 1e30, "--json")
    outcome.failed_cleanly(5, "lower the learning rate")
    assert not (tmp_path / "run" / "model.pen").exists()


# Data by path


def idx_bytes(array):
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


@pytest.fixture
def pictures(tmp_path):
    """A folder of idx files with 240 pictures of squares at ten places."""
    generator = np.random.default_rng(0)
    labels = generator.permutation(np.arange(240) % 10).astype(np.uint8)
    images = generator.integers(0, 60, (240, 28, 28)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[14 * (label // 5) : 14 * (label // 5) + 10, 5 * (label % 5) : 5 * (label % 5) + 5] = 255
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(images)))
    (folder / "train-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    return folder


def test_mnist_cnn_trains_on_idx_files(pictures, tmp_path, capsys):
    options = ("--epochs", 4, "--batch-size", 16, "--json")
    outcome = in_process(capsys, "train", "mnist-cnn", "--data", pictures, "--out", tmp_path / "run", *options)
    assert outcome.code == 0, outcome.err
    assert outcome.json["history"][-1]["validation_accuracy"] > 0.5 and outcome.json["report"]["ok"]


def damage(folder, name, change):
    path = folder / name
    path.write_bytes(change(path.read_bytes()))


BAD_PICTURES = {
    "empty": ("train-labels-idx1-ubyte", lambda data: b"", "empty"),
    "truncated gzip": ("train-images-idx3-ubyte.gz", lambda data: data[:1000], "cut off"),
    "truncated labels": ("train-labels-idx1-ubyte", lambda data: data[:-1], "cut off"),
    "foreign": ("train-labels-idx1-ubyte", lambda data: b"this is not an idx file", "idx"),
    "counts differ": ("train-labels-idx1-ubyte", lambda data: idx_bytes(np.zeros(7, np.uint8)), "labels"),
    "wrong size": ("train-images-idx3-ubyte.gz", lambda data: idx_bytes(np.zeros((240, 30, 30), np.uint8)), "28"),
}


@pytest.mark.parametrize("case", BAD_PICTURES)
def test_bad_idx_files_are_refused(pictures, tmp_path, capsys, case):
    name, change, word = BAD_PICTURES[case]
    damage(pictures, name, change)
    in_process(capsys, "train", "mnist-cnn", "--data", pictures, "--out", tmp_path / "run").failed_cleanly(3, word)


def test_missing_data_is_refused(tmp_path, capsys):
    out = ("--out", tmp_path / "run")
    in_process(capsys, "train", "mnist-cnn", *out).failed_cleanly(2, "--data")
    in_process(capsys, "train", "char-gpt", *out).failed_cleanly(2, "--data")
    in_process(capsys, "train", "digits-cnn", "--data", tmp_path, *out).failed_cleanly(2, "--data")
    in_process(capsys, "train", "mnist-cnn", "--data", tmp_path / "none", *out).failed_cleanly(3, "none")
    in_process(capsys, "train", "mnist-cnn", "--data", tmp_path, *out).failed_cleanly(3, "images")
    in_process(capsys, "train", "char-gpt", "--data", tmp_path / "none.txt", *out).failed_cleanly(3, "none.txt")
    (tmp_path / "short.txt").write_text("too short")
    in_process(capsys, "train", "char-gpt", "--data", tmp_path / "short.txt", *out).failed_cleanly(3, "10,000")
    (tmp_path / "binary.txt").write_bytes(bytes(range(256)) * 100)
    in_process(capsys, "train", "char-gpt", "--data", tmp_path / "binary.txt", *out).failed_cleanly(3, "binary.txt")


def test_char_gpt_writes_the_same_text_on_the_edge_as_in_eager_mode(tmp_path, capsys):
    from penlight_cli.engines import EagerEngine, EdgeEngine
    from penlight_cli.recipes.char_gpt import generate
    from penlight_cli.runs import load_run

    text = "".join(f"the {n} {'quick brown fox' if n % 2 else 'lazy dog'} jumps over {n + 1} fences.\n" for n in range(400))
    (tmp_path / "text.txt").write_text(text)
    run = tmp_path / "run"
    outcome = in_process(capsys, "train", "char-gpt", "--data", tmp_path / "text.txt", "--out", run, "--json")
    assert outcome.code == 0, outcome.err
    alphabet = load_run(run).config["alphabet"]
    eager, edge = EagerEngine.open(run), EdgeEngine(run / "model.pen")
    assert outcome.json["sample"] == generate(edge, alphabet, seed=0)  # the command compared it with eager mode
    for options in (
        {"seed": 1, "length": 120},
        {"seed": 2, "prompt": "the ", "length": 60},
        {"seed": 3, "temperature": 0.0, "length": 60},
    ):
        texts = [generate(engine, alphabet, **options) for engine in (eager, edge)]
        assert texts[0] == texts[1] and set(texts[0]) <= set(alphabet)
    assert generate(edge, alphabet, seed=1, length=50) != generate(edge, alphabet, seed=2, length=50)


def test_padding_to_the_right_changes_nothing_before_it(tmp_path):
    import penlight as pl
    from penlight_cli.recipes import load_recipe

    recipe = load_recipe("char-gpt")
    pl.manual_seed(0)
    model = recipe.build_model({"alphabet": "abcdefgh"}).eval()
    ids = np.random.default_rng(0).integers(0, 8, (2, 40))
    with pl.no_grad():
        whole, part = model(pl.tensor(ids)).numpy(), model(pl.tensor(ids[:, :17])).numpy()
    np.testing.assert_allclose(whole[:, :17], part, rtol=0, atol=2e-6)


def test_first_loss_is_shown_soon(tmp_path):
    """It is the first thing that is said, after the first steps and not after an epoch."""
    process = subprocess.Popen(command_line("train", "digits-cnn", "--out", tmp_path / "run"), stderr=subprocess.PIPE, text=True)
    line = process.stderr.readline()
    process.kill()
    process.wait()
    process.stderr.close()
    assert "loss" in line and "epoch 1" in line and "validation" not in line


def test_options_of_the_loop_reach_it(capsys, tmp_path):
    out, logs = tmp_path / "run", tmp_path / "logs"
    options = ("--epochs", 3, "--batch-size", 64, "--accumulate", 2, "--precision", "bf16", "--max-grad-norm", 0.5)
    # A learning rate of 0 makes nothing better: the first epoch is the best, and the second ends the run.
    said = in_process(
        capsys, "train", "digits-cnn", "--out", out, *options, "--lr", 0, "--patience", 1, "--log-dir", logs, "--json"
    )
    assert said.code == 0, said.err
    steps = -(-22 // 2)
    assert said.json["stopped"].startswith("validation_loss has not become better")
    assert [line["step"] for line in said.json["history"]] == [steps, 2 * steps]
    settings = json.loads((out / "run.json").read_text())["settings"]
    assert (settings["precision"], settings["accumulate"], settings["patience"], settings["max_grad_norm"]) == ("bf16", 2, 1, 0.5)
    lines = [json.loads(line) for line in (logs / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 2 * steps + 1))
    assert len((logs / "metrics.csv").read_text().splitlines()) == len(lines) + 1
    assert len(list(logs.glob("events.out.tfevents.*"))) == 1


def test_an_unknown_precision_is_refused(capsys, tmp_path):
    said = in_process(capsys, "train", "digits-cnn", "--out", tmp_path / "run", "--precision", "fp8")
    said.failed_cleanly(2, "fp32, bf16, fp16")

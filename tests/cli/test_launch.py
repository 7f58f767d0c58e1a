# SPDX-License-Identifier: Apache-2.0
"""`penlight launch`: exit codes, the rank that was first to fail, training in two ranks, signals."""

import json
import signal
import subprocess
import time

import pytest
from cli_runner import command_line, in_process, in_shell
from ranks import SCRIPTS, require_mpi

from penlight import distributed


def test_unknown_targets(capsys, tmp_path):
    in_process(capsys, "launch", "trian").failed_cleanly(2, "did you mean 'train'?")
    in_process(capsys, "launch", "serve").failed_cleanly(2, "expected a .py script or train")
    in_process(capsys, "launch", tmp_path / "none.py").failed_cleanly(3, "there is no such script")


@pytest.fixture(scope="module")
def mpi():
    require_mpi()


@pytest.fixture(scope="module")
def whole(mpi, tmp_path_factory):
    """A run that nothing disturbs; seconds of training: a signal comes before its end on a slow machine too."""
    folder = tmp_path_factory.mktemp("whole")
    assert in_shell(*training(folder / "run", epochs=8)).code == 0
    return folder / "run"


@pytest.mark.usefixtures("mpi")
class TestTwoRanks:
    def test_arguments_reach_the_script_and_json_is_one_object(self):
        outcome = in_shell(
            "launch", "--json", "-n", 2, SCRIPTS / "failing.py", "arguments", "-n", "3", "--json", OMP_NUM_THREADS="1"
        )
        assert outcome.code == 0, outcome.err
        assert outcome.json == {
            "schema": "penlight.launch/1", "ok": True, "target": str(SCRIPTS / "failing.py"), "ranks": 2,
        }  # fmt: skip
        for rank in range(2):
            assert f"rank {rank} of 2: ['arguments', '-n', '3', '--json'] __main__ 1" in outcome.err

    def test_lines_of_ranks_do_not_mix(self):
        outcome = in_shell("launch", "-n", 2, SCRIPTS / "failing.py", "lines")
        assert outcome.code == 0, outcome.err
        expected = {f"rank {rank} line {n} {'x' * (n % 60)} end" for rank in range(2) for n in range(2000)}
        assert expected == set(outcome.out.splitlines())

    @pytest.mark.parametrize(
        ("how", "exit_code", "words"),
        [
            ("killed", 9, "died without a word"),
            ("vanished", None, "died without a word"),
            ("exit", 7, "failed, and the job was ended: exit code 7"),
            ("raised", 1, "failed, and the job was ended: ValueError: the disk of rank 1 is gone"),
            ("before", 1, "failed, and the job was ended: no data here"),
        ],
    )
    def test_a_rank_that_fails_is_named_and_ends_the_job(self, how, exit_code, words):
        process = subprocess.Popen(
            command_line("launch", "-n", 2, SCRIPTS / "failing.py", how),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        text = process.communicate(timeout=300)[1]  # the other rank would wait for ten minutes
        code = process.returncode
        assert code == exit_code if exit_code else code != 0, text
        assert "error PL-E1503: launch: rank 1 of 2 (process " in text and words in text, text

    def test_the_first_to_die_is_named_also_when_the_launcher_looks_later(self):
        """On a busy machine it finds the ends of all ranks at once."""
        process = subprocess.Popen(
            command_line("launch", "-n", 2, SCRIPTS / "failing.py", "killed"), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        with process.stderr as lines:
            while not lines.readline().startswith(b"dying"):
                pass
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.5)  # mpiexec ends the other rank meanwhile
            process.send_signal(signal.SIGCONT)
            text = lines.read().decode()
        assert process.wait(timeout=300) == 9
        assert "error PL-E1503: launch: rank 1 of 2 (process " in text and "died without a word" in text

    def test_training_in_two_ranks(self, tmp_path):
        outcome = in_shell(*training(tmp_path / "run", "--json"))
        assert outcome.code == 0, outcome.err
        assert outcome.json["schema"] == "penlight.train/1" and outcome.json["history"][-1]["validation_accuracy"] > 0.85
        assert "epoch 1/1" in outcome.err and len(list((tmp_path / "run/checkpoint").iterdir())) == 2

    @pytest.mark.slow
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_makes_a_checkpoint_and_resume_gives_the_same_bits(self, tmp_path, whole, number):
        process = subprocess.Popen(command_line(*training(tmp_path / "cut", epochs=8)), stderr=subprocess.PIPE, text=True)
        try:
            line = process.stderr.readline()  # the first step is done
            process.send_signal(number)
            text = line + process.communicate(timeout=300)[1]
        finally:
            process.kill()
        assert process.returncode == 128 + number, text
        assert "training stopped by" in text and "PL-E1503" in text
        assert 0 < json.loads((tmp_path / "cut/checkpoint/checkpoint.json").read_text())["step"] < 8 * 22
        resumed = in_shell(*training(tmp_path / "cut", "--resume", epochs=8))
        assert resumed.code == 0, resumed.err
        assert (tmp_path / "cut/model.onnx").read_bytes() == (whole / "model.onnx").read_bytes()


def training(folder, *more, epochs=1):
    """The command that trains digits-cnn in two ranks."""
    return ["launch", "-n", 2, "train", "digits-cnn", "--epochs", epochs, "--batch-size", 64, "--seed", 1, "--out", folder, *more]


def test_batches_that_do_not_divide(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    in_process(capsys, "train", "digits-cnn", "--batch-size", 63, "--out", tmp_path / "run").failed_cleanly(
        2, "--batch-size 63", "of 2"
    )

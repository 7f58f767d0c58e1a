# SPDX-License-Identifier: Apache-2.0
"""The same seed gives the same weights, bit for bit, for any number of threads and data workers."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import penlight as pl
from penlight.errors import ArgumentError

SUPPORT = Path(__file__).parents[2] / "support"


def output_of(threads: int, script: str, *arguments: object) -> str:
    """What a script of tests/support prints in a fresh process."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    command = [sys.executable, str(SUPPORT / script), *map(str, arguments)]
    environment = {**os.environ, **dict.fromkeys(names, str(threads))}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


def weights_of(threads: int, workers: int, kind: str) -> str:
    """Trains; returns the last loss and the SHA-256 of weights and optimizer state."""
    return output_of(threads, "same_bits_run.py", workers, kind)


@pytest.fixture(scope="module")
def alone() -> str:
    """What one thread without workers makes."""
    return weights_of(1, 0, "process")


@pytest.mark.parametrize(("threads", "workers", "kind"), [(2, 0, "process"), (1, 4, "process"), (2, 4, "thread")])
def test_weights_have_the_same_bits(alone, threads, workers, kind):
    assert len(alone.split()[1]) == 64
    assert weights_of(threads, workers, kind) == alone


@pytest.mark.slow
def test_benchmark_models_have_the_same_bits():
    models = ("mlp", "mnist_cnn", "resnet20", "mobilenet_v2_half", "char_gpt", "lstm")
    found = [output_of(threads, "same_bits_models.py", *models) for threads in (1, 2, 3)]
    assert len(found[0].splitlines()) == len(models)
    assert found[1:] == found[:1] * 2


def test_threads_can_be_set():
    before = pl.get_num_threads()
    try:
        results = []
        x, weight = pl.randn(64, 512), pl.randn(300, 512)
        for count in (1, 2, 3):
            pl.set_num_threads(count)
            assert pl.get_num_threads() == count
            results.append(pl.nn.functional.linear(x, weight).numpy())
        np.testing.assert_array_equal(results[0], results[1])
        np.testing.assert_array_equal(results[0], results[2])
    finally:
        pl.set_num_threads(before)
    with pytest.raises(ArgumentError, match="set_num_threads"):
        pl.set_num_threads(0)

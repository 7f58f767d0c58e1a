# SPDX-License-Identifier: Apache-2.0
"""Collectives between two real processes, and what can be said without any."""

import sys

import pytest
from cli_runner import in_shell
from ranks import require_mpi, two_ranks

import penlight as pl
from penlight import distributed as dist
from penlight.errors import ArgumentError, DistributedError, DistributedMissingError


def test_without_a_group_this_is_rank_0_of_1():
    assert (dist.get_rank(), dist.get_world_size(), dist.is_initialized(), dist.is_launched()) == (0, 1, False, False)
    assert dist.largest_over_ranks(5) == 5
    dist.destroy_process_group()
    for call in (lambda: dist.all_reduce(pl.ones(1)), dist.barrier, lambda: dist.DistributedDataParallel(pl.nn.Linear(1, 1))):
        with pytest.raises(DistributedError, match=r"call penlight\.distributed\.init_process_group"):
            call()


def test_unknown_backend():
    with pytest.raises(ArgumentError, match='"mpi" or "nccl", came \'gloo\''):
        dist.init_process_group("gloo")


def test_missing_mpi4py_is_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(DistributedMissingError, match=r"pip install 'penlight\[mpi\]'") as caught:
        dist.init_process_group("mpi")
    assert (caught.value.code, caught.value.exit_code) == ("PL-E1502", 4)
    assert not dist.is_initialized()


def test_missing_nccl_is_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy.cuda", None)
    with pytest.raises(DistributedMissingError, match=r"pip install 'penlight\[cuda13,mpi\]'"):
        dist.init_process_group("nccl")


def test_launch_without_mpi4py(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['mpi4py'] = None\n", encoding="ascii")
    (tmp_path / "x.py").write_text("", encoding="ascii")
    outcome = in_shell("launch", "-n", 2, tmp_path / "x.py", PYTHONPATH=str(tmp_path))
    outcome.failed_cleanly(4, "PL-E1502", "mpi4py is not installed", "pip install 'penlight[mpi]'")


def test_two_ranks_agree_on_every_collective_and_dtype():
    require_mpi()
    outcome = two_ranks("collectives.py")
    assert outcome.code == 0, outcome.err
    assert all(f"rank {rank} checked 15 dtypes" in outcome.out for rank in range(2)), outcome.out

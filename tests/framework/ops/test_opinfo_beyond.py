# SPDX-License-Identifier: Apache-2.0
"""PyTorch's OpInfo samples of tier 1 beyond double precision: dtypes, memory with gaps, refusals; shares in percent."""

import pytest

torch = pytest.importorskip("torch")

import opinfo_beyond  # noqa: E402  both need torch
from opinfo_tiers import TIERS  # noqa: E402  likewise

FEW = 1  # sample per variant of a name in the default run
FAST = ("bfloat16", "int64", "error")  # kinds of the default run
# The bar is 95; these are what is reached, so that no name is lost unseen.
LEAST = {"float32": 99, "bfloat16": 99, "int64": 100, "int32": 99, "bool": 100, "noncontiguous": 100, "error": 96}


def check(kind, limit, record_property):
    share = opinfo_beyond.run(kind, TIERS[1], limit)
    record_property("share", f"{kind}: {share.good} of {share.total} ({share.percent:.1f} %)")
    print(f"{kind}: {share.good} of {share.total} ({share.percent:.1f} %)", *share.failures.items(), sep="\n  ")
    assert share.total > 50
    assert share.percent >= LEAST[kind], share.failures


def test_every_kind_has_a_bar():
    assert set(LEAST) == set(opinfo_beyond.KINDS)


@pytest.mark.parametrize("kind", FAST)
def test_first_samples(kind, record_property):
    check(kind, FEW if kind != "error" else None, record_property)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in opinfo_beyond.KINDS if kind != "error"])  # all of those run by default
def test_all_samples(kind, record_property):
    check(kind, None, record_property)

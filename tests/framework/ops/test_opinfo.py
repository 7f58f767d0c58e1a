# SPDX-License-Identifier: Apache-2.0
"""PyTorch's OpInfo samples on both sides: values and gradients in double precision, tier by tier."""

import pytest

torch = pytest.importorskip("torch")

import opinfo  # noqa: E402  both need torch
from opinfo_tiers import LEAST, MISSES, TIERS  # noqa: E402  likewise

NAMES = [pytest.param(name, id=name) for names in TIERS.values() for name in names]
FEW = 6  # samples per variant of a name in the default run


def check(name, limit):
    outcome = opinfo.run(name, limit)
    if name in MISSES:
        if outcome.matches and limit is None:
            pytest.fail(f"{name} matches now: take it off opinfo_tiers.MISSES ({MISSES[name]})")
        return
    assert outcome.matches, f"{name}: {outcome.failed} of {outcome.samples} samples differ; {outcome.first}"


@pytest.mark.parametrize("name", NAMES)
def test_first_samples(name):
    check(name, FEW)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_all_samples(name):
    check(name, None)


@pytest.mark.parametrize("tier", TIERS)
def test_tier_is_kept(tier, record_property):
    names = TIERS[tier]
    assert len(set(names)) == len(names)
    missing = [f"{name}: {MISSES[name]}" for name in names if name in MISSES]
    matched = len(names) - len(missing)
    record_property("matched", f"tier {tier}: {matched} of {len(names)}")
    print(f"tier {tier}: {matched} of {len(names)} match", *missing, sep="\n  ")
    assert matched >= LEAST[tier]


def test_every_miss_has_a_reason_and_is_in_a_tier():
    assert all(len(reason) > 10 for reason in MISSES.values())
    assert set(MISSES) <= {name for names in TIERS.values() for name in names}

# SPDX-License-Identifier: Apache-2.0
"""gradcheck and gradgradcheck of every differentiable tier-1 name on OpInfo's samples, without torch's gradients."""

import pytest

torch = pytest.importorskip("torch")

import opinfo_gradcheck  # noqa: E402  both need torch
from opinfo_tiers import TIERS  # noqa: E402  likewise

NAMES = [name for name in TIERS[1] if opinfo_gradcheck.differentiable(name)]
_ROUNDS = "the result is rounded to fewer digits than finite differences need; compared with torch in test_opinfo.py"
# name -> why its differences cannot show the gradient; a test fails when an excluded one starts to pass.
EXCLUDED = {"half": _ROUNDS, "bfloat16": _ROUNDS, "float": _ROUNDS}
FEW, MANY = 2, 6  # samples per variant of a name in the default run and in the slow one


def check(name, limit, *, twice, fast):
    count, failed = opinfo_gradcheck.failures(name, limit, twice=twice, fast=fast)
    if name in EXCLUDED:
        assert failed, f"{name} passes now: take it off EXCLUDED ({EXCLUDED[name]})"
        return
    assert count or failed, f"{name}: none of its samples has a gradient"
    assert not failed, f"{name}: {len(failed)} of {count + len(failed)} samples fail; {failed[0]}"


@pytest.mark.parametrize("name", NAMES)
def test_projected_jacobians(name):
    check(name, FEW, twice=False, fast=True)
    check(name, FEW, twice=True, fast=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_whole_jacobians(name):
    check(name, MANY, twice=False, fast=False)
    check(name, MANY, twice=True, fast=False)


def test_nearly_all_names_of_tier_1_that_torch_differentiates_are_checked():
    assert len(NAMES) >= 170
    assert set(EXCLUDED) <= set(NAMES)

# SPDX-License-Identifier: Apache-2.0
"""The gallery of programs that cannot be exported: each fails with its code, its complete message and an explanation."""

from pathlib import Path

import pytest
from gallery import failure, load, messages, shown

from penlight_cli.commands.explain import error_classes

FOLDER = Path(__file__).parent / "gallery"
CASES = load(FOLDER)
MESSAGES = messages(FOLDER)


@pytest.mark.parametrize("name", CASES)
def test_program_fails_with_its_message(name):
    case = CASES[name]
    error = failure(case)
    assert shown(case, error) == MESSAGES[name]
    assert error.code == case.code
    for mark in case.places():
        assert f"{{{mark}}}" in MESSAGES[name], f"the message does not name the line marked {mark}"


def test_the_gallery_is_large():
    assert len(CASES) >= 36
    assert set(MESSAGES) == set(CASES)


@pytest.mark.parametrize("code", sorted({case.code for case in CASES.values()}))
def test_each_code_is_explained(code):
    assert len(error_classes()[code].__doc__.split()) >= 15

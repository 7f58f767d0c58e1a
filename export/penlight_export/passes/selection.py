# SPDX-License-Identifier: Apache-2.0
"""Passes by their names, so that a user can find the one that is to blame."""

from __future__ import annotations

from collections.abc import Sequence

from penlight_export.errors import OptionError
from penlight_export.passes.base import Pass
from penlight_export.passes.table import ALL, DEFAULT


def select_passes(names: Sequence[str]) -> tuple[Pass, ...]:
    """The passes of these names, in the order in which they run by default.

    Args:
        names: such as "common-subexpressions"; a name with "no-" in front takes a pass out of the default ones. "none" and
            "default" alone mean what they say.

    Raises:
        OptionError: a name is not known; all that are known follow.
    """
    if list(names) in (["none"], ["default"]):
        return () if names[0] == "none" else DEFAULT
    known = {slug(each) for each in ALL}
    for name in names:
        if name.removeprefix("no-") not in known:
            raise OptionError(f"pass '{name}': there is none of this name; there are {', '.join(pass_names())}, none and default")
    without = {name.removeprefix("no-") for name in names if name not in known}
    wanted = {name for name in names if name in known}
    chosen = [each for each in ALL if slug(each) in wanted] if wanted else list(DEFAULT)
    return tuple(each for each in chosen if slug(each) not in without)


def slug(each: Pass) -> str:
    """A pass's name as it is written on a command line."""
    return "-".join(each.name.replace("+", "and").replace(",", "").split())


def pass_names() -> list[str]:
    """All names, each once."""
    return list(dict.fromkeys(slug(each) for each in ALL))

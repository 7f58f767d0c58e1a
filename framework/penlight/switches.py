# SPDX-License-Identifier: Apache-2.0
"""PyTorch's process-wide switches: the default dtype, how tensors are printed, deterministic algorithms."""

from __future__ import annotations

from typing import Any

from penlight.dtype import as_dtype, default_dtype
from penlight.errors import ArgumentError
from penlight.tensor import PRINTING

_PROFILES: dict[str, dict[str, Any]] = {
    "default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "max_line_width": 80},
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "max_line_width": 80},
    "full": {"precision": 4, "threshold": 2**62, "edgeitems": 3, "max_line_width": 80},
}


def set_default_dtype(d: Any) -> None:
    """Accepts the dtype of Python floats as it is, float32.

    Raises:
        ArgumentError: another dtype is asked for.
    """
    if as_dtype(d) is not default_dtype:
        raise ArgumentError(
            f"set_default_dtype: it is always {default_dtype.name} here, came {as_dtype(d).name}; pass dtype=, or convert a model "
            f"by model.to(penlight.{as_dtype(d).name})"
        )


def set_printoptions(
    precision: int | None = None,
    threshold: int | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Sets how tensors are printed; what is not named stays as it is.

    Args:
        precision: digits behind the point.
        threshold: from how many elements on the middle is left out.
        edgeitems: how many are then shown at each end.
        linewidth: characters in a line.
        profile: "default", "short" or "full"; sets all of these first.
        sci_mode: True prints powers of ten, False never does; by default the numbers decide.

    Raises:
        ArgumentError: there is no such profile.
    """
    if profile is not None and profile not in _PROFILES:
        raise ArgumentError(f"set_printoptions: profile must be one of {', '.join(_PROFILES)}, came {profile!r}")
    PRINTING.update(_PROFILES.get(profile or "", {}))
    named = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "max_line_width": linewidth}
    PRINTING.update({name: value for name, value in named.items() if value is not None})
    if sci_mode is not None:
        PRINTING["suppress_small"] = not sci_mode
        PRINTING.pop("formatter", None)
        if sci_mode:
            PRINTING["formatter"] = {"float_kind": lambda x: f"{x:.{PRINTING['precision']}e}"}


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Accepts what is so anyway on the CPU: the same seed gives the same bits, for any number of threads and workers."""


def are_deterministic_algorithms_enabled() -> bool:
    """Returns True, see `use_deterministic_algorithms`."""
    return True

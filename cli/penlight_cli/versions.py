# SPDX-License-Identifier: Apache-2.0
"""Versions of installed packages, without importing them."""

from __future__ import annotations


def version_of(package: str) -> str:
    """Returns the installed version of a distribution, "not installed" if there is none."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "from source" if package == "penlight" else "not installed"

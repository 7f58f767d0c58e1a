# SPDX-License-Identifier: Apache-2.0
"""The version of the installed package."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("penlight")
except PackageNotFoundError:  # the source tree on the path
    __version__ = "0+source"

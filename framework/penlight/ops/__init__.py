# SPDX-License-Identifier: Apache-2.0
"""The operators: one file per family, all in one table. `python -m penlight.ops` prints it."""

from penlight.ops.registry import operators as operators

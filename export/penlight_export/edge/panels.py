# SPDX-License-Identifier: Apache-2.0
"""Constant matrices in the order in which the products of the edge runtime read them, so that nothing is packed while running.

The file declares such a matrix with its usual shape; the node's attribute `panels` says how its bytes lie: 16 columns after the
other, each of them row by row, and behind them the last columns, fewer than 16, row by row.
"""

from __future__ import annotations

import numpy as np

from penlight_export.edge.kernels import has_kernel
from penlight_export.graph import FUSED_DOMAIN, DataType, Node, Value, constant_size, find_attribute, rank_of

ATTRIBUTE = "panels"
VERSION = 2  # of the operators from which on they have the attribute
WEIGHT = 1  # which input it is
_WIDTH = 16
_OPERATORS = frozenset({"FusedGemm", "FusedMatMul"})


def reads_panels(node: Node) -> bool:
    """Whether a node's weights are written in panels: they are a constant matrix of float32 that only such nodes read."""
    if node.domain != FUSED_DOMAIN or node.op_type not in _OPERATORS or len(node.inputs) <= WEIGHT:
        return False
    weight = node.inputs[WEIGHT]
    return weight is not None and panels_of(weight) is not None


def panels_of(value: Value) -> bool | None:
    """For a constant that is written in panels, whether these are of its transpose; else None."""
    if value.dtype != DataType.FLOAT or rank_of(value) != 2 or constant_size(value) is None or value.is_graph_output():
        return None
    turned: set[bool] = set()
    for node, index in value.uses():
        if node.domain != FUSED_DOMAIN or node.op_type not in _OPERATORS or index != WEIGHT:
            return None
        if not has_kernel(FUSED_DOMAIN, node.op_type, VERSION):
            return None
        turned.add(find_attribute(node, "transB", 0) != 0)
    return turned.pop() if len(turned) == 1 else None


def in_panels(matrix: np.ndarray, turned: bool) -> tuple[np.ndarray, np.ndarray]:
    """A matrix (K, N), or (N, K) where `turned`, as views: panels (N // 16, K, 16), last columns (K, N % 16)."""
    columns = matrix.T if turned else matrix
    depth, count = columns.shape
    whole = count // _WIDTH * _WIDTH
    return columns[:, :whole].reshape(depth, whole // _WIDTH, _WIDTH).transpose(1, 0, 2), columns[:, whole:]


def from_panels(stored: np.ndarray, turned: bool) -> np.ndarray:
    """What `in_panels` was given, of the two behind each other in the matrix's shape."""
    count, depth = stored.shape if turned else stored.shape[::-1]
    flat, whole = stored.reshape(-1), count // _WIDTH * _WIDTH
    panels = flat[: whole * depth].reshape(whole // _WIDTH, depth, _WIDTH).transpose(1, 0, 2).reshape(depth, whole)
    columns = np.concatenate([panels, flat[whole * depth :].reshape(depth, count - whole)], axis=1)
    return columns.T if turned else columns

# SPDX-License-Identifier: Apache-2.0
"""Writes MatMul followed by Add as one Gemm where both operands are matrices."""

from __future__ import annotations

from penlight_export.graph import (
    Model,
    Node,
    Value,
    all_nodes,
    constant_size,
    make_node,
    rank_of,
    replace_node,
    single_consumer,
    static_shape,
)
from penlight_export.passes.base import Pass, made_by, require_made


class FuseMatMulAdd(Pass):
    """MatMul(a, W) + b = Gemm(a, W, b) for a of rank 2, a constant matrix W and a constant bias of one row."""

    name = "matmul + add"
    operators = frozenset({"MatMul"})

    def run(self, model: Model) -> int:
        """Returns the number of fused pairs."""
        return sum(_fuse(node) for node in tuple(all_nodes(model.graph)) if node.op_type == "Add" and node.domain == "")

    def ensures(self, model: Model) -> None:
        """Gemm takes matrices alone, where MatMul takes anything."""
        require_made(self, model, _takes_matrices, "Gemm takes matrices")


def _takes_matrices(gemm: Node) -> bool:
    return all(rank_of(value) in (None, 2) for value in gemm.inputs[:2])


def _fuse(add: Node) -> bool:
    for side in (0, 1):
        product, bias = add.inputs[side], add.inputs[1 - side]
        matmul = product.producer() if product is not None else None
        if matmul is None or product is None or matmul.op_type != "MatMul" or matmul.domain != "":
            continue
        a, weight = matmul.inputs
        if single_consumer(product) is add and rank_of(a) == 2 and _is_matrix(weight) and _is_row(bias, weight):
            gemm = made_by(FuseMatMulAdd, make_node("Gemm", [a, weight, bias], like=matmul))
            replace_node(add, [gemm], gemm.outputs)
            matmul_graph = matmul.graph
            assert matmul_graph is not None
            matmul_graph.remove(matmul, safe=True)
            return True
    return False


def _is_matrix(weight: Value | None) -> bool:
    # Gemm has no integer kernels in most engines.
    return constant_size(weight) is not None and rank_of(weight) == 2 and weight is not None and _is_float(weight)


def _is_float(value: Value) -> bool:
    return value.dtype is not None and value.dtype.is_floating_point()


def _is_row(bias: Value | None, weight: Value | None) -> bool:
    shape, matrix = static_shape(bias), static_shape(weight)
    if shape is None or matrix is None or constant_size(bias) is None:
        return False
    return shape in ((matrix[1],), (1, matrix[1]))

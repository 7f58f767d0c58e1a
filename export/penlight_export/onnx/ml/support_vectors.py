# SPDX-License-Identifier: Apache-2.0
"""SVMRegressor: a kernel between rows and support vectors, and one product. SVMClassifier, which votes by pairs, is left out."""

from __future__ import annotations

import numpy as np

from penlight_export.graph import Value
from penlight_export.onnx.ml.body import Body, transform


def svm_regressor(body: Body) -> None:
    """y = kernel(x, vectors) @ coefficients + rho; of one class: its sign."""
    count, coefficients = body.attribute("n_supports", 0), body.numbers("coefficients")
    x = body.rows()
    if count:
        x = _kernel(body, x, body.numbers("support_vectors").reshape(count, -1))
    y = body.add("Gemm", x, body.constant(coefficients.reshape(-1, 1)), body.constant(body.numbers("rho")[:1]))
    if body.attribute("one_class", 0):
        inside = body.add("Greater", y, body.constant(0))
        y = body.add("Where", inside, body.constant(1), body.constant(-1))
    body.finish(transform(body, y, body.attribute("post_transform", "NONE")))


def _kernel(body: Body, x: Value, vectors: np.ndarray) -> Value:
    """x: (N, F), vectors: (V, F). Returns (N, V)."""
    kind, (gamma, shift, degree) = body.attribute("kernel_type", "LINEAR"), _parameters(body)
    products = body.add("MatMul", x, body.constant(vectors.T))
    if kind == "LINEAR":
        return products
    if kind == "RBF":
        squares = body.add("ReduceSumSquare", x, body.constant([1], np.int64))
        whole = body.add("Add", squares, body.constant((vectors.astype(np.float64) ** 2).sum(1)))
        distances = body.add("Sub", whole, body.add("Mul", products, body.constant(2)))
        return body.add("Exp", body.add("Mul", distances, body.constant(-gamma)))
    scaled = body.add("Add", body.add("Mul", products, body.constant(gamma)), body.constant(shift))
    if kind == "POLY":
        return body.add("Pow", scaled, body.constant(degree))
    if kind == "SIGMOID":
        return body.add("Tanh", scaled)
    raise body.refusal(f"has kernel_type {kind}, expected LINEAR, POLY, RBF or SIGMOID")


def _parameters(body: Body) -> tuple[float, float, float]:
    """gamma, coef0 and degree."""
    gamma, shift, degree = [*body.numbers("kernel_params").tolist(), 0.0, 0.0, 0.0][:3]
    return gamma, shift, degree

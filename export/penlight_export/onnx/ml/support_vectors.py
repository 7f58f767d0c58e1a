# SPDX-License-Identifier: Apache-2.0
"""SVMRegressor and SVMClassifier: a kernel between rows and support vectors, one product, and for classes a vote by pairs."""

from __future__ import annotations

import numpy as np

from penlight_export.graph import FUSED_DOMAIN, DataType, Shape, TensorType, Value, graph_of
from penlight_export.onnx.ml.body import Body, both_classes, pick_label, transform


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


def svm_classifier(body: Body) -> None:
    """Labels by votes of all pairs of classes, and scores; without support vectors one linear score for each class."""
    labels, counts = body.labels("classlabels_ints"), body.numbers("vectors_per_class").astype(np.int64)
    if not counts.size:
        _classify_linear(body, labels)
        return
    pairs = [(i, j) for i in range(labels.size) for j in range(i + 1, labels.size)]
    if counts.size != labels.size or not pairs:
        raise body.refusal(f"has {labels.size} labels and vectors for {counts.size} classes")
    x = _kernel(body, body.rows(), body.numbers("support_vectors").reshape(int(counts.sum()), -1))
    weights = body.constant(_pair_weights(body.numbers("coefficients"), counts, pairs))
    scores = body.add("Gemm", x, weights, body.constant(body.numbers("rho")[: len(pairs)]))
    label = pick_label(body, _vote(body, scores, labels.size, pairs), labels)
    kind = body.attribute("post_transform", "NONE")
    if body.numbers("prob_a").size:
        body.finish(label, transform(body, _coupled(body, scores, labels.size), kind))
    elif len(pairs) == 1:
        body.finish(label, both_classes(body, scores, kind, complement=kind != "NONE"))
    else:
        body.finish(label, transform(body, scores, kind))


def _classify_linear(body: Body, labels: np.ndarray) -> None:
    """As onnxruntime: one offset for all classes, and of two classes the second one where any score is positive."""
    weights = body.numbers("coefficients").reshape(labels.size, -1)
    scores = body.add("Gemm", body.rows(), body.constant(weights), body.constant(body.numbers("rho")[:1]), transB=1)
    index = body.add("ArgMax", scores, axis=1, keepdims=0)
    if labels.size == 2 and not body.numbers("prob_a").size:
        least = 0.5 if (weights >= 0).all() else np.nextafter(np.float32(0), np.float32(1))
        above = body.add("ReduceMax", scores, body.constant([1], np.int64), keepdims=0)
        above = body.add("GreaterOrEqual", above, body.constant(least))
        index = body.add("Where", above, body.constant(1, np.int64), index)
    body.finish(pick_label(body, index, labels), transform(body, scores, body.attribute("post_transform", "NONE")))


def _pair_weights(coefficients: np.ndarray, counts: np.ndarray, pairs: list[tuple[int, int]]) -> np.ndarray:
    """(V, P): coefficients are (classes - 1, V), those of class i against j > i in row j - 1, those of j against i in row i."""
    table = coefficients.reshape(counts.size - 1, -1)
    ends = np.cumsum(counts)
    weights = np.zeros((table.shape[1], len(pairs)), np.float32)
    for column, (i, j) in enumerate(pairs):
        first, second = slice(ends[i] - counts[i], ends[i]), slice(ends[j] - counts[j], ends[j])
        weights[first, column] = table[j - 1, first]
        weights[second, column] = table[i, second]
    return weights


def _vote(body: Body, scores: Value, classes: int, pairs: list[tuple[int, int]]) -> Value:
    """(N,) int64: the class that wins most pairs, the first of several."""
    gains = np.zeros((2, len(pairs), classes), np.float32)
    for column, (i, j) in enumerate(pairs):
        gains[0, column, i] = gains[1, column, j] = 1
    won = body.cast(body.add("Greater", scores, body.constant(0)), DataType.FLOAT)
    votes = body.add("Gemm", won, body.constant(gains[0] - gains[1]), body.constant(gains[1].sum(0)))
    return body.add("ArgMax", votes, axis=1, keepdims=0)


def _coupled(body: Body, scores: Value, classes: int) -> Value:
    """(N, classes) probabilities."""
    graph_of(body.node).opset_imports.setdefault(FUSED_DOMAIN, 1)
    curves = [body.constant(body.numbers(name)) for name in ("prob_a", "prob_b")]
    shares = body.add("PairwiseCoupling", scores, *curves, domain=FUSED_DOMAIN, classes=classes)
    rows = body.input().shape
    shares.type, shares.shape = TensorType(DataType.FLOAT), Shape([None if rows is None else rows[0], classes])
    return shares


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

# SPDX-License-Identifier: Apache-2.0
"""LinearClassifier and LinearRegressor: a product and a transform of its scores."""

from __future__ import annotations

import numpy as np

from penlight_export.graph import Value
from penlight_export.onnx.ml.body import Body, both_classes, pick_label, transform


def linear_regressor(body: Body) -> None:
    """y = transform(x @ coefficients.T + intercepts)."""
    scores = _scores(body, body.attribute("targets", 1))
    body.finish(transform(body, scores, body.attribute("post_transform", "NONE")))


def linear_classifier(body: Body) -> None:
    """The same, and the label of the largest score; one score for two classes counts for the second."""
    labels = body.labels("classlabels_ints")
    kind = body.attribute("post_transform", "NONE")
    classes = max(1, body.numbers("intercepts").size)
    scores = _scores(body, classes)
    if classes == 1 and labels.size == 2:
        label = pick_label(body, positive(body, scores, 0.0), labels)
        body.finish(label, both_classes(body, scores, kind, complement=True))
        return
    if labels.size != classes:
        raise body.refusal(f"has {labels.size} labels and {classes} scores")
    label = pick_label(body, body.add("ArgMax", scores, axis=1, keepdims=0), labels)
    body.finish(label, transform(body, scores, kind))


def positive(body: Body, score: Value, threshold: float) -> Value:
    """(N, 1) scores to (N,) int64: 1 where a score is above the threshold."""
    above = body.add("Cast", body.add("Greater", score, body.constant(threshold)), to=7)
    return body.add("Squeeze", above, body.constant([1], np.int64))


def _scores(body: Body, count: int) -> Value:
    coefficients, intercepts = body.numbers("coefficients"), body.numbers("intercepts")
    if coefficients.size % max(1, count):
        raise body.refusal(f"has {coefficients.size} coefficients, which is no multiple of its {count} scores")
    weights = body.constant(coefficients.reshape(count, -1))
    bias = [body.constant(intercepts)] if intercepts.size else []
    return body.add("Gemm", body.rows(), weights, *bias, transB=1)

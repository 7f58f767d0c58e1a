# SPDX-License-Identifier: Apache-2.0
"""The three operators of ai.onnx.ml for decision trees, as tables for the kernel ai.penlight.TreeEnsemble."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from penlight_export.graph import FUSED_DOMAIN, DataType, Shape, TensorType, Value, graph_of, rank_of
from penlight_export.onnx.ml.body import Body, both_classes, pick_label, transform
from penlight_export.onnx.ml.linear import positive

MODES = {"LEAF": 0, "BRANCH_LEQ": 1, "BRANCH_LT": 2, "BRANCH_GTE": 3, "BRANCH_GT": 4, "BRANCH_EQ": 5, "BRANCH_NEQ": 6}
MISSING_IS_TRUE = 8  # runtime/kernels/tree_ensemble.cpp
AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")  # numbered so by TreeEnsemble-5
_KERNEL_AGGREGATES = {"SUM": 0, "AVERAGE": 1, "MIN": 2, "MAX": 3}


@dataclass
class Trees:
    """Nodes in any order; `true` and `false` are indices of nodes, -1 at leaves; weights by index of their leaf."""

    modes: np.ndarray
    features: np.ndarray
    thresholds: np.ndarray
    true: np.ndarray
    false: np.ndarray
    missing: np.ndarray
    roots: np.ndarray
    leaves: np.ndarray
    targets: np.ndarray
    weights: np.ndarray


def tree_regressor(body: Body) -> None:
    """TreeEnsembleRegressor: aggregated weights and base values."""
    trees = _old_trees(body, "target")
    scores = _based(body, _aggregate(body, trees, body.attribute("n_targets", 1), body.attribute("aggregate_function", "SUM")))
    body.finish(transform(body, body.cast(scores, DataType.FLOAT), body.attribute("post_transform", "NONE")))


def tree_classifier(body: Body) -> None:
    """TreeEnsembleClassifier: the label of the largest sum; of two classes of which one alone has weights, by its sum's size."""
    trees, labels = _old_trees(body, "class"), body.labels("classlabels_int64s")
    kind, owners = body.attribute("post_transform", "NONE"), np.unique(trees.targets)
    if labels.size == 2 and owners.size == 1:
        _classify_by_one(body, trees, labels, kind, int(owners[0]))
        return
    scores = body.cast(_based(body, _aggregate(body, trees, labels.size, "SUM")), DataType.FLOAT)
    label = pick_label(body, body.add("ArgMax", scores, axis=1, keepdims=0), labels)
    body.finish(label, transform(body, scores, kind))


def _classify_by_one(body: Body, trees: Trees, labels: np.ndarray, kind: str, owner: int) -> None:
    """Weights of class 0 alone are scores of class 1 (!), whose complement is that of class 0; as in onnxruntime."""
    threshold = 0.5 if (trees.weights >= 0).all() else 0.0
    scores = _aggregate(body, trees, owner + 1, "SUM")
    if owner == 0:
        scores = body.cast(_based(body, scores, body.numbers("base_values", "base_values_as_tensor")[-1:]), DataType.FLOAT)
        score, both = scores, both_classes(body, scores, kind, complement=threshold > 0)
    else:
        scores = body.cast(_based(body, scores), DataType.FLOAT)
        score, both = body.add("Gather", scores, body.constant([1], np.int64), axis=1), transform(body, scores, kind)
    body.finish(pick_label(body, positive(body, score, threshold), labels), both)


def tree_ensemble(body: Body) -> None:
    """TreeEnsemble of version 5, whose leaves are numbered apart from the branches."""
    table = _branches(body)
    count, leaves = table["modes"].size, body.numbers("leaf_targetids").astype(np.int64)
    blank = np.full(leaves.size, -1)

    def children(side: str) -> np.ndarray:
        ids, is_leaf = table[f"{side}nodeids"], table[f"{side}leafs"].astype(bool)
        return np.concatenate([np.where(is_leaf, ids + count, ids), blank])

    trees = Trees(
        modes=np.concatenate([table["modes"] + 1, blank * 0]),
        features=np.concatenate([table["featureids"], blank]),
        thresholds=np.concatenate([table["splits"], blank]),
        true=children("true"),
        false=children("false"),
        missing=np.concatenate([table["missing_value_tracks_true"].astype(bool), blank > 0]),
        roots=body.numbers("tree_roots").astype(np.int64),
        leaves=np.arange(leaves.size) + count,
        targets=leaves,
        weights=body.numbers("leaf_weights"),
    )
    kind = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")[body.attribute("post_transform", 0)]
    scores = _aggregate(body, trees, body.attribute("n_targets", 1), AGGREGATES[body.attribute("aggregate_function", 1)])
    body.finish(transform(body, scores, kind))


_COLUMNS = ("modes", "featureids", "truenodeids", "trueleafs", "falsenodeids", "falseleafs", "missing_value_tracks_true")
_EQUAL, _MEMBER = 4, 6  # modes of TreeEnsemble-5


def _branches(body: Body) -> dict[str, np.ndarray]:
    """The columns of the branches. A test for a set becomes a chain of tests for its members, each with the same true child."""
    table = {name: body.numbers(f"nodes_{name}").astype(np.int64) for name in _COLUMNS} | {"splits": body.numbers("nodes_splits")}
    count = table["modes"].size
    if not table["missing_value_tracks_true"].size:
        table["missing_value_tracks_true"] = np.zeros(count, np.int64)
    members = np.flatnonzero(table["modes"] == _MEMBER)
    if not members.size:
        return table
    rows = {name: column.tolist() for name, column in table.items()}
    for node, values in zip(members.tolist(), _sets(body.numbers("membership_values"), members.size), strict=True):
        rows["modes"][node], rows["splits"][node] = _EQUAL, values[0]
        at, otherwise = node, (rows["falsenodeids"][node], rows["falseleafs"][node])
        for value in values[1:]:
            for name, column in rows.items():
                column.append(value if name == "splits" else column[node])
            rows["falsenodeids"][at], rows["falseleafs"][at] = len(rows["modes"]) - 1, 0
            at = len(rows["modes"]) - 1
        rows["falsenodeids"][at], rows["falseleafs"][at] = otherwise
    return {name: np.array(column, table[name].dtype) for name, column in rows.items()}


def _sets(values: np.ndarray, count: int) -> list[list[float]]:
    """The members of each set, NaN, which nothing equals, for an empty one; NaN stands between sets."""
    sets: list[list[float]] = [[]]
    for value in values.tolist():
        if value != value:
            sets.append([])
        else:
            sets[-1].append(value)
    sets = sets[:-1] if len(sets) > count and not sets[-1] else sets
    return [each or [np.nan] for each in sets]


def _old_trees(body: Body, what: str) -> Trees:
    """The attributes of versions 1 and 3: every node and every weight names its tree and its number in the tree."""
    keys = list(zip(body.numbers("nodes_treeids").tolist(), body.numbers("nodes_nodeids").tolist(), strict=True))
    index = {key: i for i, key in enumerate(keys)}
    modes = [MODES.get(mode, -1) for mode in body.attribute("nodes_modes", [])]
    features, missing = body.numbers("nodes_featureids").astype(np.int64), body.numbers("nodes_missing_value_tracks_true")
    sides = {side: body.numbers(f"nodes_{side}nodeids").tolist() for side in ("true", "false")}
    if {len(modes), features.size, *map(len, sides.values())} != {len(keys)} or len(index) != len(keys) or -1 in modes:
        raise body.refusal("has lists of nodes of different lengths, a node twice, or an unknown mode")
    try:
        true, false = (
            np.array([-1 if mode == 0 else index[tree, child] for (tree, _), mode, child in zip(keys, modes, ids, strict=True)])
            for ids in sides.values()
        )
        owners = zip(body.numbers(f"{what}_treeids").tolist(), body.numbers(f"{what}_nodeids").tolist(), strict=True)
        leaves = np.array([index[key] for key in owners], np.int64)
    except KeyError as error:
        raise body.refusal(f"names node {error.args[0]} (tree, number), which is not there") from error
    first = {tree: i for i, (tree, _) in reversed(list(enumerate(keys)))}
    return Trees(
        modes=np.array(modes, np.int64),
        features=features,
        thresholds=body.numbers("nodes_values", "nodes_values_as_tensor"),
        true=true,
        false=false,
        missing=missing.astype(bool) if missing.size else np.zeros(len(keys), bool),
        roots=np.array([first[tree] for tree in sorted(first, key=lambda tree: first[tree])], np.int64),
        leaves=leaves,
        targets=body.numbers(f"{what}_ids").astype(np.int64),
        weights=body.numbers(f"{what}_weights", f"{what}_weights_as_tensor"),
    )


def _walk(body: Body, trees: Trees) -> np.ndarray:
    """Indices of nodes with every parent before its children, as the kernel wants them; a node may have several parents."""
    order: list[int] = []
    state = np.zeros(trees.modes.size, np.uint8)  # 1: its children are under way, 2: done
    for root in trees.roots.tolist()[::-1]:
        pending = [(root, False)]
        while pending:
            node, done = pending.pop()
            if done:
                state[node] = 2
                order.append(node)
                continue
            if not 0 <= node < state.size or state[node] == 1:
                raise body.refusal(f"has a node that is reached from itself, or one that is not there (node {node})")
            if state[node] == 0:
                state[node] = 1
                pending.append((node, True))
                if trees.modes[node]:  # visited last is placed first: the true child stands behind its parent
                    pending += [(int(trees.true[node]), False), (int(trees.false[node]), False)]
    return np.array(order[::-1], np.int64)


def _aggregate(body: Body, trees: Trees, targets: int, how: str) -> Value:
    """The kernel's node: (N, targets) of the operand's type, without base values."""
    if how not in _KERNEL_AGGREGATES:
        raise body.refusal(f"has the aggregate function {how}, expected {', '.join(_KERNEL_AGGREGATES)}")
    if rank_of(body.input()) not in (None, 2):
        raise body.refusal(f"has an operand of rank {rank_of(body.input())}, expected rows and columns")
    order = _walk(body, trees)
    place = np.full(trees.modes.size + 1, -1)
    place[order] = np.arange(order.size)  # and index -1, the child of a leaf, stays -1
    owners = place[trees.leaves]
    kept = np.argsort(owners, kind="stable")[np.count_nonzero(owners < 0) :]
    if trees.targets.size != trees.leaves.size or trees.weights.size != trees.leaves.size:
        raise body.refusal("has lists of weights of different lengths")
    if targets < 1 or (trees.targets >= targets).any() or (trees.targets < 0).any():
        raise body.refusal(f"has weights for a target beyond its {targets}")
    x = body.input() if body.input().dtype == DataType.DOUBLE else body.cast(body.input(), DataType.FLOAT)
    real = np.float64 if x.dtype == DataType.DOUBLE else np.float32
    modes = trees.modes + MISSING_IS_TRUE * trees.missing
    tables = (
        (trees.features[order], np.int32),
        (trees.thresholds[order], real),
        (np.stack([place[trees.true[order]], place[trees.false[order]]], 1), np.int32),
        (modes[order], np.uint8),
        (np.searchsorted(owners[kept], np.arange(order.size + 1)), np.int32),
        (trees.targets[kept], np.int32),
        (trees.weights[kept], real),
        (place[trees.roots], np.int32),
    )
    graph_of(body.node).opset_imports.setdefault(FUSED_DOMAIN, 1)
    inputs = [body.constant(array, dtype) for array, dtype in tables]
    scores = body.add("TreeEnsemble", x, *inputs, domain=FUSED_DOMAIN, targets=targets, aggregate=_KERNEL_AGGREGATES[how])
    shape = body.input().shape
    rows = None if shape is None else shape[0]
    scores.type, scores.shape = TensorType(x.dtype or DataType.FLOAT), Shape([rows, targets])
    return scores


def _based(body: Body, scores: Value, base: np.ndarray | None = None) -> Value:
    """Scores and the base values."""
    base = body.numbers("base_values", "base_values_as_tensor") if base is None else base
    if not base.size:
        return scores
    real = np.float64 if scores.dtype == DataType.DOUBLE else np.float32
    total = body.add("Add", scores, body.constant(base, real))
    total.type, total.shape = scores.type, scores.shape
    return total

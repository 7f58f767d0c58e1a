# SPDX-License-Identifier: Apache-2.0
"""Models of scikit-learn and single operators of ai.onnx.ml give the answers of onnxruntime on the edge runtime."""

import numpy as np
import onnx
import pytest
from ml_models import BOTH, BRANCHES, LABELS, LINEAR, MANY, NUMBERS, ONE, ONLY, WHOLE, single, tree
from onnx_text import run_onnx

import penlight_runtime
from penlight_export import UnsupportedFeatureError, convert, verify
from penlight_export.edge.writer import write_program
from penlight_export.graph import from_proto
from penlight_export.onnx.ml.lower import LOWERINGS
from penlight_export.pipeline import edge_graph

RNG = np.random.default_rng(7)
ROWS = RNG.standard_normal((120, 6)).astype(np.float32)
COUNTS = RNG.integers(0, 5, (120, 3))
HOLES = np.where(RNG.random(ROWS.shape) < 0.1, np.nan, ROWS).astype(np.float32)
CLASSES = (2 * ROWS[:, 0] + ROWS[:, 1] > 0).astype(np.int64) + (ROWS[:, 2] > 0.5)
TARGET = 3 * ROWS[:, 0] + np.sin(ROWS[:, 1])


def agree(tmp_path, proto, inputs, rows=(3, 1)):
    """Converts, compares with onnxruntime on all rows and on fewer."""
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    result = convert(path, tmp_path / "model.pen", data=inputs)
    assert result.report.ok
    session = penlight_runtime.Program.open(result.path).session()
    for count in (len(next(iter(inputs.values()))), *rows):
        part = {name: array[:count] for name, array in inputs.items()}
        expected, found = run_onnx(proto, part), session.run(part)
        for name, array in expected.items():
            if isinstance(array, list):  # of ZipMap
                array = np.array([[row[key] for key in sorted(row)] for row in array], np.float32)
            assert found[name].dtype == array.dtype and found[name].shape == array.shape
            np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-5)
    return result


X = {"x": HOLES}
VECTORS = {"coefficients": [0.5, -1.0, 0.75], "support_vectors": NUMBERS, "rho": [0.2], "n_supports": 3}
MACHINE = {
    "vectors_per_class": [1, 2, 1],
    "support_vectors": (NUMBERS + NUMBERS)[:24],
    "coefficients": NUMBERS[:8],
    "rho": [0.1, -0.2, 0.05],
}
DUEL = {"vectors_per_class": [2, 1], "support_vectors": NUMBERS, "coefficients": [0.5, 0.25, -0.75], "rho": [0.05]}
THREE, TWO, RBF = (
    {"classlabels_ints": [4, 7, 9]},
    {"classlabels_ints": [3, 8]},
    {"kernel_type": "RBF", "kernel_params": [0.3, 0.0, 3.0]},
)
STRAIGHT = {"kernel_type": "LINEAR", "kernel_params": [0.0, 0.0, 0.0], "rho": [0.1]}
CURVES = {"prob_a": [-1.5, -0.7, -2.0], "prob_b": [0.1, 0.0, -0.2]}
MACHINES = {
    "votes": MACHINE | THREE | RBF,
    "linear-kernel": STRAIGHT | MACHINE | THREE,
    "poly": MACHINE | THREE | {"kernel_type": "POLY", "kernel_params": [0.5, 0.3, 2.0]},
    "sigmoid": MACHINE | THREE | {"kernel_type": "SIGMOID", "kernel_params": [0.5, 0.3, 3.0]},
    "softmax": MACHINE | THREE | RBF | {"post_transform": "SOFTMAX"},
    "probabilities": MACHINE | THREE | RBF | CURVES,
    "pair": DUEL | TWO | RBF,
    "pair-logistic": DUEL | TWO | RBF | {"post_transform": "LOGISTIC"},
    "pair-probabilities": DUEL | TWO | RBF | {name: column[:1] for name, column in CURVES.items()},
    "linear": THREE | {"coefficients": NUMBERS} | STRAIGHT,
    "linear-softmax": THREE | {"coefficients": NUMBERS, "post_transform": "SOFTMAX"} | STRAIGHT,
    "linear-pair": TWO | {"coefficients": NUMBERS[:12]} | STRAIGHT,
    "linear-pair-positive": TWO | {"coefficients": np.abs(NUMBERS[:12]).tolist()} | STRAIGHT,
}
PAIR = {"coefficients": NUMBERS[:6], "intercepts": [0.1], "classlabels_ints": [3, 8]}

NODES = {
    "regressor": ("TreeEnsembleRegressor", X, ONLY, tree(BRANCHES, ONE, "target", n_targets=1, base_values=[0.5])),
    "regressor-average": (
        "TreeEnsembleRegressor",
        X,
        ONLY,
        tree(BRANCHES, MANY, "target", n_targets=3, aggregate_function="AVERAGE"),
    ),
    "regressor-min": ("TreeEnsembleRegressor", X, ONLY, tree(BRANCHES, MANY, "target", n_targets=3, aggregate_function="MIN")),
    "regressor-max": ("TreeEnsembleRegressor", X, ONLY, tree(BRANCHES, MANY, "target", n_targets=3, aggregate_function="MAX")),
    "regressor-double": (
        "TreeEnsembleRegressor",
        {"x": ROWS.astype(np.float64)},
        ONLY,
        tree(BRANCHES, ONE, "target", n_targets=1),
    ),
    "classifier-integers": (
        "TreeEnsembleClassifier",
        {"x": 2 * COUNTS.repeat(2, 1)},
        BOTH,
        tree(BRANCHES, MANY, "class", **LABELS),
    ),
    "classifier": ("TreeEnsembleClassifier", X, BOTH, tree(BRANCHES, MANY, "class", **LABELS)),
    "classifier-softmax": (
        "TreeEnsembleClassifier",
        X,
        BOTH,
        tree(BRANCHES, MANY, "class", **LABELS, post_transform="SOFTMAX", base_values=[0.1, 0.2, -1.5]),
    ),
    "classifier-pair": ("TreeEnsembleClassifier", X, BOTH, tree(BRANCHES, ONE, "class", classlabels_int64s=[0, 1])),
    "classifier-half": (
        "TreeEnsembleClassifier",
        X,
        BOTH,
        tree(BRANCHES, [(t, n, 0, abs(w) / 4) for t, n, _, w in ONE], "class", classlabels_int64s=[0, 1]),
    ),
    "classifier-shares": (
        "TreeEnsembleClassifier",
        X,
        BOTH,
        tree(BRANCHES, [(t, n, 1, abs(w) / 4) for t, n, _, w in ONE], "class", classlabels_int64s=[0, 1]),
    ),
    "classifier-logistic": (
        "TreeEnsembleClassifier",
        X,
        BOTH,
        tree(BRANCHES, ONE, "class", classlabels_int64s=[0, 1], post_transform="LOGISTIC", base_values=[0.3]),
    ),
    "linear": ("LinearClassifier", {"x": ROWS}, BOTH, LINEAR | {"classlabels_ints": [1, 5, 6]}),
    "linear-softmax": (
        "LinearClassifier",
        {"x": ROWS},
        BOTH,
        LINEAR | {"classlabels_ints": [1, 5, 6], "post_transform": "SOFTMAX"},
    ),
    "linear-pair": ("LinearClassifier", {"x": ROWS}, BOTH, PAIR | {"post_transform": "LOGISTIC"}),
    "linear-regressor": ("LinearRegressor", {"x": ROWS}, ONLY, LINEAR | {"targets": 3}),
    **{
        f"svm-{kind.lower()}": ("SVMRegressor", {"x": ROWS}, ONLY, VECTORS | {"kernel_type": kind, "kernel_params": parameters})
        for kind, parameters in (
            ("LINEAR", [0.5, 0.0, 3.0]),
            ("RBF", [0.5, 0.0, 3.0]),
            ("POLY", [0.5, 0.3, 3.0]),
            ("SIGMOID", [0.5, 0.3, 3.0]),
        )
    },
    "svm-one-class": (
        "SVMRegressor",
        {"x": ROWS},
        ONLY,
        VECTORS | {"kernel_type": "RBF", "kernel_params": [0.5, 0.0, 3.0], "one_class": 1},
    ),
    **{f"machine-{name}": ("SVMClassifier", {"x": ROWS}, BOTH, attributes) for name, attributes in MACHINES.items()},
    "scaler": ("Scaler", {"x": COUNTS}, ONLY, {"offset": [1.0, 2.0, 3.0], "scale": [0.5, 2.0, 1.0]}),
    "normalizer-max": ("Normalizer", {"x": np.abs(ROWS)}, ONLY, {"norm": "MAX"}),
    "normalizer-l1": ("Normalizer", {"x": ROWS}, ONLY, {"norm": "L1"}),
    "normalizer-l2": ("Normalizer", {"x": ROWS}, ONLY, {"norm": "L2"}),
    "imputer-nan": ("Imputer", X, ONLY, {"imputed_value_floats": NUMBERS[:6], "replaced_value_float": float("nan")}),
    "imputer-integers": ("Imputer", {"x": COUNTS}, WHOLE, {"imputed_value_int64s": [9], "replaced_value_int64": 2}),
    "binarizer": ("Binarizer", {"x": ROWS}, ONLY, {"threshold": 0.25}),
    "vectorizer": ("FeatureVectorizer", {"a": ROWS, "b": ROWS[:, :2]}, ONLY, {"inputdimensions": [6, 2]}),
    "one-hot": ("OneHotEncoder", {"x": COUNTS}, ONLY, {"cats_int64s": [4, 0, 2], "zeros": 1}),
    "labels": (
        "LabelEncoder",
        {"x": COUNTS},
        ONLY,
        {"keys_int64s": [0, 3, 2], "values_floats": [0.5, 1.5, -1.0], "default_float": 9.0},
    ),
    "labels-nan": (
        "LabelEncoder",
        {"x": np.where(COUNTS == 1, np.nan, COUNTS).astype(np.float32)},
        WHOLE,
        {"keys_floats": [float("nan"), 3.0], "values_int64s": [5, 6], "default_int64": -7},
    ),
}


@pytest.mark.parametrize("name", NODES)
def test_operators(name, tmp_path):
    operator, inputs, outputs, attributes = NODES[name]
    version = 4 if operator == "LabelEncoder" else 3
    agree(tmp_path, single(operator, inputs, outputs, version, **attributes), inputs)


def test_nodes_in_any_order():
    """onnxruntime misreads trees whose nodes are mixed, and gives no error; the reference implementation does not."""
    attributes = tree(BRANCHES, ONE, "target", n_targets=1)
    assert attributes["nodes_nodeids"][5] == 0
    order = [0, 5, *reversed(range(1, 5)), *range(6, len(attributes["nodes_modes"]))]  # roots stay before the rest
    mixed = {name: [column[i] for i in order] if name.startswith("nodes_") else column for name, column in attributes.items()}
    edge = edge_graph(from_proto(single("TreeEnsembleRegressor", X, **mixed)), "model")
    found = penlight_runtime.Program(b"".join(write_program(edge))).session().run(X)["y"]
    np.testing.assert_array_equal(found, run_onnx(single("TreeEnsembleRegressor", X, **attributes), X)["y"])


def test_columns_by_number(tmp_path):
    proto = single("ArrayFeatureExtractor", {"x": ROWS})
    proto.graph.node[0].input.append("columns")
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([[4, 0]], np.int64), "columns"))
    agree(tmp_path, proto, {"x": ROWS})


def test_the_newest_trees(tmp_path):
    tensor = onnx.numpy_helper.from_array
    attributes = {
        "nodes_modes": tensor(np.array([0, 3], np.uint8), "modes"),
        "nodes_splits": tensor(np.array([0.1, -0.2], np.float32), "splits"),
        "nodes_featureids": [0, 3],
        "nodes_truenodeids": [0, 1],
        "nodes_trueleafs": [1, 1],
        "nodes_falsenodeids": [1, 2],
        "nodes_falseleafs": [0, 1],
        "leaf_targetids": [0, 1, 0],
        "leaf_weights": tensor(np.array([1.5, 2.5, -1.0], np.float32), "weights"),
        "tree_roots": [0],
        "n_targets": 2,
    }
    agree(tmp_path, single("TreeEnsemble", {"x": ROWS}, version=5, **attributes), {"x": ROWS})


@pytest.mark.parametrize("values", [[1.0, 3.0, np.nan, 0.0], [1.0, 3.0, np.nan, 0.0, np.nan], [3.0, np.nan, np.nan]])
def test_members_of_sets(values, tmp_path):
    """Two tests for sets in one tree."""
    tensor = onnx.numpy_helper.from_array
    attributes = {
        "nodes_modes": tensor(np.array([6, 6, 0], np.uint8), "modes"),
        "nodes_splits": tensor(np.array([0, 0, 1.5], np.float32), "splits"),
        "membership_values": tensor(np.array(values, np.float32), "members"),
        "nodes_featureids": [0, 1, 2],
        "nodes_truenodeids": [2, 1, 2],
        "nodes_trueleafs": [0, 1, 1],
        "nodes_falsenodeids": [1, 0, 3],
        "nodes_falseleafs": [0, 1, 1],
        "leaf_targetids": [0, 0, 0, 0],
        "leaf_weights": tensor(np.array([1.5, 2.5, -1.0, 7.0], np.float32), "weights"),
        "tree_roots": [0],
        "n_targets": 1,
    }
    x = COUNTS.astype(np.float32)
    program = edge_graph(from_proto(single("TreeEnsemble", {"x": x}, version=5, **attributes)), "model")
    found = penlight_runtime.Program(b"".join(write_program(program))).session().run([x])["y"]
    sets = [[], []]
    for at, value in zip(np.cumsum(np.isnan(values)), values, strict=True):
        if at < 2:
            sets[at].append(value)
    expected = [(-1.0 if row[2] <= 1.5 else 7.0) if row[0] in sets[0] else 2.5 if row[1] in sets[1] else 1.5 for row in x.tolist()]
    np.testing.assert_array_equal(found[:, 0], np.array(expected, np.float32))


def test_every_lowering_is_tested():
    elsewhere = {"ArrayFeatureExtractor", "CategoryMapper", "TreeEnsemble"}  # below, and in test_string_models.py
    assert set(LOWERINGS) <= {operator for operator, *_ in NODES.values()} | elsewhere


@pytest.mark.parametrize(
    ("operator", "attributes", "words"),
    [
        ("SVMClassifier", MACHINE | {"classlabels_ints": [1, 2], "kernel_type": "RBF"}, "2 labels and vectors for 3 classes"),
        ("SVMClassifier", MACHINE | {"classlabels_ints": [1, 2, 3], "coefficients": NUMBERS[:5]}, "do not fit together"),
        ("LinearClassifier", LINEAR | {"classlabels_ints": [1]}, "1 labels and 3 scores"),
        ("LinearClassifier", LINEAR | {"classlabels_ints": [1, 2, 3], "post_transform": "PROBIT"}, "post_transform PROBIT"),
        (
            "TreeEnsembleRegressor",
            tree([(0, 0, "BRANCH_LEQ", 0, 0.1, 1, 0, 0)], [(0, 1, 0, 0.5)], "target", n_targets=1),
            "reached from itself",
        ),
        (
            "TreeEnsembleRegressor",
            tree([(0, 0, "BRANCH_LEQ", 0, 0.1, 1, 9, 0)], [(0, 1, 0, 0.5)], "target", n_targets=1),
            "not there",
        ),
        ("TreeEnsembleRegressor", tree(BRANCHES, MANY, "target", n_targets=2), "beyond its 2"),
        (
            "TreeEnsembleRegressor",
            tree(BRANCHES[:1], [(0, 1, 0, 0.5), (0, 2, 0, 1.0)], "target", n_targets=1) | {"nodes_modes": ["LEAF"]},
            "lengths",
        ),
        ("LabelEncoder", {"keys_int64s": [1, 2], "values_int64s": [1]}, "one value for each key"),
    ],
)
def test_what_cannot_be_is_named(operator, attributes, words, tmp_path):
    outputs = BOTH if "Classifier" in operator else ONLY
    path = tmp_path / "model.onnx"
    proto = single(operator, {"x": ROWS}, outputs, **attributes)
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(UnsupportedFeatureError, match=words):
        convert(path, tmp_path / "model.pen")


def pipelines():
    pytest.importorskip("sklearn")
    from sklearn import ensemble, linear_model, pipeline, preprocessing

    join, forest = pipeline.make_pipeline, {"n_estimators": 30, "random_state": 0}
    return {
        "scaler-logistic": (join(preprocessing.StandardScaler(), linear_model.LogisticRegression()), ROWS, CLASSES),
        "random-forest": (ensemble.RandomForestClassifier(**forest), ROWS, CLASSES),
        "boosted-regressor": (ensemble.GradientBoostingRegressor(**forest), ROWS, TARGET),
        "normalizer-ridge": (join(preprocessing.Normalizer(), linear_model.Ridge()), ROWS, TARGET),
        "one-hot-logistic": (join(preprocessing.OneHotEncoder(), linear_model.LogisticRegression()), COUNTS, CLASSES),
        "ordinal-forest": (join(preprocessing.OrdinalEncoder(), ensemble.RandomForestClassifier(**forest)), COUNTS, CLASSES),
    }


@pytest.mark.filterwarnings("ignore")  # skl2onnx and NumPy's deprecations
@pytest.mark.parametrize(
    "name",
    [
        *("scaler-logistic", "random-forest", "boosted-regressor", "normalizer-ridge"),
        *("one-hot-logistic", "ordinal-forest"),
    ],
)
def test_pipelines_of_scikit_learn(name, tmp_path):
    skl2onnx = pytest.importorskip("skl2onnx")
    estimator, rows, answers = pipelines()[name]
    estimator.fit(rows, answers)
    opsets = {"": 18, "ai.onnx.ml": 3}
    kinds = skl2onnx.common.data_types
    kind = (kinds.FloatTensorType if rows.dtype == np.float32 else kinds.Int64TensorType)([None, rows.shape[1]])
    proto = skl2onnx.convert_sklearn(estimator, initial_types=[("x", kind)], target_opset=opsets)
    port = proto.graph.input[0].name
    result = agree(tmp_path, proto, {port: rows})
    assert "ZipMap" not in result.summary.operators
    found = penlight_runtime.Program.open(result.path).session().run({port: rows})
    first = next(iter(found.values())).ravel()
    expected = estimator.predict(rows)
    np.testing.assert_allclose(first, expected, rtol=1e-3, atol=1e-3)
    assert convert(tmp_path / "model.onnx", tmp_path / "again.pen").report.ok  # with random rows
    assert verify(tmp_path / "model.onnx", tmp_path / "again.pen").ok

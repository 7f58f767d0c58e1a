# SPDX-License-Identifier: Apache-2.0
"""Which operator of ai.onnx.ml becomes what."""

from __future__ import annotations

from collections.abc import Callable

from penlight_export.errors import ExportError
from penlight_export.graph import Model, all_nodes
from penlight_export.onnx.ml import features, linear, support_vectors, trees
from penlight_export.onnx.ml.body import Body
from penlight_export.onnx.ml.zip_map import ML_DOMAIN

LOWERINGS: dict[str, Callable[[Body], None]] = {
    "ArrayFeatureExtractor": features.array_feature_extractor,
    "Binarizer": features.binarizer,
    "CategoryMapper": features.category_mapper,
    "FeatureVectorizer": features.feature_vectorizer,
    "Imputer": features.imputer,
    "LabelEncoder": features.label_encoder,
    "LinearClassifier": linear.linear_classifier,
    "LinearRegressor": linear.linear_regressor,
    "Normalizer": features.normalizer,
    "OneHotEncoder": features.one_hot_encoder,
    "SVMClassifier": support_vectors.svm_classifier,
    "SVMRegressor": support_vectors.svm_regressor,
    "Scaler": features.scaler,
    "TreeEnsemble": trees.tree_ensemble,
    "TreeEnsembleClassifier": trees.tree_classifier,
    "TreeEnsembleRegressor": trees.tree_regressor,
}


def lower_ml(model: Model) -> int:
    """Replaces the operators of ai.onnx.ml in a model of operator set 21 or above whose types are known. Returns their number.

    Raises:
        UnsupportedFeatureError: one has attributes that contradict each other.
    """
    nodes = [node for node in all_nodes(model.graph) if node.domain == ML_DOMAIN and node.op_type in LOWERINGS]
    for node in nodes:
        _lower(Body(node))
    return len(nodes)


def _lower(body: Body) -> None:
    try:
        LOWERINGS[body.node.op_type](body)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, ExportError):
            raise
        # attributes come from anybody: lists of other lengths or kinds than the operator says
        raise body.refusal(f"has attributes that do not fit together: {error}") from error

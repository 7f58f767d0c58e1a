# SPDX-License-Identifier: Apache-2.0
"""Models of one node of ai.onnx.ml, and small forests, for the tests of the importer."""

import numpy as np
import onnx

SHAPES = {1: [["N", "K"]], 2: [["N"], ["N", "K"]]}

KINDS = {"f": onnx.TensorProto.FLOAT, "i": onnx.TensorProto.INT64, "s": onnx.TensorProto.STRING}


def element_type(dtype):
    return onnx.TensorProto.STRING if dtype.kind in "OU" else onnx.helper.np_dtype_to_tensor_dtype(dtype)


def single(operator, inputs, outputs=("y:f",), version=3, **attributes):
    """A model of one node. inputs: example arrays by name; outputs: names with the kind of their elements, y float32 by default."""
    names = [name.split(":")[0] for name in outputs]
    nodes = [onnx.helper.make_node(operator, list(inputs), names, domain="ai.onnx.ml", **attributes)]
    ports = [onnx.helper.make_tensor_value_info(name, element_type(a.dtype), ["N", *a.shape[1:]]) for name, a in inputs.items()]
    ends = [
        onnx.helper.make_tensor_value_info(name, KINDS[text[-1]], shape)
        for name, text, shape in zip(names, outputs, SHAPES[len(outputs)], strict=True)
    ]
    if operator in ("OneHotEncoder", "LabelEncoder", "CategoryMapper"):
        ends[0].type.tensor_type.shape.dim.add().dim_param = "C"
    if operator in ("LabelEncoder", "CategoryMapper"):
        del ends[0].type.tensor_type.shape.dim[2:]
    imports = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("ai.onnx.ml", version)]
    return onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", ports, ends), opset_imports=imports, ir_version=9)


def tree(branches, leaves, what, **more):
    """Attributes of a forest: branches (tree, node, mode, feature, threshold, true, false, missing) and leaves."""
    ends = sorted({(t, n) for t, n, *_ in leaves})
    nodes = sorted([*branches, *((t, n, "LEAF", 0, 0.0, 0, 0, 0) for t, n in ends)])  # onnxruntime wants trees one by one
    names = ("treeids", "nodeids", "modes", "featureids", "values", "truenodeids", "falsenodeids", "missing_value_tracks_true")
    columns = {f"nodes_{name}": list(column) for name, column in zip(names, zip(*nodes, strict=True), strict=True)}
    parts = zip(("treeids", "nodeids", "ids", "weights"), zip(*leaves, strict=True), strict=True)
    return columns | {f"{what}_{name}": list(column) for name, column in parts} | more


BRANCHES = [
    (0, 0, "BRANCH_LEQ", 0, 0.1, 1, 2, 1),
    (0, 2, "BRANCH_GT", 3, -0.2, 3, 4, 0),
    (5, 0, "BRANCH_LT", 1, 0.0, 4, 1, 0),
    (5, 1, "BRANCH_GTE", 2, 0.5, 2, 3, 0),
]
ONE = [(0, 1, 0, 0.5), (0, 3, 0, -1.0), (0, 4, 0, 2.0), (5, 4, 0, 0.25), (5, 2, 0, -0.75), (5, 3, 0, 1.5)]
MANY = [(t, n, i, w + i) for t, n, _, w in ONE for i in range(3)]
LABELS = {"classlabels_int64s": [4, 7, 9]}
NUMBERS = np.random.default_rng(8).standard_normal(18).astype(np.float32).tolist()

ONLY, BOTH, WHOLE = ("y:f",), ("y:i", "z:f"), ("y:i",)
TEXTS, NAMED = ("y:s",), ("y:s", "z:f")

LINEAR = {"coefficients": NUMBERS, "intercepts": [0.1, -0.2, 0.3]}

# SPDX-License-Identifier: Apache-2.0
"""ZipMap turns rows of probabilities into dictionaries, which no tensor runtime has: the rows themselves are the output."""

from __future__ import annotations

import onnx

ML_DOMAIN = "ai.onnx.ml"


def strip_zip_maps(proto: onnx.ModelProto) -> int:
    """Makes every ZipMap a plain copy, in place; outputs keep their names and become (N, classes) float32. Returns their number."""
    zipped = [node for node in proto.graph.node if (node.domain, node.op_type) == (ML_DOMAIN, "ZipMap")]
    types = {value.name: value for value in (*proto.graph.output, *proto.graph.value_info)}
    for node in zipped:
        labels = next((len(a.ints) or len(a.strings) for a in node.attribute if a.name.startswith("classlabels")), 0)
        node.domain, node.op_type = "", "Identity"
        del node.attribute[:]
        if node.output and node.output[0] in types:
            shape = [None, labels or None]
            types[node.output[0]].CopyFrom(onnx.helper.make_tensor_value_info(node.output[0], onnx.TensorProto.FLOAT, shape))
    return len(zipped)

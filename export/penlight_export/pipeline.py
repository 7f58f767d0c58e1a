# SPDX-License-Identifier: Apache-2.0
"""From any ONNX graph to one that the edge runtime runs: the same way for traced and imported models."""

from __future__ import annotations

from collections.abc import Sequence

from penlight_export.edge.kernels import has_kernel, kernel_table, refuse_missing
from penlight_export.graph import FUSED_DOMAIN, Model, clone, infer_shapes
from penlight_export.onnx.functions import expand_functions
from penlight_export.onnx.upgrade import TARGET, upgrade
from penlight_export.passes import DEFAULT, FuseActivation, LiftConstants, Pass, run_passes

# What the fused kernels can apply; see runtime/kernels.
ACTIVATIONS = frozenset({"Relu", "LeakyRelu", "Clip", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid"})


def edge_graph(model: Model, where: str, passes: Sequence[Pass] = DEFAULT) -> Model:
    """Returns a copy in the form of a .pen file: operator set >= 21, functions expanded, optimised, activations fused.

    Args:
        model: any checked graph; not changed.
        where: how messages name the model.
        passes: what to run; none at all writes the graph as it is.

    Raises:
        UnsupportedOperatorsError: the runtime lacks operators; all are listed.
        UnsupportedFeatureError: old forms or element types that the runtime cannot hold.
    """
    model = clone(model)
    model.graph.opset_imports.setdefault("", TARGET)  # a model of another domain alone names none
    model = expand_functions(model, lambda *_: True)  # the model's own functions
    infer_shapes(model)
    run_passes(model, (LiftConstants(),))
    if upgrade(model):
        infer_shapes(model)
    run_passes(model, passes)
    expanded = expand_functions(model, has_kernel)
    if expanded is not model:
        model = expanded
        infer_shapes(model)
        run_passes(model, (LiftConstants(), *passes))
    if passes and all((FUSED_DOMAIN, name) in kernel_table() for name in ("FusedConv", "FusedGemm")):
        run_passes(model, (FuseActivation(ACTIVATIONS),))
    infer_shapes(model)
    refuse_missing(model, where)
    return model

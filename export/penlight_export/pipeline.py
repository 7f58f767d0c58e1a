# SPDX-License-Identifier: Apache-2.0
"""From any ONNX graph to one that the edge runtime runs: the same way for traced and imported models."""

from __future__ import annotations

from collections.abc import Sequence

from penlight_export.edge.kernels import has_kernel, refuse_missing
from penlight_export.graph import FUSED_DOMAIN, Model, all_nodes, clone, infer_shapes
from penlight_export.onnx.einsum import write_out_einsums
from penlight_export.onnx.functions import expand_functions
from penlight_export.onnx.ml import lower_ml
from penlight_export.onnx.nbits import lower_nbits
from penlight_export.onnx.opsets import find_schema
from penlight_export.onnx.sequences import resolve_sequences
from penlight_export.onnx.strings import DEFAULT_WIDTH, lower_strings
from penlight_export.onnx.upgrade import TARGET, upgrade
from penlight_export.passes import DEFAULT, LiftConstants, Pass, RemoveDeadCode, portable, run_passes

# Between 21, where `upgrade` ends, and 24 no operator changed its meaning; Attention, RMSNormalization and Swish came.
NEWEST = 24


def edge_graph(
    model: Model,
    where: str,
    passes: Sequence[Pass] = DEFAULT,
    optimized: bool = False,
    max_string_bytes: int = DEFAULT_WIDTH,
    in_place: bool = False,
) -> Model:
    """Returns a copy in the form of a .pen file: operator set >= 21, functions expanded, optimised, activations fused.

    Args:
        model: any checked graph; not changed, unless `in_place`.
        where: how messages name the model.
        passes: what to run; none at all writes the graph as it is.
        optimized: these passes have run on the model; only what a newer operator set offers is left to do.
        max_string_bytes: what a string of an input may have.
        in_place: change the given model, which is of no other use afterwards.

    Raises:
        UnsupportedOperatorsError: the runtime lacks operators; all are listed.
        UnsupportedFeatureError: old forms or element types that the runtime cannot hold.
    """
    passes = [each for each in passes if not each.onnx_only]
    model = model if in_place else clone(model)
    model.graph.opset_imports.setdefault("", TARGET)  # a model of another domain alone names none
    model = expand_functions(model, lambda *_: True)  # the model's own functions
    infer_shapes(model)
    run_passes(model, (LiftConstants(),))
    if upgrade(model) + lower_ml(model) + lower_nbits(model) + resolve_sequences(model) + write_out_einsums(model):
        infer_shapes(model)
        optimized = False
    if lower_strings(model, max_string_bytes):
        infer_shapes(model)
    declared = model.graph.opset_imports[""]
    if passes:
        model.graph.opset_imports[""] = max(NEWEST, declared)
    run_passes(model, [each for each in portable(passes) if each.finds_newer or not optimized])
    expanded = expand_functions(model, has_kernel)
    if expanded is not model:
        model = expanded
        infer_shapes(model)
        run_passes(model, (LiftConstants(), *portable(passes)))
    edge = [each for each in passes if each.edge_only and all(has_kernel(FUSED_DOMAIN, name) for name in each.kernels)]
    run_passes(model, [*edge, *(each for each in passes if isinstance(each, RemoveDeadCode))])
    if all(node.domain or find_schema("", node.op_type, declared) is not None for node in all_nodes(model.graph)):
        model.graph.opset_imports[""] = declared  # nothing newer came; messages name versions as the model does
    infer_shapes(model)
    refuse_missing(model, where)
    return model

# SPDX-License-Identifier: Apache-2.0
"""Every layer of PyTorch's ModuleInfo table, with its inputs: onnxruntime gives what the layer gives."""

import warnings

import numpy as np
import onnx
import pytest
from export_cases import onnx_engine
from torch_databases import module_db
from torch_modules import INFOS, flat, translate

import penlight as pl
from penlight import nn
from penlight.errors import ValueReadError
from penlight.tracing import trace
from penlight_export.compare import difference
from penlight_export.eager import evaluation
from penlight_export.graph import to_proto
from penlight_export.onnx.lower import lower_trace

torch = pytest.importorskip("torch")
from torch.utils import _pytree  # noqa: E402  importable only where torch is

INPUTS = 2  # per layer, spread over the table's list
READING = {"CTCLoss", "MultiLabelMarginLoss"}  # they make their graph from the labels, which are inputs here
TOLERANCE = 1e-4  # several operators in a row, in float32


def cases(info):
    """Modules and calls of ours, in float32."""
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of deprecated arguments
        inputs = info.module_inputs_func(info, device="cpu", dtype=torch.float32, requires_grad=False, training=False)
    called = [entry for entry in inputs if entry.forward_input is not None]
    for entry in called[:: max(1, len(called) // INPUTS)]:
        built, call = entry.constructor_input, entry.forward_input
        pl.manual_seed(0)
        yield (_pytree.tree_map(translate, (part.args, part.kwargs)) for part in (built, call))


@pytest.mark.parametrize("name", INFOS)
def test_layer_exports(name):
    checked = 0
    for (args, kwargs), call in cases(INFOS[name]):
        module = getattr(nn, name)(*args, **kwargs).eval()
        if name in READING:
            with pytest.raises(ValueReadError, match="reads the value of a tensor"):
                check(module, call)
        else:
            check(module, call)
        checked += 1
    assert checked


def check(module, call):
    leaves, layout = _pytree.tree_flatten(call)
    places = [number for number, leaf in enumerate(leaves) if isinstance(leaf, pl.Tensor)]
    names = [f"x{number}" for number in range(len(places))]

    def function(*tensors):
        filled = list(leaves)
        for place, t in zip(places, tensors, strict=True):
            filled[place] = t
        args, kwargs = _pytree.tree_unflatten(filled, layout)
        return tuple(flat(module(*args, **kwargs), pl.Tensor))

    tensors = tuple(leaves[place].detach() for place in places)
    with evaluation(module), pl.no_grad():
        expected = [t.numpy() for t in function(*tensors)]  # the first call also makes what lazy layers lack
        graph = trace(function, tensors, names=names)
    outputs = [f"y{number}" for number in range(len(expected))]
    proto = to_proto(lower_trace(graph, 21, type(module).__name__, output_names=outputs))
    onnx.checker.check_model(proto)
    used = {port.name for port in proto.graph.input}
    found = onnx_engine(proto).run({n: np.asarray(t.numpy()) for n, t in zip(names, tensors, strict=True) if n in used})
    for output, reference in zip(outputs, expected, strict=True):
        gap = difference(reference, found[output])
        assert gap.scaled <= TOLERANCE, f"{type(module).__name__}: {gap}"


def test_the_table_is_whole():
    assert len(INFOS) == len(module_db) >= 105

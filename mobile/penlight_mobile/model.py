# SPDX-License-Identifier: Apache-2.0
"""The `.pen` file that is packaged: checked by the runtime, then asked for its operators."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import penlight_runtime
from penlight_export.edge.generated.pen_generated import Program
from penlight_mobile import sources
from penlight_mobile.errors import InvalidModelError
from penlight_runtime.dtypes import numpy_dtype

_NUMBERS = {numpy_dtype(number).name: number for number in range(1, 14)}  # of penlight_dtype


@dataclass(frozen=True)
class Model:
    """A model file that loads and that reproduces its golden outputs."""

    name: str
    data: bytes
    operators: tuple[Any, ...]  # amalgamate.Operator
    inputs: tuple[Any, ...]  # penlight_runtime.TensorInfo
    outputs: tuple[Any, ...]
    selection: Any  # amalgamate.Selection


def read(path: Path) -> Model:
    """Reads a model, verifies it and runs its self-test: what does not work here is not shipped.

    Raises:
        InvalidModelError: the file is missing, is no `.pen` file, is damaged, or gives other outputs than it promises.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidModelError(f"package: cannot read the model {path}: {error.strerror}") from error
    try:
        program = penlight_runtime.Program(data, check_segments=True)
        program.self_test()
        selection = sources.amalgamate().Selection(_dtypes(program, data), _activations(data), _has_groups(data))
    except penlight_runtime.RuntimeFailure as error:
        raise InvalidModelError(f"package: {path} does not run: {error}") from error
    return Model(path.stem, data, _operators(data), tuple(program.inputs()), tuple(program.outputs()), selection)


def _operators(data: bytes) -> tuple[Any, ...]:
    table = Program.GetRootAs(data, 0)  # the runtime has verified every offset
    found = [table.Operators(i) for i in range(table.OperatorsLength())]
    operator = sources.amalgamate().Operator
    return tuple(sorted({operator(o.Domain().decode(), o.Name().decode(), o.Version()) for o in found}))


def _dtypes(program: penlight_runtime.Program, data: bytes) -> frozenset[int] | None:
    """The numbers of the dtypes that runs of the golden samples meet; None when that cannot be told."""
    golden = program.golden()
    if Program.GetRootAs(data, 0).BodiesLength() or {sample.method for sample in golden} != set(program.methods):
        return None  # a body's values are in no plan, nor are those of a method that was not run
    found = {0}  # an operand that is left out
    for sample in golden:
        session = program.session(sample.method)
        session.run(sample.inputs)
        for value in session.plan().values:
            number = _NUMBERS.get(value.dtype.name) if value.dtype else None
            if number is None:
                return None
            found.add(number)
    return frozenset(found)


def _attributes(data: bytes) -> list[Any]:
    table = Program.GetRootAs(data, 0)
    methods = [table.Methods(i) for i in range(table.MethodsLength())] + [table.Bodies(i) for i in range(table.BodiesLength())]
    nodes = [method.Nodes(i) for method in methods for i in range(method.NodesLength())]
    return [node.Attributes(i) for node in nodes for i in range(node.AttributesLength())]


def _activations(data: bytes) -> frozenset[str]:
    """What fused nodes name as their activation; every text of an attribute counts."""
    texts = [attribute.Text() for attribute in _attributes(data)]
    return frozenset(text.decode() for text in texts if text)


def _has_groups(data: bytes) -> bool:
    """Whether some convolution works in groups of channels, as depthwise ones do."""
    return any(attribute.Name() == b"group" and attribute.Integer() > 1 for attribute in _attributes(data))

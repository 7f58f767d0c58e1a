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


@dataclass(frozen=True)
class Model:
    """A model file that loads and that reproduces its golden outputs."""

    name: str
    data: bytes
    operators: tuple[Any, ...]  # amalgamate.Operator
    inputs: tuple[Any, ...]  # penlight_runtime.TensorInfo
    outputs: tuple[Any, ...]


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
        program = penlight_runtime.Program(data)
        program.self_test()
    except penlight_runtime.RuntimeFailure as error:
        raise InvalidModelError(f"package: {path} does not run: {error}") from error
    return Model(path.stem, data, _operators(data), tuple(program.inputs()), tuple(program.outputs()))


def _operators(data: bytes) -> tuple[Any, ...]:
    table = Program.GetRootAs(data, 0)  # the runtime has verified every offset
    found = [table.Operators(i) for i in range(table.OperatorsLength())]
    operator = sources.amalgamate().Operator
    return tuple(sorted({operator(o.Domain().decode(), o.Name().decode(), o.Version()) for o in found}))

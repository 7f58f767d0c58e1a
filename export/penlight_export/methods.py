# SPDX-License-Identifier: Apache-2.0
"""Several methods of one module in one .pen file, such as the prefill and the decode of a language model."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import penlight_runtime
from penlight.dims import Dim
from penlight.serialize import atomic_write
from penlight_export.compare import DEFAULT_TOLERANCE
from penlight_export.edge.program import build_methods
from penlight_export.errors import ExportError, OptionError, VerifyError
from penlight_export.export import Exported, export
from penlight_export.onnx.opsets import DEFAULT_EXPORT
from penlight_export.passes import DEFAULT, Pass
from penlight_export.pieces import Pieces
from penlight_export.provenance import producer
from penlight_export.summary import ModelSummary, summarize_pen


@dataclass(frozen=True)
class Method:
    """A method of a program.

    Attributes:
        function: a module, a method of it (`model.decode`), or a function of tensors.
        inputs, dynamic, names, output_names: as in `export`.
    """

    function: Any
    inputs: Any
    dynamic: Mapping[str, Mapping[int, str | Dim]] | None = None
    names: Sequence[str] | None = None
    output_names: Sequence[str] = ()


@dataclass
class ExportedMethods:
    """Several methods as one program.

    Attributes:
        methods: each on its own, with its ONNX model and its report.
        pen_file: the content of the .pen file; None when the edge runtime lacks something that a method needs, see `refusal`.
        summary: of the program; None where there is none.
        refusal: why there is no program.
    """

    methods: dict[str, Exported]
    pen_file: Pieces | None
    summary: ModelSummary | None
    refusal: ExportError | None = field(default=None, repr=False)

    @cached_property
    def program(self) -> bytes | None:
        """The bytes of the .pen file, as a copy; None when the edge runtime lacks something, see `refusal`."""
        return None if self.pen_file is None else self.pen_file.join()

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the .pen file, atomically.

        Raises:
            OptionError: another suffix; an .onnx file holds one method: save `methods[name]`.
            UnsupportedOperatorsError, UnsupportedFeatureError: the edge runtime cannot run a method.
        """
        path = Path(path)
        if path.suffix.lower() != ".pen":
            names = ", ".join(self.methods)
            raise OptionError(f"{path}: several methods ({names}) go into a .pen file; save methods[name] for each .onnx file")
        if self.pen_file is None:
            assert self.refusal is not None
            raise self.refusal
        atomic_write(path, self.pen_file.write)
        return path


def export_methods(
    methods: Mapping[str, Method],
    *,
    opset: int = DEFAULT_EXPORT,
    passes: Sequence[Pass] = DEFAULT,
    verify: bool = True,
    tolerance: float = DEFAULT_TOLERANCE,
    metadata: Mapping[str, str] | None = None,
    functions: bool = False,
) -> ExportedMethods:
    """Exports each method as `export` does, and writes all into one program, in which equal weights are stored once.

    Methods of one module share its states (buffers registered with `export_state`): open a session of one method, and one of the
    other with `states_of` the first.

    Args:
        methods: by name.
        opset, passes, verify, tolerance, metadata, functions: as in `export`; `functions` for the .onnx file of each method.

    Raises:
        OptionError: no method, or a name that is empty.
        penlight.errors.TraceError, UnsupportedOperatorsError, VerifyError: of a method, as in `export`.

    Example:
        >>> exported = export_methods({                                                     # doctest: +SKIP
        ...     "prefill": Method(model.prefill, (tokens,), dynamic={"tokens": {1: "length"}}),
        ...     "decode": Method(model.decode, (token, position)),
        ... })
        >>> exported.save("gpt.pen")                                                        # doctest: +SKIP
    """
    if not methods or not all(isinstance(name, str) and name for name in methods):
        raise OptionError(f"methods: expected names with a Method each, came {list(methods)}")
    exported = {
        name: export(
            method.function,
            method.inputs,
            dynamic=method.dynamic,
            names=method.names,
            opset=opset,
            passes=passes,
            verify=verify,
            tolerance=tolerance,
            output_names=method.output_names,
            metadata=metadata,
            functions=functions,
        )
        for name, method in methods.items()
    }
    refusal = next((each.refusal for each in exported.values() if each.refusal is not None), None)
    if refusal is not None:
        return ExportedMethods(exported, None, None, refusal)
    parts = {name: each.part for name, each in exported.items() if each.part is not None}
    label = type(getattr(next(iter(methods.values())).function, "__self__", None)).__name__
    file = build_methods(parts, producer() | {"name": label} | dict(metadata or {}), tolerance)
    _check_samples(file.program, verify)
    return ExportedMethods(exported, file.pieces, summarize_pen(file, "model.pen"))


def _check_samples(program: penlight_runtime.Program, verify: bool) -> None:
    """The methods were compared one by one; what is left is that they stand in one file as they were."""
    if not verify:
        return
    try:
        program.self_test()
    except penlight_runtime.SelfTestFailed as error:
        raise VerifyError(f"the methods give other numbers in one program than alone: {error}") from error

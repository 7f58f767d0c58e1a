# SPDX-License-Identifier: Apache-2.0
"""What an operator is: its fields, shapes, reference, gradient, export and known gaps, in one class."""

from __future__ import annotations

import functools
import itertools
import re
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from penlight._native import OperatorBase, OperatorType
from penlight.dtype import dtype as DType
from penlight.errors import ArgumentError

Shape = tuple[int, ...]


@dataclass(unsafe_hash=True, slots=True)  # nobody changes one; frozen=True would take four times as long in every traced call
class Spec:
    """Shape and dtype of a tensor, without data; under a trace, entries of the shape may be `SymInt`."""

    shape: Shape
    dtype: DType
    requires_grad: bool = field(default=True, compare=False)  # Specs also stand in for saved inputs on the tape

    @property
    def ndim(self) -> int:
        return len(self.shape)


@dataclass(frozen=True)
class Gap:
    """A part that an operator lacks, with the reason; a missing part without one fails a test."""

    reason: str


class NotDifferentiable(Gap):
    """The operator has no gradient."""


class NotExported(Gap):
    """The operator has no ONNX form."""


class NotOnEdge(Gap):
    """The edge runtime has no kernel for what the operator lowers to."""


class NotSampled(Gap):
    """The table-driven test cannot call the operator without more context."""


CUSTOM = "custom"  # the lowering is a function in penlight_export/onnx/lowerings.py under the operator's name
AVAILABLE = "available"


_REQUIRED: Any = object()  # stands for the default of an argument that has none


def _fields(cls: OperatorType) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """The names of the arguments, those of the bases first, and the defaults of the last ones.

    Written out because `dataclasses` compiles text for each class, which took nearly half of the time of an import.
    """
    found: dict[str, Any] = {}
    for base in reversed(cls.__bases__):
        if isinstance(base, OperatorType):
            required = len(base.field_names) - len(base.field_defaults)
            found.update(zip(base.field_names, (_REQUIRED,) * required + base.field_defaults, strict=True))
    for name, annotation in cls.__annotations__.items():
        if not _is_class_variable(annotation):
            found[name] = getattr(cls, name, _REQUIRED)
    defaults = tuple(itertools.dropwhile(lambda value: value is _REQUIRED, found.values()))
    if any(value is _REQUIRED for value in defaults):
        raise TypeError(f"{cls.__qualname__}: an argument without a default follows one that has a default")
    return tuple(found), defaults


def _is_class_variable(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return annotation.startswith(("ClassVar", "typing.ClassVar"))
    return annotation is ClassVar or typing.get_origin(annotation) is ClassVar


class Operator(OperatorBase, metaclass=OperatorType):
    """Base of all operators. The annotated attributes of a subclass are its arguments; `@register` adds it to the table.

    Instances are immutable, equal where their arguments are, and shared: equal calls give one instance (see
    framework/native/call_operator.cpp). A class that has an `__init__` of its own is an ordinary class in all of this.
    `Class.field_names` are the names of the arguments.

    Class attributes:
        name: the unique name, snake case.
        onnx: `"LeakyRelu(alpha=slope)"` for a one-to-one form (inputs in order, attributes from fields), `CUSTOM`, or
            `NotExported(reason)`. An operator of your own needs neither when it has a method `composite(self, *inputs)`, the
            same result by other operators: an exported model then has a function of the class's name.
        edge: `AVAILABLE`, or `NotOnEdge(reason)`.
        gradient: `AVAILABLE`, or `NotDifferentiable(reason)`.
        second_derivative: `AVAILABLE`, or `NotDifferentiable(reason)`.
        samples: calls for the table-driven tests, or `NotSampled(reason)`.
        saves_inputs, saves_output: what `vjp` reads. A vjp that reads only shapes sets `saves_inputs = False` and gets
            stand-ins, so that the tape does not keep the data alive; "others" keeps an input only where another one
            needs a gradient (products); a tuple says it per input (its last flag serves all further ones). The output
            is `None` unless `saves_output`.
        is_view, may_copy: the output shares memory with the first input; or may not, depending on the layout.
        is_random: the result differs from call to call, so a trace refuses it.
        complex_gradient: `vjp` also holds for complex inputs.
        outputs: how many outputs `forward` returns (a tuple where more than one).
        private_outputs: how many of them, at the end, serve the gradient only; a lowering gives None for them.
    """

    name: ClassVar[str] = ""
    onnx: ClassVar[str | NotExported] = CUSTOM
    edge: ClassVar[str | NotOnEdge] = AVAILABLE
    gradient: ClassVar[str | NotDifferentiable] = AVAILABLE
    second_derivative: ClassVar[str | NotDifferentiable] = AVAILABLE
    samples: ClassVar[tuple[Any, ...] | NotSampled] = ()
    saves_inputs: ClassVar[bool | str | tuple[bool, ...]] = True
    saves_output: ClassVar[bool] = False
    is_view: ClassVar[bool] = False
    may_copy: ClassVar[bool] = False
    is_random: ClassVar[bool] = False
    outputs: ClassVar[int] = 1
    private_outputs: ClassVar[int] = 0
    complex_gradient: ClassVar[bool] = False
    backward: ClassVar[Any] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__init__ is object.__init__:
            cls.declare(*_fields(cls))

    def infer(self, *specs: Any) -> Any:
        """Spec of the output (a tuple of Specs where `outputs` > 1), in arithmetic that is safe for SymInt."""
        raise NotImplementedError(f"{self.name}: infer is missing")

    def forward(self, xp: Any, *arrays: Any) -> Any:
        """The reference result, with `xp` numpy or cupy."""
        raise NotImplementedError(f"{self.name}: forward is missing")

    def vjp(self, grad: Any, output: Any, *inputs: Any) -> Sequence[Any]:
        """Gradients of the inputs in their order, in Tensors, `None` where there is none.

        `grad` and `output` are tuples where `outputs` > 1; entries of `grad` may then be `None`. A subclass may also
        have `backward(self, xp, needs, grad, output, *inputs)`, the same on arrays: it is used when no graph of the
        gradient is wanted, may skip the inputs for which `needs` is False, and may return NotImplemented.
        """
        raise NotImplementedError(f"{self.name}: vjp is missing")

    def field_values(self) -> dict[str, Any]:
        """The arguments by name, for the trace and for ONNX attributes."""
        return {name: getattr(self, name) for name in type(self).field_names}


@functools.cache
def parse_onnx(form: str) -> tuple[str, dict[str, str]]:
    """("LeakyRelu", {"alpha": "slope"}) of "LeakyRelu(alpha=slope)"; a bare name has no attributes."""
    match = re.fullmatch(r"(\w+)(?:\((.*)\))?", form)
    if match is None:
        raise ArgumentError(f'onnx form: expected "Name(attribute=field, ...)", came {form!r}')
    pairs = [pair.split("=") for pair in (match[2] or "").split(",") if pair.strip()]
    return match[1], {attribute.strip(): field.strip() for attribute, field in pairs}

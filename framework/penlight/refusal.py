# SPDX-License-Identifier: Apache-2.0
"""What a trace says to a program that a graph cannot express: the place, what came, and what to write instead."""

from __future__ import annotations

from typing import Any, NoReturn

from penlight.errors import DataShapeError, LeakError, RandomTraceError, StateWriteError, TraceError, ValueReadError
from penlight.source import user_code, user_line
from penlight.symbolic import SymInt

_BRANCH = "use pl.where(condition, a, b) elementwise, or pl.cond(condition, true_fn, false_fn, operands) for a branch"
_LOOP = "use pl.while_loop(condition, body, operands), or a fixed number of steps"
_ASSERT = "check the values outside of the module"
_NUMBER = "keep it a tensor: one with a single element broadcasts like a number"
_INDEX = "index with the tensor itself, or pass the number to the module as a Python int, which is then fixed in the graph"
_ARRAY = "use functions of penlight instead of NumPy and lists, or compute it outside of the module"
_REMEDIES = {"bool()": _BRANCH, "int()": _INDEX, "float()": _NUMBER, ".item()": _NUMBER}
_WORDS = {"while": _LOOP, "assert": _ASSERT}
_MASK = "keep the size with pl.where(mask, x, 0) or masked_fill, take the k best with topk, or pass the index as an input"


def place(path: str) -> str:
    """ "model.py:7: in 'encoder.0': ", without the layer outside of all of them."""
    return f"{user_line() or 'trace'}: " + (f"in {path!r}: " if path else "")


def value_read(what: str, path: str, value: Any = None) -> NoReturn:
    """Refuses `bool(t)`, `t.item()` and their like."""
    code = user_code()
    remedy = _REMEDIES.get(what, _ARRAY)
    if what == "bool()":
        remedy = _WORDS.get(code.split(" ")[0], remedy)
    came = "" if value is None else f" of shape {tuple(value._data.shape)} and dtype {value.dtype.name}"
    shown = f" ({code})" if code else ""
    raise ValueReadError(
        f"{place(path)}{what} reads the value of a tensor{came} that depends on an input{shown}; "
        f"a graph is made before there are values: it cannot branch on them. Instead, {remedy}"
    )


def data_shape(what: str, path: str) -> NoReturn:
    """Refuses `nonzero` and its like."""
    raise DataShapeError(
        f"{place(path)}the size of what {what} gives depends on the values of a tensor, which depends on an input; "
        f"in a graph, sizes follow from the inputs' sizes alone. Instead, {_MASK}"
    )


def random_numbers(what: str, path: str) -> NoReturn:
    """Refuses dropout in training mode and noise."""
    raise RandomTraceError(
        f"{place(path)}{what} draws random numbers; a graph gives the same result each time. "
        "Call model.eval() first, or pass the noise as an input"
    )


def write(reason: str, path: str) -> NoReturn:
    """Refuses a change of an input, a parameter, a buffer or a viewed tensor."""
    raise StateWriteError(f"{place(path)}{reason}: a graph has no state")


def leak(what: str, made: str, path: str) -> NoReturn:
    """Refuses a tensor of an earlier run of the program."""
    raise LeakError(
        f"{place(path)}{what}, which an earlier run of the program made ({made}), is used in this one: the program keeps it "
        "in a list, an attribute or a global. Pass it in as an input and return its new value"
    )


def iteration(size: SymInt, path: str) -> NoReturn:
    """Refuses a Python loop over the first dimension when it is dynamic."""
    raise TraceError(
        f"{place(path)}a loop over a tensor whose first size is the dynamic dimension {size.text!r}; "
        "use an operator on the whole tensor or pl.scan, or leave this dimension fixed"
    )

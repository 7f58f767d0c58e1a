# SPDX-License-Identifier: Apache-2.0
"""A module in 16-bit precision, whose inputs and outputs stay as they are."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from typing import Any

import penlight as pl
from penlight.tensor import Tensor
from penlight_export.errors import OptionError

# What agrees in 16 bits: engines round at other places, by 2 ** -11 or 2 ** -8 each time.
TOLERANCES = {"float16": 2e-2, "bfloat16": 1e-1}


class InPrecision:
    """Stands for a module in a trace: a copy with converted weights, called on converted inputs.

    What is float32 becomes float16 or bfloat16 on the way in, and float32 again on the way out. Names in the state_dict and the
    arguments of `forward` stay those of the module.
    """

    def __init__(self, module: Any, dtype: Any) -> None:
        self.module = copy.deepcopy(module).to(dtype) if hasattr(module, "named_modules") else module
        self.dtype = dtype
        forward = module.forward if hasattr(module, "forward") else module
        self.forward = functools.wraps(forward)(lambda *args, **kwargs: self._forward(*args, **kwargs))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._forward(*args, **kwargs)

    def _forward(self, *args: Any, **kwargs: Any) -> Any:
        narrow = _converted((args, kwargs), pl.float32, self.dtype)
        return _converted(self.module(*narrow[0], **narrow[1]), self.dtype, pl.float32)

    def __getattr__(self, name: str) -> Any:
        if name == "module":  # before __init__, while a copy is made
            raise AttributeError(name)
        return getattr(self.module, name)


def in_precision(module: Any, precision: str) -> Any:
    """The module computing in "float16" or "bfloat16".

    Raises:
        OptionError: another name.
    """
    if precision not in TOLERANCES:
        raise OptionError(f"precision: expected 'float32', 'float16' or 'bfloat16', came {precision!r}")
    name = type(module).__name__ if hasattr(module, "modules") else getattr(module, "__name__", "model")
    made: Any = type(name, (InPrecision,), {})(module, getattr(pl, precision))
    return made


def _converted(part: Any, before: Any, after: Any) -> Any:
    if isinstance(part, Tensor):
        return part.to(after) if part.dtype is before else part
    if isinstance(part, Mapping):
        return {key: _converted(value, before, after) for key, value in part.items()}
    if isinstance(part, (tuple, list)):
        entries = [_converted(value, before, after) for value in part]
        return type(part)(*entries) if hasattr(part, "_fields") else type(part)(entries)
    return part

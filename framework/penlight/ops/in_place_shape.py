# SPDX-License-Identifier: Apache-2.0
"""Methods that change the shape of a tensor itself: `t_`, `squeeze_`, `unsqueeze_`, `transpose_` and their second names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from penlight.errors import InPlaceError
from penlight.tape import mode
from penlight.tensor import Tensor

NAMES = ("t", "squeeze", "unsqueeze", "transpose", "swapaxes", "swapdims")


def reshaping(name: str) -> Callable[..., Tensor]:
    """The method `name_`, after which the tensor is the view that the method `name` returns."""

    def changed(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if mode.enabled and self.requires_grad and self._node is None:
            raise InPlaceError(f"{name}_: a leaf that requires a gradient was to change its shape; do it under no_grad()")
        if mode.tracer is not None and self._traced is None:
            mode.tracer.refuse_write(self, f"{name}_ changes the shape of a tensor that the model keeps; use {name} instead")
        return _become(self, getattr(self, name)(*args, **kwargs))

    changed.__name__ = changed.__qualname__ = f"{name}_"
    changed.__doc__ = f"Does `{name}` to the tensor itself, without a copy, and returns it; a leaf with a gradient refuses."
    return changed


def _become(self: Tensor, view: Tensor) -> Tensor:
    self._data, self._traced = view._data, view._traced
    self.bump_version()  # a gradient that saved the tensor would meet another shape
    if view.requires_grad:
        self._node, self._index = view._node, view._index
    if self._base is not None:
        self._views, self._stamp = view._views, view._stamp
    return self

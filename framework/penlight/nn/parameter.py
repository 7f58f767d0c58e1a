# SPDX-License-Identifier: Apache-2.0
"""Parameter: a tensor that a module learns; Buffer: one that it keeps."""

from __future__ import annotations

from typing import Any

import numpy as np

from penlight.tensor import Tensor


class Parameter(Tensor):
    """A leaf tensor that a `Module` registers when it is assigned to an attribute.

    Args:
        data: a Tensor or array, shared and not copied.
        requires_grad: whether gradients are accumulated in it.
    """

    def __init__(self, data: Any = None, requires_grad: bool = True) -> None:
        array = np.empty(0, np.float32) if data is None else data
        super().__init__(array.detach() if isinstance(array, Tensor) else array, requires_grad=requires_grad)

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()


class Buffer(Tensor):
    """A tensor that a `Module` registers as a buffer when it is assigned to an attribute.

    Args:
        data: a Tensor or array, shared and not copied.
        persistent: whether it is in the state_dict.
    """

    def __init__(self, data: Any = None, *, persistent: bool = True) -> None:
        array = np.empty(0, np.float32) if data is None else data
        super().__init__(array.detach() if isinstance(array, Tensor) else array)
        self.persistent = persistent

# SPDX-License-Identifier: Apache-2.0
"""Decorators for the `forward` and `backward` of a custom `autograd.Function` under autocast."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from penlight.amp.autocast_mode import autocast, get_autocast_dtype, is_autocast_enabled
from penlight.dtype import as_dtype
from penlight.tensor import Tensor


def custom_fwd(fwd: Callable[..., Any] | None = None, *, device_type: str = "cpu", cast_inputs: Any = None) -> Any:
    """Decorates `forward(ctx, *args)`, so that `custom_bwd` runs `backward` in the same state of autocast.

    With `cast_inputs`, forward runs outside of autocast, its floating-point inputs cast to that dtype.
    """
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def forward(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        ctx._autocast_dtype = get_autocast_dtype(device_type)
        ctx._autocast_enabled = is_autocast_enabled(device_type) and cast_inputs is None
        if cast_inputs is None or not is_autocast_enabled(device_type):
            return fwd(ctx, *args, **kwargs)
        kwargs = {name: _cast(value, cast_inputs) for name, value in kwargs.items()}
        with autocast(device_type, enabled=False):
            return fwd(ctx, *(_cast(a, cast_inputs) for a in args), **kwargs)

    return forward


def custom_bwd(bwd: Callable[..., Any] | None = None, *, device_type: str = "cpu") -> Any:
    """Decorates `backward(ctx, *grads)` of a function whose `forward` has `custom_fwd`."""
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)

    @functools.wraps(bwd)
    def backward(ctx: Any, *grads: Any) -> Any:
        with autocast(device_type, ctx._autocast_dtype, enabled=ctx._autocast_enabled):
            return bwd(ctx, *grads)

    return backward


def _cast(value: Any, dtype: Any) -> Any:
    if isinstance(value, Tensor) and value.dtype.is_floating_point and value.dtype.itemsize <= 4:
        return value.to(as_dtype(dtype))
    if isinstance(value, (list, tuple)):
        return type(value)(_cast(v, dtype) for v in value)
    return {k: _cast(v, dtype) for k, v in value.items()} if isinstance(value, dict) else value

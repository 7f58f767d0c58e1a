# SPDX-License-Identifier: Apache-2.0
"""`autocast`: a region in which operators choose between float32 and a type of 16 bits."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from penlight.amp import lists
from penlight.dtype import as_dtype, bfloat16, float16, float32
from penlight.dtype import dtype as DType
from penlight.errors import ArgumentError, DTypeError, TraceError
from penlight.ops.convert import Cast
from penlight.ops.dispatch import apply
from penlight.ops.operator import Operator
from penlight.tape import mode
from penlight.tensor import Tensor

_DEFAULTS = {"cpu": bfloat16, "cuda": float16}
_LISTS = {"cpu": lists.CPU, "cuda": lists.CUDA}
_Weights = dict[Any, tuple[Tensor, int, Tensor]]


class _Region:
    """What `mode.autocast` is inside of a region: the type per device, None where autocast is off.

    `weights` holds the casts of parameters, shared by all regions within the outermost one: a weight that several calls
    read is cast once, and its gradient is added up before it is cast back.
    """

    def __init__(self, types: dict[str, DType | None], weights: _Weights, caches: bool) -> None:
        self.types, self.weights, self.caches = types, weights, caches

    def cast(self, operator: Operator, tensors: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        """The inputs of an operator in the type it is to run in."""
        device = _device_of(tensors)
        dtype = self.types[device]
        if dtype is None:
            return tensors
        target = _target(operator.name, _LISTS[device], dtype, tensors)
        return tensors if target is None else [self._in_type(t, target) for t in tensors]

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of a function marked `@under_autocast`, all of it in the type that the lists say."""
        given = [*args, *kwargs.values()]
        device = _device_of(given)
        dtype = self.types[device]
        target = None if dtype is None else _target(function.__name__, _LISTS[device], dtype, given)
        if target is None:
            return function(*args, **kwargs)
        args = tuple(self._in_type(a, target) for a in args)
        kwargs = {name: self._in_type(a, target) for name, a in kwargs.items()}
        before, mode.autocast = mode.autocast, None
        try:
            return function(*args, **kwargs)
        finally:
            mode.autocast = before

    def _in_type(self, t: Any, dtype: DType) -> Any:
        if not isinstance(t, Tensor) or t.dtype is dtype or not _is_eligible(t):
            return t
        _refuse_trace()
        is_weight = t.requires_grad and t._node is None and t._base is None and t.dtype is float32
        if not (is_weight and self.caches):
            return apply(Cast(dtype), t)
        key = id(t), dtype, mode.enabled
        held = self.weights.get(key)
        if held is None or held[0] is not t or held[1] != t.version:
            held = self.weights[key] = (t, t.version, apply(Cast(dtype), t))
        return held[2]


def _device_of(values: Sequence[Any]) -> str:
    for t in values:
        if isinstance(t, Tensor):
            return "cpu" if type(t._data) is np.ndarray else t.device.type
    return "cpu"


def _is_eligible(t: Any) -> bool:
    """float64 and what is not floating point stay as they are."""
    return isinstance(t, Tensor) and t.dtype.is_floating_point and t.dtype.itemsize <= 4


def _target(name: str, table: lists.Lists, dtype: DType, values: Sequence[Any]) -> DType | None:
    if name in table.lower:
        return dtype
    if name in table.float32:
        return float32
    if name not in table.widest:
        return None
    kinds = {t.dtype for t in values if _is_eligible(t)}
    return float32 if len(kinds) > 1 else None


def _refuse_trace() -> None:
    if mode.tracer is not None:
        raise TraceError(
            "autocast: a program under trace keeps the types of its weights, and here autocast would cast them; "
            "export outside of autocast, or with autocast(enabled=False) inside of forward"
        )


class autocast:
    """A region, or a decorated function, in which operators run in the type that suits them, as in PyTorch.

    Matrix products, convolutions and attention get their inputs in `dtype`; losses, factorisations and the like in
    float32; the rest takes what comes. The lists are in `penlight.amp.lists`. Call `backward()` outside of the region:
    gradients have the types of the forward calls anyway. On the CPU 16-bit operators compute in float32 and round once,
    so that a region saves memory and shows what training in that type does, but no time.

    Args:
        device_type: "cpu" or "cuda"; tensors of other devices are left alone.
        dtype: bfloat16 or float16; by default bfloat16 on the CPU, float16 on CUDA.
        enabled: False switches autocast off within the region.
        cache_enabled: whether casts of parameters are kept until the outermost region ends; by default as outside.

    Raises:
        ArgumentError: another device type.
        DTypeError: another dtype.

    Example:
        with pl.autocast("cpu", dtype=pl.bfloat16):
            loss = F.cross_entropy(model(x), y)
        loss.backward()
    """

    def __init__(
        self, device_type: str = "cpu", dtype: Any = None, enabled: bool = True, cache_enabled: bool | None = None
    ) -> None:
        self.device = _checked(device_type)
        self.dtype = _DEFAULTS[self.device] if dtype is None else as_dtype(dtype)
        if enabled and self.dtype not in (bfloat16, float16):
            raise DTypeError(f"autocast: expected bfloat16 or float16 as dtype, came {self.dtype}")
        self.enabled, self.cache_enabled = bool(enabled), cache_enabled
        self._outer: list[_Region | None] = []

    def __enter__(self) -> autocast:
        outer = mode.autocast
        self._outer.append(outer)
        types = {"cpu": None, "cuda": None} if outer is None else outer.types
        caches = (outer is None or outer.caches) if self.cache_enabled is None else self.cache_enabled
        weights = {} if outer is None else outer.weights
        mode.autocast = _Region({**types, self.device: self.dtype if self.enabled else None}, weights, caches)
        return self

    def __exit__(self, *_: Any) -> None:
        mode.autocast = self._outer.pop()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return wrapped


def _checked(device_type: str) -> str:
    if device_type not in _DEFAULTS:
        raise ArgumentError(f'autocast: expected "cpu" or "cuda" as device_type, came {device_type!r}')
    return device_type


def is_autocast_available(device_type: str) -> bool:
    """Whether `autocast` knows the device type."""
    return device_type in _DEFAULTS


def is_autocast_enabled(device_type: str | None = None) -> bool:
    """Whether a region is active for the device type (None: for any) in this thread."""
    region = mode.autocast
    if region is None:
        return False
    return any(region.types.values()) if device_type is None else region.types[_checked(device_type)] is not None


def get_autocast_dtype(device_type: str) -> DType:
    """The 16-bit type of the active region, or the default one of the device type."""
    region = mode.autocast
    found = None if region is None else region.types[_checked(device_type)]
    return _DEFAULTS[_checked(device_type)] if found is None else found

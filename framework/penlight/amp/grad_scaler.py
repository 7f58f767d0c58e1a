# SPDX-License-Identifier: Apache-2.0
"""GradScaler: keeps float16 gradients from vanishing by scaling the loss."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from penlight.amp.device_scale import DeviceScale
from penlight.backends.backend import backend_of
from penlight.dtype import float16, float32
from penlight.errors import DTypeError, ScalerError
from penlight.tensor import Tensor

_READY, _UNSCALED, _STEPPED = "ready", "unscaled", "stepped"


class GradScaler:
    """Multiplies the loss before backward and divides the gradients before the step; steps with infinities are skipped.

    On a GPU the scale and what was found stay there, AdamW, Adam and SGD skip a step by themselves, and the host waits for nothing.

    The scale grows by `growth_factor` after `growth_interval` steps without inf or NaN, and shrinks by `backoff_factor`
    at each step with one (Micikevicius et al. 2018). The numbers are those of PyTorch's `torch.amp.GradScaler`.

    Args:
        device: "cpu" or "cuda"; kept for PyTorch's signature, the gradients' own device counts.
        init_scale, growth_factor, backoff_factor, growth_interval: see above.
        enabled: False makes every method do nothing but what training without scaling does.

    Raises:
        ValueError: a factor on the wrong side of 1.

    Example:
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)  # only needed to clip
        clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
    """

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        if growth_factor <= 1:
            raise ValueError(f"GradScaler: growth_factor must be above 1, came {growth_factor}")
        if not 0 < backoff_factor < 1:
            raise ValueError(f"GradScaler: backoff_factor must be between 0 and 1, came {backoff_factor}")
        self.device = device
        self._enabled, self._scale, self._growth_tracker = bool(enabled), float(np.float32(init_scale)), 0
        self._growth_factor, self._backoff_factor, self._growth_interval = growth_factor, backoff_factor, growth_interval
        self._stages: dict[int, str] = {}  # by optimizer, since the last update()
        self._found_inf: dict[int, Any] = {}  # a bool, or an array on the device
        self._device: DeviceScale | None = None  # holds the scale once a tensor of a GPU has come

    def is_enabled(self) -> bool:
        """Whether the scaler does anything."""
        return self._enabled

    def get_scale(self) -> float:
        """The factor of the loss; 1 if disabled."""
        if self._enabled and self._device is not None:
            return self._device.get()[0]
        return self._scale if self._enabled else 1.0

    def scale(self, outputs: Any) -> Any:
        """Returns a tensor, or a list or tuple of tensors, times the scale."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            factor = self._scale if outputs.device.type == "cpu" else self._on_device(outputs).factor().to(outputs.device)
            scaled = outputs.to(float32) * factor if outputs.dtype is float16 else outputs * factor
            return scaled if outputs.ndim == 0 else scaled.to(outputs.dtype)  # float16 does not hold every scale
        return type(outputs)(self.scale(o) for o in outputs)

    def unscale_(self, optimizer: Any) -> None:
        """Divides the gradients of an optimizer by the scale, in place; `step` does it where it was not called.

        Raises:
            ScalerError: it was called since the last `update()`, or after `step()`.
            DTypeError: a gradient is float16: keep parameters in float32, and cast under autocast.
        """
        if not self._enabled:
            return
        stage = self._stages.get(id(optimizer), _READY)
        if stage is not _READY:
            raise ScalerError(
                f"GradScaler.unscale_: the gradients of this optimizer were {stage} since the last update(); "
                "call unscale_() at most once per step, before step()"
            )
        self._stages[id(optimizer)] = _UNSCALED
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if any(g.dtype is float16 for g in gradients):
            raise DTypeError("GradScaler.unscale_: a gradient is float16 and would vanish; keep the parameters in float32")
        on_device = [g for g in gradients if g.device.type != "cpu"]
        if on_device:
            self._found_inf[id(optimizer)] = self._on_device(on_device[0]).unscale(optimizer, on_device)
            return
        inverse = np.float32(1.0 / self._scale)
        found = [_unscaled_in_place(g, inverse) for g in gradients]  # all of them, also after the first infinity
        self._found_inf[id(optimizer)] = any(found)

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """Calls `optimizer.step(*args, **kwargs)` unless a gradient has inf or NaN; returns its result, or None.

        Raises:
            ScalerError: it was called twice since the last `update()`.
            ValueError: a closure was given: the loss would be computed again without its scale.
        """
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs or any(callable(a) for a in args):
            raise ValueError("GradScaler.step: expected no closure; call backward() first, then scaler.step(optimizer)")
        stage = self._stages.get(id(optimizer), _READY)
        if stage is _STEPPED:
            raise ScalerError("GradScaler.step: it was called twice for one optimizer; call update() after each step")
        if stage is _READY:
            self.unscale_(optimizer)
        self._stages[id(optimizer)] = _STEPPED
        found = self._found_inf[id(optimizer)]
        if isinstance(found, bool):
            return None if found else optimizer.step(*args, **kwargs)
        if not getattr(optimizer, "_step_supports_amp_scaling", False):  # the host has to decide, and waits for the answer
            return None if bool(backend_of(found).to_numpy(found)) else optimizer.step(*args, **kwargs)
        optimizer.found_inf = found
        try:
            return optimizer.step(*args, **kwargs)
        finally:
            optimizer.found_inf = None

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Moves the scale by what was found since the last call, or sets it to `new_scale`.

        Raises:
            ScalerError: no gradients were unscaled since the last call.
        """
        if not self._enabled:
            return
        if new_scale is not None:
            self._scale = float(np.float32(float(new_scale)))
            if self._device is not None:
                self._device.set(self._scale)
        elif not self._found_inf:
            raise ScalerError("GradScaler.update: no gradients were unscaled since the last update(); call step() first")
        elif self._device is not None:
            found = [f for f in self._found_inf.values() if not isinstance(f, bool)]
            self._device.move(found, self._growth_factor, self._backoff_factor, self._growth_interval)
        else:
            self._move(any(self._found_inf.values()))
        self._stages, self._found_inf = {}, {}

    def _on_device(self, tensor: Tensor) -> DeviceScale:
        if self._device is None:
            self._device = DeviceScale(tensor, self._scale, self._growth_tracker)
        return self._device

    def _move(self, found_inf: bool) -> None:
        if found_inf:
            self._scale, self._growth_tracker = float(np.float32(self._scale * self._backoff_factor)), 0
            return
        self._growth_tracker += 1
        if self._growth_tracker == self._growth_interval:
            grown = self._scale * self._growth_factor
            self._scale = float(np.float32(grown)) if grown <= float(np.finfo(np.float32).max) else self._scale
            self._growth_tracker = 0

    def state_dict(self) -> dict[str, Any]:
        """The scale, the factors and the count of good steps, in PyTorch's layout; empty if disabled."""
        if not self._enabled:
            return {}
        if self._device is not None:
            self._scale, self._growth_tracker = self._device.get()
        return {
            "scale": self._scale,
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._growth_tracker,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over what `state_dict` returned, here or in PyTorch.

        Raises:
            ScalerError: the dict is empty: it is that of a disabled scaler.
        """
        if not self._enabled:
            return
        if not state_dict:
            raise ScalerError("GradScaler.load_state_dict: the dict is empty; it may be that of a scaler with enabled=False")
        self._scale = float(state_dict["scale"])
        self._growth_factor, self._backoff_factor = float(state_dict["growth_factor"]), float(state_dict["backoff_factor"])
        self._growth_interval, self._growth_tracker = int(state_dict["growth_interval"]), int(state_dict["_growth_tracker"])
        if self._device is not None:
            self._device.set(self._scale, self._growth_tracker)


def _unscaled_in_place(gradient: Tensor, inverse: Any) -> bool:
    """Scales one gradient; whether it has inf or NaN."""
    data = gradient._data
    if not getattr(data.flags, "writeable", True) or 0 in data.strides:
        data = gradient._data = data.copy()
    with np.errstate(all="ignore"):
        total = float(data.sum(dtype=np.float32))  # one pass; only a sum that is not finite asks for a closer look
        found = not math.isfinite(total) and not bool(backend_of(data).xp.isfinite(data).all())
        data *= data.dtype.type(inverse)
    gradient.bump_version()
    return found

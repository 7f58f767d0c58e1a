# SPDX-License-Identifier: Apache-2.0
"""What the rest of the framework asks while a step is captured: may this run, and what must outlive the graph?

`active` is the recording under way in this process, or None. A CUDA graph holds launches and addresses alone, so whatever
reads a value on the host, or brings a new one from there, would be done once and never again; it is refused instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from penlight.errors import CaptureError
from penlight.source import user_line

active: Recording | None = None


class Recording:
    """The host's side of one graph.

    Attributes:
        refreshers: called before every launch; they bring values that the host decides (a learning rate) to the device.
        kept: objects whose device memory the graph uses.
        zeroed: ids of tensors whose gradients the step has dropped.
    """

    def __init__(self) -> None:
        self.refreshers: dict[Any, Callable[[], None]] = {}
        self.kept: list[Any] = []
        self.zeroed: set[int] = set()

    def __enter__(self) -> Recording:
        global active
        if active is not None:
            raise CaptureError("capture: a step is being captured already; call the inner function itself, not its captured form")
        active = self
        return self

    def __exit__(self, *_: Any) -> None:
        global active
        active = None

    def refresh(self, key: Any, refresher: Callable[[], None]) -> None:
        """Has `refresher` called before every launch; one for each key."""
        self.refreshers[key] = refresher


def _refuse(reason: str) -> None:
    if active is not None:
        raise CaptureError(f"{user_line()}: {reason}")


def refuse_value(what: str) -> None:
    """Refuses to read a value of the device on the host.

    Raises:
        CaptureError: a step is being captured, here and below.
    """
    _refuse(
        f"{what} reads a value of the device, and the captured step is not running yet; "
        "return the tensor from the step and read it there, or decide on the device with penlight.where"
    )


def refuse_transfer(what: str) -> None:
    """Refuses a copy between host and device."""
    _refuse(
        f"{what} copies between host and device, and a replay would not do it again; "
        "pass the tensor as an argument of the step, or make it before the step"
    )


def refuse_random(what: str) -> None:
    """Refuses random numbers of the host."""
    _refuse(
        f"{what} draws random numbers on the host, and a replay would repeat them; "
        "use dropout of a tensor on the device, or pass the numbers as an argument of the step"
    )


def refuse_other_device(captured: int, other: int) -> None:
    """Refuses work on another device than the one whose stream is captured."""
    _refuse(
        f"a tensor of cuda:{other} came up while a step on cuda:{captured} is captured, and a graph belongs to "
        "one device; capture the parts of the step on each device for themselves"
    )


def check_optimizer(optimizer: Any) -> None:
    """Refuses optimizers that count steps or read rates on the host."""
    if active is not None and not getattr(optimizer, "_step_supports_amp_scaling", False):
        _refuse(
            f"{type(optimizer).__name__}.step() counts its steps on the host, and a replay would not; "
            "use AdamW, Adam or SGD with parameters on the device, or call step() after the captured function"
        )


def keep(value: Any) -> None:
    """Keeps an object alive as long as the graph that is being captured; does nothing outside of a capture."""
    if active is not None:
        active.kept.append(value)


def note_zeroed(tensors: Iterable[Any]) -> None:
    """Notes that a step under capture drops the gradients of these tensors."""
    if active is not None:
        active.zeroed.update(map(id, tensors))

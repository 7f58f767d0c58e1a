# SPDX-License-Identifier: Apache-2.0
"""Streams and events, under PyTorch's names: queues of work on a device, and marks in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from penlight.backends.cuda import backend, recording
from penlight.device import device as Device
from penlight.errors import ArgumentError


def gpu() -> Any:
    """CuPy's module of the runtime.

    Raises:
        DeviceError: there is no CUDA device.
    """
    return backend().xp.cuda


class Event:
    """A mark in a stream, which others can wait for.

    Args:
        enable_timing: whether `elapsed_time` can read it.
        blocking: whether a thread that waits for it sleeps.

    Raises:
        DeviceError: there is no CUDA device.
    """

    def __init__(self, enable_timing: bool = False, blocking: bool = False) -> None:
        gpu()
        self._options = {"block": blocking, "disable_timing": not enable_timing}
        self._has_time = enable_timing
        self._event: Any = None  # made at the first record, on the stream's device

    def record(self, stream: Stream | None = None) -> None:
        """Marks the end of what a stream, by default the current one, has queued so far."""
        stream = current_stream() if stream is None else stream
        with gpu().Device(stream._device):
            if self._event is None:
                self._event = gpu().Event(**self._options)
            self._event.record(stream._stream)

    def wait(self, stream: Stream | None = None) -> None:
        """Lets a stream, by default the current one, go on only when the mark is reached."""
        stream = current_stream() if stream is None else stream
        if self._event is not None:
            stream._stream.wait_event(self._event)

    def query(self) -> bool:
        """Whether the mark is reached."""
        return self._event is None or bool(self._event.done)

    def synchronize(self) -> None:
        """Waits until the mark is reached."""
        recording.refuse_value("Event.synchronize()")
        if self._event is not None:
            self._event.synchronize()

    def elapsed_time(self, end_event: Event) -> float:
        """Returns the milliseconds between two marks that were reached.

        Raises:
            ArgumentError: one of the events has no time, or was not recorded.
        """
        if not (self._has_time and end_event._has_time):
            raise ArgumentError("elapsed_time: an event has no time; make both with Event(enable_timing=True)")
        if self._event is None or end_event._event is None:
            raise ArgumentError("elapsed_time: an event was not recorded; call record() on both, and synchronize()")
        return float(gpu().get_elapsed_time(self._event, end_event._event))


class Stream:
    """A queue of work that runs in order; different streams run beside each other.

    Args:
        device: the device, by default the current one.
        priority: lower numbers go first.

    Raises:
        DeviceError: there is no CUDA device.
    """

    def __init__(self, device: Any = None, priority: int = 0) -> None:
        self._device = _index(device)
        with gpu().Device(self._device):
            self._stream = gpu().Stream(non_blocking=True, priority=priority)

    @property
    def cuda_stream(self) -> int:
        """The address that CUDA knows it by."""
        return int(self._stream.ptr)

    def synchronize(self) -> None:
        """Waits until all of its work is done."""
        recording.refuse_value("Stream.synchronize()")
        self._stream.synchronize()

    def query(self) -> bool:
        """Whether all of its work is done."""
        return bool(self._stream.done)

    def record_event(self, event: Event | None = None) -> Event:
        """Marks the end of what is queued so far, with a new event unless one is given."""
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        """Goes on only when the event's mark is reached."""
        event.wait(self)

    def wait_stream(self, stream: Stream) -> None:
        """Goes on only when the other stream has done what it has queued so far."""
        self.wait_event(stream.record_event())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and (self._device, self.cuda_stream) == (other._device, other.cuda_stream)

    def __hash__(self) -> int:
        return hash((self._device, self.cuda_stream))

    def __repr__(self) -> str:
        return f"Stream(cuda_stream={self.cuda_stream:#x})"


def current_stream(device: Any = None) -> Stream:
    """Returns the stream that work is queued on."""
    index = _index(device)
    return _wrapped(gpu().get_current_stream(index), index)


def default_stream(device: Any = None) -> Stream:
    """Returns the stream that is current where nobody chose another."""
    return _wrapped(gpu().Stream.null, _index(device))


@contextmanager
def stream(stream: Stream | None) -> Iterator[Stream | None]:
    """Queues the work within it on a stream, whose device becomes the current one; None changes nothing.

    Memory that one stream made and another reads must outlive that work: let the first wait for the second before it is dropped.
    """
    if stream is None:
        yield None
        return
    with gpu().Device(stream._device), stream._stream:
        yield stream


@contextmanager
def device(device: Any) -> Iterator[None]:
    """Makes a device, by name or number, the current one within it."""
    with gpu().Device(_index(device)):
        yield


def synchronize(device: Any = None) -> None:
    """Waits until all queued work of a device, by default the current one, is done.

    Raises:
        DeviceError: there is no CUDA device.
    """
    recording.refuse_value("cuda.synchronize()")
    gpu().Device(_index(device)).synchronize()


def _wrapped(found: Any, device: int) -> Stream:
    result = Stream.__new__(Stream)
    result._stream, result._device = found, device
    return result


def _index(device: Any) -> int:
    if device is None:
        return int(gpu().runtime.getDevice())
    return device if isinstance(device, int) else Device(device).index or 0

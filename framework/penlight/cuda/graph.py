# SPDX-License-Identifier: Apache-2.0
"""One CUDA graph of a step: warm-up, capture, launches, and what has to be true of the host's objects in between."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from penlight.backends.cuda.cupy_backend import CudaBackend
from penlight.backends.cuda.recording import Recording
from penlight.cuda.leaves import Leaves
from penlight.cuda.static import Inputs, detached_copy
from penlight.errors import CaptureError, PenlightError
from penlight.source import user_line_of
from penlight.tape import mode
from penlight.tree import Rebuild, flatten


class StepGraph:
    """The graph of a step for one set of shapes, with a stream and a pool of memory of its own.

    The pool is private, so that nobody else is given the addresses that the graph writes to; it holds the activations of one step.
    """

    def __init__(self, backend: CudaBackend, step: Callable[..., Any], inputs: Inputs, warmup: int) -> None:
        self._gpu, self._step, self._inputs, self._left = backend.xp.cuda, step, inputs, warmup
        self._stream = self._gpu.Stream(non_blocking=True)  # the default stream cannot be captured
        self._pool = self._gpu.MemoryPool()
        self._allocate = backend.memory.guarded(self._pool.malloc)
        self._graph: Any = None
        self._results: Sequence[Any] = ()
        self._rebuild: Rebuild

    @property
    def is_captured(self) -> bool:
        """Whether calls replay by now."""
        return self._graph is not None

    def run(self, leaves: Sequence[Any]) -> Any:
        """Does one step with the values of these arguments."""
        if self._graph is not None:
            self._leaves.check()
        self._inputs.fill(leaves)
        if self._left:
            self._left -= 1
            return self._warm_up()
        if self._graph is None:
            self._capture()
        return self._launch()

    def _warm_up(self) -> Any:
        with self._beside():
            args, kwargs = self._inputs.arguments()
            results, rebuild = flatten(self._step(*args, **kwargs))
        return rebuild([detached_copy(result) for result in results])

    def _capture(self) -> None:
        _forget_casts()
        gc.collect()  # a collection in the middle would give back memory that the graph still counts on
        leaves = Leaves()
        with self._beside(), Recording() as recording:
            self._stream.begin_capture()
            try:
                args, kwargs = self._inputs.arguments()
                result = self._step(*args, **kwargs)
            except BaseException as error:
                self._abandon(leaves)
                raise _explained(error) from error
            graph = self._stream.end_capture()
        _forget_casts()
        leaves.settle(recording.zeroed)
        self._results, self._rebuild = flatten(result)
        self._graph, self._leaves, self._recording = graph, leaves, recording

    def _abandon(self, leaves: Leaves) -> None:
        """Ends a capture that failed: nothing of it has run, so only the gradients' places are to be put back."""
        with suppress(RuntimeError):  # CUDA says again that the capture is invalid; the error that made it so is the one to show
            self._stream.end_capture()
        leaves.restore()

    def _launch(self) -> Any:
        for refresh in self._recording.refreshers.values():
            refresh()
        self._graph.launch(self._gpu.get_current_stream())
        self._leaves.rebind()
        return self._rebuild([detached_copy(result) for result in self._results])

    @contextmanager
    def _beside(self) -> Iterator[None]:
        """Work on the own stream and pool, after what the caller's stream has queued, and before what it queues next."""
        outer = self._gpu.get_current_stream()
        self._stream.wait_event(outer.record())
        with self._stream, self._gpu.using_allocator(self._allocate):
            yield
        outer.wait_event(self._stream.record())


def _forget_casts() -> None:
    """Casts that an autocast region around the step keeps would be read by the graph, and never made anew by it."""
    if mode.autocast is not None:
        mode.autocast.weights.clear()


def _explained(error: BaseException) -> BaseException:
    """The error of a step under capture: ours as they are, those of CUDA and CuPy with the line that they come from."""
    if isinstance(error, PenlightError) or not isinstance(error, Exception):
        return error
    if "capture" not in str(error).lower():
        return error
    return CaptureError(
        f"{user_line_of(error)}: the step cannot be captured: {error}; this line waits for the device or uses a library that "
        "does not work in CUDA graphs (sizes that depend on values, such as x[mask] or nonzero(), are the usual reason)"
    )

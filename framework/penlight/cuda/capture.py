# SPDX-License-Identifier: Apache-2.0
"""Whole steps as one launch: `capture(step)` records the kernels of a call into a CUDA graph and replays them.

A call then costs the host a few microseconds instead of a few for each operator (https://docs.nvidia.com/cuda/cuda-c-programming-guide,
CUDA graphs). What a graph cannot hold is refused in `penlight.backends.cuda.recording`.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np

from penlight.backends import cuda
from penlight.backends.backend import visiting
from penlight.backends.cuda import recording
from penlight.cuda.graph import StepGraph
from penlight.cuda.static import Inputs
from penlight.errors import ArgumentError, CaptureError, DeviceError
from penlight.tape import mode
from penlight.tensor import Tensor
from penlight.tree import flatten

Step = Callable[..., Any]


class CapturedStep:
    """A step whose calls replay CUDA graphs, one for each set of shapes; made by `capture`."""

    def __init__(self, step: Step, warmup: int, max_graphs: int) -> None:
        functools.update_wrapper(self, step, updated=())
        self._step, self._warmup, self._max_graphs = step, warmup, max_graphs
        self._graphs: dict[Any, StepGraph] = {}
        self._has_warned = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the step and returns what it returns, the tensors as copies outside the tape.

        Raises:
            CaptureError: the step does something that a graph cannot hold, or its surroundings do not fit the graph.
            DeviceError: there is no CUDA device.
        """
        if recording.active is not None:  # a part of a greater step
            return self._step(*args, **kwargs)
        backend = cuda.backend()
        leaves, rebuild = flatten((args, kwargs))
        kind = None if mode.autocast is None else mode.autocast.types["cuda"]
        arrays = [leaf._data for leaf in leaves if isinstance(leaf, Tensor) and type(leaf._data) is not np.ndarray]
        with visiting(*arrays) if arrays else nullcontext():
            device = int(backend.xp.cuda.runtime.getDevice())
            key = _key(leaves), str(rebuild(["*"] * len(leaves))), mode.enabled, kind, device
            graph = self._graphs.get(key)
            if graph is None:
                if len(self._graphs) == self._max_graphs:
                    return self._run_eagerly(args, kwargs)
                graph = self._graphs[key] = StepGraph(backend, self._step, Inputs(backend, leaves, rebuild), self._warmup)
            return graph.run(leaves)

    @property
    def graph_count(self) -> int:
        """How many graphs there are: sets of shapes that were called more than `warmup` times."""
        return sum(graph.is_captured for graph in self._graphs.values())

    def reset(self) -> None:
        """Drops the graphs and their memory; the next calls warm up again."""
        self._graphs.clear()

    def _run_eagerly(self, args: Any, kwargs: Any) -> Any:
        if not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"{self.__name__}: came with more than {self._max_graphs} sets of shapes and numbers; further ones run without a "  # type: ignore[attr-defined]  # update_wrapper sets it
                "graph. Pad the batches, pass changing numbers as tensors, or raise max_graphs",
                stacklevel=3,
            )
        return self._step(*args, **kwargs)


def capture(step: Step | None = None, *, warmup: int = 2, max_graphs: int = 8) -> Any:
    """Returns a function that does what `step` does, bit for bit, as one CUDA graph; also a decorator.

    Each call is a whole step: the first `warmup` calls with new shapes run as they are, the next is captured, later ones replay.
    Tensors among the arguments are copied to where the graph reads them, those on the CPU too, and so `step` gets tensors on the
    device (that of the arguments, which have to agree; the current one where all are on the CPU); other arguments are constants
    of the graph. Results are copies, outside of the tape.

    Everything that changes from call to call has to live on the device: parameters, their gradients, state of the optimizer, masks
    of dropout and the scale of a GradScaler do. Learning rates may be changed between calls. The step itself must not read
    a value (`.item()`), copy from the host, or bind a new tensor to a name that the next call reads.

    Args:
        step: such as forward, backward and `optimizer.step()`. `zero_grad()` belongs into it.
        warmup: calls that run as they are, at least 1: they make the optimizer's state, compile kernels and fill the pool.
        max_graphs: sets of shapes with a graph of their own, whose memory is kept; calls with others run as they are.

    Raises:
        ArgumentError: `warmup` or `max_graphs` is below 1.

    Example:
        @pl.cuda.capture
        def train(x, y):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss
    """
    if step is None:
        return functools.partial(capture, warmup=warmup, max_graphs=max_graphs)
    if warmup < 1 or max_graphs < 1:
        raise ArgumentError(f"capture: expected warmup >= 1 and max_graphs >= 1, came {warmup} and {max_graphs}")
    return CapturedStep(step, warmup, max_graphs)


def compile(model: Step | None = None, *, mode: str | None = None, fullgraph: bool = True, dynamic: bool | None = None) -> Any:
    """Returns `capture(model)` where there is a CUDA device, and `model` itself with a warning where there is none.

    The one mode is "graph": the kernels are those of the eager call, launched at once; "reduce-overhead" is PyTorch's name of it.

    Raises:
        ArgumentError: another mode.
    """
    if model is None:
        return functools.partial(compile, mode=mode)
    if mode not in ("graph", "reduce-overhead"):
        raise ArgumentError(
            f'compile: the one mode is "graph" (a whole step as one CUDA graph), came mode={mode!r}; '
            "for a compiled model export it: penlight_export.export(model, inputs)"
        )
    try:
        cuda.backend()
    except DeviceError as error:
        warnings.warn(f"compile: the function runs as it is, since graphs need a CUDA device ({error})", stacklevel=2)
        return model
    return capture(model)


def _key(leaves: list[Any]) -> tuple[Any, ...]:
    try:
        key = tuple(_leaf_key(leaf) for leaf in leaves)
        hash(key)
    except TypeError as error:
        raise CaptureError(f"capture: arguments are tensors, or constants that can be compared by hash ({error})") from error
    return key


def _leaf_key(leaf: Any) -> Any:
    if not isinstance(leaf, Tensor):
        return type(leaf), leaf
    if leaf.requires_grad:
        raise CaptureError(
            f"capture: an argument of shape {tuple(leaf.shape)} requires a gradient, which the step could not bring back to it; "
            "pass x.detach(), or make it a parameter of the model"
        )
    strides = sorted(range(leaf.ndim), key=lambda d: -leaf._data.strides[d])
    return "tensor", tuple(leaf._data.shape), leaf.dtype.name, tuple(strides)

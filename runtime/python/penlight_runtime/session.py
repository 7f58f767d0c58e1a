# SPDX-License-Identifier: Apache-2.0
"""A method that is ready to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from penlight_runtime import _runtime
from penlight_runtime.dtypes import empty, numpy_dtype
from penlight_runtime.errors import InvalidArgument, ShapeMismatch
from penlight_runtime.strings import decode, encode, place_for

if TYPE_CHECKING:
    from penlight_runtime.program import TensorInfo


class NodeProfile(NamedTuple):
    """What one operator of the last run took; `source` is its module path or file:line."""

    name: str
    operator: str
    source: str
    nanoseconds: int
    macs: int


class ArenaBlock(NamedTuple):
    """Bytes [offset, offset + size_bytes) of the arena, in use from one node to another; the node count is the end of the run."""

    offset: int
    size_bytes: int
    first_node: int
    last_node: int


class PlanEntry(NamedTuple):
    """A value at the prepared shapes, or a node's working memory; `dtype` is None and `shape` empty where only a run can tell.

    `block` is None for what lies elsewhere: inputs, constants, what shapes alone tell, and what is taken while running.
    """

    name: str
    dtype: np.dtype | None
    shape: tuple[int, ...]
    block: ArenaBlock | None


class MemoryPlan(NamedTuple):
    """What lies where: values in the order of the file's method, and the working memory of each node."""

    values: tuple[PlanEntry, ...]
    scratch: tuple[PlanEntry, ...]


Arrays = Mapping[str, Any] | Sequence[Any]


class Session:
    """Runs a method; made by `Program.session`. Serves one thread at a time."""

    def __init__(self, native: _runtime.Session, inputs: tuple[TensorInfo, ...], outputs: tuple[TensorInfo, ...]) -> None:
        self._native = native
        self._inputs = inputs
        self._outputs = outputs
        self._is_plain = all(info.dtype.kind in "fiub" for info in (*inputs, *outputs))  # neither strings nor bfloat16

    def prepare(self, inputs: Arrays) -> None:
        """Plans and allocates memory for arrays of these shapes; `run` does it by itself when shapes change."""
        self._native.prepare(_arrange(inputs, self._inputs, "input"))

    def run(self, inputs: Arrays, outputs: Arrays | None = None) -> dict[str, np.ndarray]:
        """Returns the outputs by name.

        Args:
            inputs: arrays by name, or in the method's order. C-contiguous ones are read in place, others are copied first.
                Strings are arrays of str, bytes, np.str_ or np.bytes_, and come out as object arrays of str.
            outputs: arrays to write into, by name or in order: C-contiguous, of the outputs' shapes and dtypes. Missing: new ones.

        Raises:
            ShapeMismatch: a dtype or shape is not what the method declares; nothing is cast.
            InvalidArgument: an array is missing or unknown, or the session runs in another thread.
            InvalidValue, BudgetExceeded, OutOfMemory, Cancelled: see their docstrings.
        """
        if outputs is None and self._is_plain and type(inputs) is dict:  # small models take longer in Python than in their kernels
            named = self._native.run_by_name(inputs, empty, np.ndarray)
            if named is not None:
                return named
        given = None if outputs is None else _arrange(outputs, self._outputs, "output")
        arrays = self._native.run(_arrange(inputs, self._inputs, "input"), given, empty)
        return {info.name: _as_declared(array, info) for info, array in zip(self._outputs, arrays, strict=True)}

    def reset(self) -> None:
        """Gives the state tensors that the session uses their first content again."""
        self._native.reset()

    def states(self) -> dict[str, np.ndarray]:
        """Returns copies of the tensors that the method keeps from run to run, by name; none for most methods."""
        return {
            name: np.frombuffer(data, numpy_dtype(number)).reshape(shape).copy()
            for name, number, shape, data in self._native.states()
        }

    def set_states(self, states: Mapping[str, np.ndarray]) -> None:
        """Replaces the content of the named state tensors, for example by what `states()` gave before.

        Raises:
            InvalidArgument: the method has no such state, or an array has another shape or dtype.
        """
        current = self.states()
        for name, array in states.items():
            before = current.get(name)
            if before is None or before.shape != array.shape or before.dtype != array.dtype:
                has = ", ".join(f"{key} {value.dtype} {value.shape}" for key, value in current.items()) or "none"
                raise InvalidArgument(f"state {name!r}: came {array.dtype} {array.shape}; the method's states are: {has}")
            self._native.set_state(list(current).index(name), np.ascontiguousarray(array).tobytes())

    def cancel(self) -> None:
        """Makes a run that another thread waits for end with `Cancelled` before its next operator."""
        self._native.cancel()

    def profile(self) -> list[NodeProfile]:
        """Returns the time of every operator in the last run; zeros unless the session was made with `profile=True`."""
        return [NodeProfile(*entry) for entry in self._native.profile()]

    def plan(self) -> MemoryPlan:
        """Returns the memory plan for the prepared shapes; empty before."""
        entries = [
            PlanEntry(name, numpy_dtype(number) if number else None, shape, block and ArenaBlock(*block))
            for name, number, shape, block in self._native.plan()
        ]
        values = len(entries) - len(self._native.profile()) if entries else 0
        return MemoryPlan(tuple(entries[:values]), tuple(entries[values:]))

    @property
    def arena_bytes(self) -> int:
        """Bytes of working memory at the prepared shapes; 0 before."""
        return self._native.arena_bytes()

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run at the prepared shapes; 0 before."""
        return self._native.macs()


def _as_declared(array: np.ndarray, info: TensorInfo) -> np.ndarray:
    """Returns the array itself; bfloat16, which came as uint16, is seen under its own dtype, and strings become str."""
    if info.dtype.kind == "S":
        return decode(array)
    return array if array.dtype == info.dtype else array.view(info.dtype)


def _arrange(arrays: Arrays, infos: tuple[TensorInfo, ...], kind: str) -> list[np.ndarray]:
    """Returns the arrays in the method's order, contiguous and of the declared dtypes."""
    if isinstance(arrays, Mapping):
        arrays = _by_name(arrays, infos, kind)
    if len(arrays) != len(infos):
        raise InvalidArgument(f"expected {len(infos)} {kind}s ({_names(infos)}), got {len(arrays)}")
    return [_check(array, info, kind) for array, info in zip(arrays, infos, strict=True)]


def _by_name(arrays: Mapping[str, Any], infos: tuple[TensorInfo, ...], kind: str) -> list[Any]:
    missing = [info.name for info in infos if info.name not in arrays]
    if missing or len(arrays) != len(infos):
        known = {info.name for info in infos}
        unknown = [str(name) for name in arrays if name not in known]
        raise InvalidArgument(f"{kind}s are {_names(infos)}; missing: {missing}, unknown: {unknown}")
    return [arrays[info.name] for info in infos]


def _names(infos: tuple[TensorInfo, ...]) -> str:
    return ", ".join(info.name for info in infos)


def _check(array: Any, info: TensorInfo, kind: str) -> np.ndarray:
    if not isinstance(array, np.ndarray):
        if not isinstance(array, np.generic):
            raise ShapeMismatch(f"{kind} {info.name!r}: expected a NumPy array of {info.dtype}, got {type(array).__name__}")
        array = np.asarray(array)
    if info.dtype.kind == "S":
        return place_for(array, info) if kind == "output" else encode(array, info)
    if array.dtype != info.dtype:
        raise ShapeMismatch(f"{kind} {info.name!r}: expected {info.dtype}, got {array.dtype}; convert it with astype")
    if array.flags.c_contiguous and array.flags.aligned:
        return array if array.dtype.kind != "V" else array.view(np.uint16)
    if kind == "output":
        raise ShapeMismatch(
            f"output {info.name!r}: the array must be C-contiguous; pass np.empty({array.shape}, {str(array.dtype)!r})"
        )
    return _check(np.array(array, order="C"), info, kind)

# SPDX-License-Identifier: Apache-2.0
"""A loaded .pen file."""

from __future__ import annotations

import mmap as memory_map
import os
from typing import Any, NamedTuple

import numpy as np

from penlight_runtime import _runtime
from penlight_runtime.dtypes import numpy_dtype
from penlight_runtime.errors import InvalidArgument, UnreadableFile
from penlight_runtime.session import Session
from penlight_runtime.strings import as_strings, decode, string_names

_ALIGNMENT = 64  # of the file in memory, so that kernels find aligned weights


class TensorInfo(NamedTuple):
    """An input or output as the file declares it; a size that varies is the name of its symbol, "?" when it has none.

    Strings have a dtype such as S64: UTF-8, at most 64 bytes.
    """

    name: str
    dtype: np.dtype
    shape: tuple[int | str, ...]


class GoldenSample(NamedTuple):
    """Inputs that the file carries, with the outputs that they must give."""

    method: str
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]


class Program:
    """A verified program; any bytes are safe to try.

    Args:
        data: the file's bytes. `bytes` and read-only buffers are used in place, others are copied.
        memory_budget: limit in bytes for the program and for each of its sessions; 0 is no limit.
        check_segments: compare the weights' checksums as well, which reads all of them; `self_test` does it in any case. Loading
            then takes as long as the file is large. Without, damaged weights give wrong numbers, and never a break of memory.

    Raises:
        InvalidFile, UnsupportedVersion, InvalidProgram, UnsupportedOperator, BudgetExceeded: see their docstrings.

    Example:
        >>> program = Program.open("model.pen")                          # doctest: +SKIP
        >>> program.session().run({"x": np.zeros((1, 4), np.float32)})   # doctest: +SKIP
    """

    def __init__(self, data: Any, *, memory_budget: int = 0, check_segments: bool = False) -> None:
        held = _in_place_or_copy(data)
        self._mapping = held if isinstance(held, memory_map.mmap) else None
        self._native = _runtime.Program(held, memory_budget, check_segments)
        self._methods = tuple(self._native.methods())
        metadata = dict(self._native.metadata())
        self._strings = {method: string_names(metadata, method) for method in self._methods}

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], *, mmap: bool = False, memory_budget: int = 0, check_segments: bool = False
    ) -> Program:
        """Loads a file, by reading it or, on request, by mapping it.

        A mapped file must not be changed while the program lives: shortening it ends the process with SIGBUS.

        Raises:
            UnreadableFile: the file is missing, a folder, or not permitted.
        """
        try:
            data = _map(path) if mmap and os.path.getsize(path) > 0 else _read(path)
        except OSError as error:
            raise UnreadableFile(f"{os.fspath(path)}: cannot be read: {error.strerror or error}; check the path") from error
        return cls(data, memory_budget=memory_budget, check_segments=check_segments)

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of what the program can do; exporters call a model's only method "forward"."""
        return self._methods

    @property
    def metadata(self) -> dict[str, str]:
        """What the exporter noted: producer, versions, checksum of the checkpoint."""
        return dict(self._native.metadata())

    def inputs(self, method: str = "forward") -> tuple[TensorInfo, ...]:
        """Returns the inputs of a method, in order."""
        return self._declared(self._native.inputs(self._index(method)), method)

    def outputs(self, method: str = "forward") -> tuple[TensorInfo, ...]:
        """Returns the outputs of a method, in order."""
        return self._declared(self._native.outputs(self._index(method)), method)

    def session(
        self,
        method: str = "forward",
        *,
        threads: int = 1,
        profile: bool = False,
        mac_budget: int = 0,
        deterministic: bool = False,
        low_memory: bool = False,
        states_of: Session | None = None,
    ) -> Session:
        """Returns a session that runs `method`; make one for each thread that runs.

        Args:
            threads: the calling thread and threads - 1 more.
            profile: time every operator, for `Session.profile`.
            mac_budget: limit for the multiply-accumulates of one run; 0 is no limit.
            deterministic: the same bits on every processor and with any number of threads, in up to 2.5 times the time.
            low_memory: keep no weights in a second, faster order, which takes up to four times the size of those that have one;
                so it is too where the program has a memory budget.
            states_of: a session of this program, of another method say, whose state tensors the new one reads and writes instead
                of its own. Use the two in one thread.
        """
        if not 1 <= threads <= 256:
            raise InvalidArgument(f"threads is {threads}; expected a number from 1 to 256")
        other = None if states_of is None else states_of._native
        native = _runtime.Session(self._native, self._index(method), threads, profile, mac_budget, other, deterministic, low_memory)
        return Session(native, self.inputs(method), self.outputs(method))

    def release_pages(self) -> None:
        """Gives the memory of a mapped file back to the system until the next run, which reads the file again.

        Between runs that are far apart, the process then holds no weights. Programs that are not mapped stay as they are.
        """
        if self._mapping is not None and hasattr(self._mapping, "madvise"):  # not on Windows
            self._mapping.madvise(memory_map.MADV_DONTNEED)

    def self_test(self) -> int:
        """Runs the golden inputs, compares with the golden outputs, and returns the number of samples.

        Raises:
            SelfTestFailed: an output differs by more than the file allows.
        """
        return self._native.self_test()

    def golden(self) -> list[GoldenSample]:
        """Returns the samples that the file carries, as copies."""
        samples = []
        for method, inputs, outputs in self._native.golden():
            name = self._methods[method]
            named_inputs = {info.name: _golden_array(entry, info) for info, entry in zip(self.inputs(name), inputs, strict=True)}
            named_outputs = {info.name: _golden_array(entry, info) for info, entry in zip(self.outputs(name), outputs, strict=True)}
            samples.append(GoldenSample(name, named_inputs, named_outputs))
        return samples

    def _declared(self, entries: list[tuple[str, int, tuple[int | str, ...]]], method: str) -> tuple[TensorInfo, ...]:
        infos = tuple(map(_tensor_info, entries))
        marked = self._strings[method]
        return tuple(as_strings(info) if info.name in marked else info for info in infos) if marked else infos

    def _index(self, method: str) -> int:
        try:
            return self._methods.index(method)
        except ValueError:
            names = ", ".join(self._methods)
            raise InvalidArgument(f"the program has no method {method!r}; it has: {names}") from None


def _tensor_info(entry: tuple[str, int, tuple[int | str, ...]]) -> TensorInfo:
    name, number, shape = entry
    return TensorInfo(name, numpy_dtype(number), shape)


def _golden_array(entry: tuple[int, tuple[int, ...], bytes], info: TensorInfo) -> np.ndarray:
    number, shape, data = entry
    array = np.frombuffer(data, numpy_dtype(number)).reshape(shape)
    return decode(array) if info.dtype.kind == "S" else array.copy()


def _aligned(size: int) -> np.ndarray:
    """Returns `size` uninitialized bytes at an aligned address."""
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size]


def _in_place_or_copy(data: Any) -> Any:
    """A program trusts what it verified, so bytes that somebody may still write are copied."""
    if isinstance(data, _OwnedBytes):
        return data.array
    view = memoryview(data)
    if not view.c_contiguous:
        raise InvalidArgument("the program's bytes must be contiguous; pass bytes(data)")
    flat = np.frombuffer(view, np.uint8) if view.nbytes else np.empty(0, np.uint8)
    if view.readonly and flat.ctypes.data % 8 == 0:
        return data
    copy = _aligned(view.nbytes)
    copy[:] = flat
    return copy


class _OwnedBytes:
    """Bytes that nobody else can write."""

    def __init__(self, array: Any) -> None:
        self.array = array


def _read(path: str | os.PathLike[str]) -> _OwnedBytes:
    with open(path, "rb") as file:
        array = _aligned(os.fstat(file.fileno()).st_size)
        size = file.readinto(array.data) if array.size else 0
    return _OwnedBytes(array[:size])


def _map(path: str | os.PathLike[str]) -> _OwnedBytes:
    with open(path, "rb") as file:
        return _OwnedBytes(memory_map.mmap(file.fileno(), 0, access=memory_map.ACCESS_READ))

# SPDX-License-Identifier: Apache-2.0
"""Products of device matrices by cuBLASLt: what the compiled module penlight._cublaslt needs from Python.

The library is asked for the current stream and works in memory of ours, so that products can be captured.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penlight.backends.cuda import precision
from penlight.backends.cuda.wrapper import Launcher
from penlight.errors import DeviceError

# NumPy's names of dtypes: (cudaDataType, compute type); float32 with TF32 has a compute type of its own.
_TYPES = {"float32": (0, 68), "float64": (1, 70), "float16": (2, 68), "bfloat16": (14, 68)}
_TF32 = 77
_NAMES = ("libcublasLt.so.13", "libcublasLt.so.12")
_WORKSPACE_BYTES = 32 << 20  # what NVIDIA recommends for Hopper; split-k algorithms need it

# cublasLtEpilogue_t
EPILOGUES = {
    "none": 1,
    "relu": 2,
    "bias": 4,
    "relu_bias": 6,
    "gelu": 32,
    "gelu_bias": 36,
    "relu_aux": 130,
    "relu_aux_bias": 134,
    "drelu": 136,
    "drelu_bgrad": 152,
    "gelu_aux": 160,
    "gelu_aux_bias": 164,
    "dgelu": 192,
    "dgelu_bgrad": 208,
    "bgrad_a": 256,
    "bgrad_b": 512,
}


@dataclass(frozen=True)
class Matrix:
    """A matrix (rows, columns) in row-major order, or its transpose, with equally spaced copies of it for a batch."""

    pointer: int
    ld: int
    is_transposed: bool
    stride: int  # elements from one matrix of the batch to the next; 0 where all are the same


class Products:
    """d = epilogue(a @ b) on the current stream; one library handle per device, one workspace per stream."""

    def __init__(self, xp: Any, launcher: Launcher) -> None:
        self._xp, self._launcher = xp, launcher
        self._libraries: dict[int, Any] = {}
        self._workspaces: dict[tuple[int, int], Any] = {}

    def multiply(
        self,
        dtype: str,
        sizes: tuple[int, int, int, int],
        a: Matrix,
        b: Matrix,
        d: Matrix,
        *,
        epilogue: str = "none",
        bias: Any = None,
        aux: Any = None,
        aux_ld: int = 0,
        beta: float = 0.0,
    ) -> bool:
        """Computes (batch, m, k) @ (batch, k, n), `sizes` being (batch, m, n, k); False where the library has no algorithm.

        The epilogues are those of cuBLASLt, seen in row-major order. `bias` (n) is added to rows; "bgrad_b" writes the sums of a
        over k into it (m), "bgrad_a" those of b (n). "relu_aux" and "gelu_aux" write to `aux` what "drelu" and "dgelu" read to
        multiply by the slope: what comes before a GELU (in its tanh form), or the bits of the signs, in rows of `aux_ld` elements
        or bits. "drelu_bgrad" and "dgelu_bgrad" also write the sums of d over m into `bias` (n).

        Raises:
            DeviceError: the library cannot be loaded.
        """
        batch, m, n, k = sizes
        kind, compute = _TYPES[dtype]
        if dtype == "float32" and precision.matmul.allow_tf32:
            compute = _TF32
        device, stream = self._place()
        workspace = self._workspace(device, stream)
        # A row-major matrix is the transpose of a column-major one: d' = b' a'.
        return self._library(device).multiply(
            *(b.pointer, a.pointer, d.pointer, self._address(bias), self._address(aux)),
            *(n, m, k, b.is_transposed, a.is_transposed, b.ld, a.ld, d.ld),
            *(batch, b.stride, a.stride, d.stride, kind, compute, EPILOGUES[epilogue], aux_ld),
            *(1.0, beta, self._launcher.pointer(workspace), _WORKSPACE_BYTES, stream),
        )

    def is_there(self) -> bool:
        """Whether the library can be loaded."""
        try:
            self._library(self._place()[0])
        except DeviceError:
            return False
        return True

    @property
    def plan_count(self) -> int:
        """How many problems have been planned so far."""
        return sum(library.plan_count for library in self._libraries.values())

    def _place(self) -> tuple[int, int]:
        gpu = self._xp.cuda
        return int(gpu.runtime.getDevice()), int(gpu.get_current_stream().ptr)

    def _address(self, array: Any) -> int:
        return 0 if array is None else self._launcher.pointer(array)

    def _workspace(self, device: int, stream: int) -> Any:
        workspace = self._workspaces.get((device, stream))
        if workspace is None:
            workspace = self._workspaces[device, stream] = self._xp.empty(_WORKSPACE_BYTES, self._xp.uint8)
        return workspace

    def _library(self, device: int) -> Any:
        library = self._libraries.get(device)
        if library is None:
            library = self._libraries[device] = load()
        return library


def load() -> Any:
    """The library, from where the NVIDIA wheels put it, or from the system.

    Raises:
        DeviceError: it is not there; the message says where was looked.
    """
    try:
        from penlight import _cublaslt  # compiled on Linux only

        return _cublaslt.Library([*_in_wheels(), *_NAMES])
    except (ImportError, RuntimeError) as error:
        raise DeviceError(
            f"cuda: {error}; pip install nvidia-cublas, or put the folder of the library into LD_LIBRARY_PATH"
        ) from error


def _in_wheels() -> list[str]:
    """Paths in the wheels nvidia-cublas and nvidia-cublas-cu12; PENLIGHT_CUBLASLT names one that goes before."""
    named = os.environ.get("PENLIGHT_CUBLASLT")
    try:
        import nvidia  # a namespace package of NVIDIA's wheels
    except ImportError:
        return [named] if named else []
    found = [str(path) for name in _NAMES for folder in nvidia.__path__ for path in sorted(Path(folder).glob(f"*/lib/{name}"))]
    return [named, *found] if named else found

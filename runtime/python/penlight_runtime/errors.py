# SPDX-License-Identifier: Apache-2.0
"""What can go wrong in the edge runtime: one class per status of the C API, codes PL-E30NN with NN the status number."""

from __future__ import annotations


class RuntimeFailure(Exception):
    """The edge runtime refused a file, an input or a run. The message names what, where and the remedy."""

    code = "PL-E3000"
    exit_code = 3
    status = 0


class InvalidArgument(RuntimeFailure, ValueError):
    """A call broke the interface's rules: a wrong number of arrays, a buffer too small, a session used by two threads."""

    code = "PL-E3001"
    exit_code = 2
    status = 1


class InvalidFile(RuntimeFailure, ValueError):
    """The bytes are no .pen file, or it is truncated or damaged: a checksum, size or offset is wrong. Copy or export it again."""

    code = "PL-E3002"
    status = 2


class UnsupportedVersion(RuntimeFailure, ValueError):
    """The file needs a newer runtime. Update penlight, or export the file for this version."""

    code = "PL-E3003"
    status = 3


class InvalidProgram(RuntimeFailure, ValueError):
    """The file is whole, but its program breaks a rule: an index out of range, a value without a source, contradicting shapes."""

    code = "PL-E3004"
    status = 4


class UnsupportedOperator(RuntimeFailure, NotImplementedError):
    """The runtime has no kernel for an operator, for its version, or for a dtype. `penlight inspect` lists a file's operators."""

    code = "PL-E3005"
    status = 5


class ShapeMismatch(RuntimeFailure, ValueError):
    """An array's dtype or shape is not what the method declares. Arrays are never cast silently: convert them with `astype`."""

    code = "PL-E3006"
    status = 6


class OutOfMemory(RuntimeFailure, MemoryError):
    """The machine refused memory or a thread. Use smaller inputs or fewer threads."""

    code = "PL-E3007"
    exit_code = 4
    status = 7


class BudgetExceeded(RuntimeFailure):
    """The program needs more memory or more multiply-accumulates than the caller allows. Raise the budget or use smaller inputs."""

    code = "PL-E3008"
    status = 8


class InvalidValue(RuntimeFailure, ValueError):
    """A value met while running is impossible, such as an index out of range. The input data are wrong."""

    code = "PL-E3009"
    status = 9


class Cancelled(RuntimeFailure):
    """The run was stopped by `Session.cancel`."""

    code = "PL-E3010"
    exit_code = 130
    status = 10


class SelfTestFailed(RuntimeFailure):
    """The golden inputs in the file do not give the golden outputs on this machine. Do not trust this build with this model."""

    code = "PL-E3011"
    exit_code = 1
    status = 11


class UnreadableFile(RuntimeFailure, OSError):
    """The file cannot be opened or read: it is missing, a folder, or not permitted."""

    code = "PL-E3050"


class MissingDtypeSupport(RuntimeFailure, ImportError):
    """NumPy has no bfloat16 of its own; the program uses it and the package ml_dtypes is not installed."""

    code = "PL-E3051"
    exit_code = 4


_BY_STATUS: dict[int, type[RuntimeFailure]] = {
    kind.status: kind
    for kind in (
        InvalidArgument,
        InvalidFile,
        UnsupportedVersion,
        InvalidProgram,
        UnsupportedOperator,
        ShapeMismatch,
        OutOfMemory,
        BudgetExceeded,
        InvalidValue,
        Cancelled,
        SelfTestFailed,
    )
}


def failure(status: int, message: str) -> RuntimeFailure:
    """Returns the exception for a status of the C API; the binding raises it."""
    return _BY_STATUS.get(status, RuntimeFailure)(message)

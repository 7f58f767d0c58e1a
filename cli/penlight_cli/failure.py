# SPDX-License-Identifier: Apache-2.0
"""From any exception to what the user sees: a stable code, an exit code, and one sentence with the remedy."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from typing import Any

from penlight_cli.errors import CliError, InputMissing, InputValue, Interrupted, MissingDependency, OutputFailed, UsageProblem

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

# Import name to what `pip install` wants; an installation of penlight has the others.
_EXTRAS = {"cupy": "penlight[cuda13]", "mpi4py": "penlight[mpi]", "tritonclient": "penlight[test]"}


@dataclass(frozen=True)
class Failure:
    """What is printed on stderr, and under "error" in the JSON object."""

    code: str
    exit_code: int
    message: str
    data: dict[str, Any] = field(default_factory=dict)
    text: str = ""  # results to print although the check failed


def failure_of(error: BaseException) -> Failure:
    """Maps an exception to the output contract; every package's errors carry `.code` and `.exit_code`."""
    code = getattr(error, "code", None)
    if isinstance(code, str) and code.startswith("PL-E"):
        return Failure(code, int(getattr(error, "exit_code", 1)), sentence(error), _data(error), getattr(error, "text", ""))
    if hasattr(error, "format_message"):  # Typer's usage errors; its class has another home in each Typer release
        return _failure(UsageProblem, _usage_message(error))
    if isinstance(error, KeyboardInterrupt):
        return _failure(Interrupted, "interrupted")
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("penlight"):
        return _failure(MissingDependency, _missing_module_message(error))
    if isinstance(error, ImportError) and not isinstance(error, ModuleNotFoundError):
        return _failure(MissingDependency, f"cannot load {error.name}: {sentence(error)}; see 'penlight doctor'")
    if isinstance(error, OSError):
        return _os_failure(error)
    if isinstance(error, MemoryError):
        return _failure(InputValue, f"not enough memory ({sentence(error)}); use a smaller input or batch")
    if isinstance(error, ValueError):
        return _failure(InputValue, sentence(error))
    return _failure(CliError, f"{type(error).__name__}: {sentence(error)}; this is a defect, run again with --debug and report it")


def _failure(kind: type[CliError], message: str) -> Failure:
    return Failure(kind.code, kind.exit_code, message)


def _data(error: BaseException) -> dict[str, Any]:
    data = getattr(error, "data", None)
    return data if isinstance(data, dict) else {}


def sentence(error: BaseException) -> str:
    """The message of an exception; the class name when it has none."""
    return str(error).strip() or type(error).__name__


def _usage_message(error: Any) -> str:
    possibilities = getattr(error, "possibilities", None)
    message = error.format_message().strip().split(" (Possible options")[0].rstrip(".")
    if possibilities:
        message += f" (did you mean {' or '.join(sorted(possibilities))}?)"
    path = getattr(getattr(error, "ctx", None), "command_path", "penlight")
    return f"{' '.join(message.split())}; try '{path} --help'"


def _missing_module_message(error: ModuleNotFoundError) -> str:
    name = (error.name or "").split(".")[0]
    return f"the Python package {name!r} is not installed: run pip install '{_EXTRAS.get(name, 'penlight')}'"


def _os_failure(error: OSError) -> Failure:
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in _DISK_FULL:
        return _failure(OutputFailed, f"{where}the disk is full or a quota is reached; free some space or choose another folder")
    if error.errno in {errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL} and not error.filename:
        return _failure(UsageProblem, f"cannot listen: {error.strerror}; choose another --host or --port")
    return _failure(InputMissing, f"{where}{error.strerror or sentence(error)}; check the path and its permissions")

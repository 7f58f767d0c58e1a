# SPDX-License-Identifier: Apache-2.0
"""`package`: from a `.pen` file to a folder that builds on its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from penlight_mobile import c_target, cortex_target, folder, linux_target, model, web_target
from penlight_mobile.errors import UnknownTargetError


@dataclass(frozen=True)
class _Target:
    files: Callable[[model.Model], dict[str, bytes]]
    next_step: Callable[[Path], str]


_TARGETS: Mapping[str, _Target] = {
    "c": _Target(c_target.files, c_target.next_step),
    "web": _Target(web_target.files, web_target.next_step),
    **{name: _Target(platform.files, linux_target.next_step) for name, platform in linux_target.PLATFORMS.items()},
    **{name: _Target(core.files, cortex_target.next_step) for name, core in cortex_target.CORES.items()},
}


@dataclass(frozen=True)
class PackageResult:
    """What `package` wrote.

    Attributes:
        path: the folder.
        files: the names in it, sorted.
        size_bytes: of all files together.
        next_step: what to do with the folder, in words or as a command.
    """

    path: Path
    files: tuple[str, ...]
    size_bytes: int
    next_step: str

    def compile_command(self, compiler: str = "cc") -> list[list[str]]:
        """Commands that build the program of the target "c" without CMake, to be run in order with `path` as the working directory.

        Args:
            compiler: a C compiler such as "cc", "gcc", "clang-16" or "aarch64-linux-gnu-gcc"; its C++ sibling is used too.
        """
        return c_target.compile_command(compiler)

    @property
    def program(self) -> Path:
        """Where `compile_command` leaves the program."""
        return self.path / c_target.PROGRAM


def targets() -> tuple[str, ...]:
    """The names that `package` accepts as its target."""
    return tuple(_TARGETS)


def package(pen_path: str | os.PathLike[str], target: str = "c", output: str | os.PathLike[str] = ".") -> PackageResult:
    """Writes a folder that runs the model without Penlight.

    Args:
        pen_path: a `.pen` file; it is verified and its self-test is run first.
        target: one of `targets()`. "c": the single-file runtime with the kernels that the model needs, its C99 header, the
            model, a main.c and a CMakeLists.txt. "web": the same runtime as WebAssembly, a JavaScript module that runs it, and one
            page that holds everything; needs Zig (`pip install 'penlight[cross]'`). "linux-arm64" and the like: as "c", with a
            script that cross-compiles it. "cortex-m4" and the like: for a microcontroller, with a Makefile and a board of QEMU's.
        output: a new or empty folder, or one that an earlier call wrote, whose files are then replaced.

    Raises:
        UnknownTargetError: no such target.
        ForeignFolderError: the folder holds somebody else's files.
        InvalidModelError: the model is missing or damaged, or its self-test fails.
        MissingKernelError: the sources lack a kernel that the model needs.
        MissingCompilerError, CompilerFailedError: a target that is compiled here could not be.
        SaveError: the folder cannot be written.

    Example:
        >>> result = package("model.pen", target="c", output="model_c")  # doctest: +SKIP
    """
    chosen = _TARGETS.get(target)
    if chosen is None:
        raise UnknownTargetError(f"package: expected a target out of {', '.join(targets())}, came {target!r}")
    path = Path(output)
    files = chosen.files(model.read(Path(pen_path)))
    folder.write(path, target, files)
    size_bytes = sum(len(data) for data in files.values())
    return PackageResult(path, tuple(sorted(files)), size_bytes, chosen.next_step(path))

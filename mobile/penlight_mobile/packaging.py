# SPDX-License-Identifier: Apache-2.0
"""`package`: from a `.pen` file to a folder that builds on its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from penlight_mobile import c_target, folder, model
from penlight_mobile.errors import UnknownTargetError

# What makes the files of a target, by its name.
_TARGETS: Mapping[str, Callable[[model.Model], dict[str, bytes]]] = {"c": c_target.files}


@dataclass(frozen=True)
class PackageResult:
    """What `package` wrote.

    Attributes:
        path: the folder.
        files: the names in it, sorted.
        size_bytes: of all files together.
    """

    path: Path
    files: tuple[str, ...]
    size_bytes: int

    def compile_command(self, compiler: str = "cc") -> list[list[str]]:
        """Commands that build the program without CMake, to be run in order with `path` as the working directory.

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
            model, a main.c and a CMakeLists.txt.
        output: a new or empty folder, or one that an earlier call wrote, whose files are then replaced.

    Raises:
        UnknownTargetError: no such target.
        ForeignFolderError: the folder holds somebody else's files.
        InvalidModelError: the model is missing or damaged, or its self-test fails.
        MissingKernelError: the sources lack a kernel that the model needs.
        SaveError: the folder cannot be written.

    Example:
        >>> result = package("model.pen", target="c", output="model_c")  # doctest: +SKIP
    """
    make = _TARGETS.get(target)
    if make is None:
        raise UnknownTargetError(f"package: expected a target out of {', '.join(targets())}, came {target!r}")
    path = Path(output)
    files = make(model.read(Path(pen_path)))
    folder.write(path, target, files)
    size_bytes = sum(len(data) for data in files.values())
    return PackageResult(path, tuple(sorted(files)), size_bytes)

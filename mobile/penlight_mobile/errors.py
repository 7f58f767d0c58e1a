# SPDX-License-Identifier: Apache-2.0
"""Errors of packaging. Each class is one code of the table; its docstring is the explanation of the code."""

from penlight.errors import PenlightError


class PackageError(PenlightError):
    """A model could not be packaged. Subclasses say why; this code is used when none of them fits."""

    code = "PL-E6000"
    exit_code = 3


class UnknownTargetError(PackageError, ValueError):
    """There is no such packaging target; the message lists those that exist."""

    code = "PL-E6001"
    exit_code = 2


class ForeignFolderError(PackageError, FileExistsError):
    """The output folder holds files that `penlight package` did not write, and they are left alone.

    Give an empty or a new folder, or one that an earlier `penlight package` wrote.
    """

    code = "PL-E6002"
    exit_code = 2

    def __str__(self) -> str:  # OSError prints an errno in front
        return str(self.args[0]) if self.args else ""


class InvalidModelError(PackageError, ValueError):
    """The model is missing, is no `.pen` file, or is damaged. Export or convert it again."""

    code = "PL-E6003"


class MissingKernelError(PackageError, NotImplementedError):
    """The model uses operators for which the runtime's sources have no kernel; the message lists all of them."""

    code = "PL-E6004"


class MissingSourcesError(PackageError, RuntimeError):
    """The runtime's C++ sources, which every package carries, are not where the installation should have them.

    Install Penlight again with `pip install --force-reinstall penlight`.
    """

    code = "PL-E6005"
    exit_code = 4


class MissingCompilerError(PackageError, RuntimeError):
    """This target is compiled on your machine, by Zig, and Zig is not installed.

    `pip install 'penlight[cross]'` brings it; a `zig` on the PATH does as well.
    """

    code = "PL-E6006"
    exit_code = 4


class CompilerFailedError(PackageError, RuntimeError):
    """The compiler refused the runtime's sources or hung; the message holds what it said.

    The sources are ours: please report it with the version that `python -m ziglang version` prints. A full disk does this too.
    """

    code = "PL-E6007"
    exit_code = 4

# SPDX-License-Identifier: Apache-2.0
"""The packaged runtime on other processors: compiled by Debian's cross compilers and run by QEMU, or by Zig and run by Node."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from native_builds import need, run

from penlight_mobile import c_target, cortex_target, sources, toolchain
from penlight_mobile.errors import MissingCompilerError
from penlight_mobile.model import Model

_HERE_FLAGS = ("-O0", "-Wall", "-Wextra", "-Werror")  # the last word on the optimization is a test's: compiling is what takes time

_NEWLIB_FLAG = "-Wno-format"  # its uint32_t is unsigned long, which is as wide as the unsigned of %u


@dataclass(frozen=True)
class Machine:
    """A processor under Linux: the prefix of its compilers, its emulator, and flags that it wants."""

    prefix: str
    emulator: str
    flags: tuple[str, ...] = ()

    def need(self) -> None:
        """Skips the test when a compiler or the emulator is missing."""
        need(f"{self.prefix}-gcc", f"{self.prefix}-g++", self.emulator)

    def compile_runtime(self, folder: Path) -> None:
        """penlight.cpp to penlight.o."""
        command = [f"{self.prefix}-g++", *c_target.FLAGS["cxx_flags"], *self.flags, *_HERE_FLAGS, "-c", "penlight.cpp"]
        run(*command, "-o", "penlight.o", cwd=folder)

    def link(self, folder: Path, program: str, *programs_sources: object, options: Sequence[str] = ()) -> Path:
        """C or C++ sources and the runtime to a static program."""
        words = [*self.flags, *options, "-I.", *programs_sources, "penlight.o", "-static", "-Wl,--gc-sections", "-lm", "-lpthread"]
        run(f"{self.prefix}-gcc", *words, "-o", program, cwd=folder)
        return folder / program

    def run(self, program: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Runs it; the result holds exit code and output."""
        command = [self.emulator, str(program), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=600)


_WASI_FLAGS = ("-target", "wasm32-wasi", "-msimd128")


@dataclass(frozen=True)
class WebAssembly(Machine):
    """WebAssembly with 128-bit vectors, where files are reached through WASI."""

    def need(self) -> None:
        need(self.emulator)
        try:
            toolchain.zig()
        except MissingCompilerError as error:
            pytest.skip(str(error))

    def compile_runtime(self, folder: Path) -> None:
        flags = [flag for flag in c_target.FLAGS["cxx_flags"] if "unwind" not in flag]
        run(
            *toolchain.zig(),
            "c++",
            *_WASI_FLAGS,
            "-fno-sanitize=undefined",
            *flags,
            *_HERE_FLAGS,
            "-c",
            "penlight.cpp",
            "-o",
            "penlight.o",
            cwd=folder,
        )

    def link(self, folder: Path, program: str, *programs_sources: object, options: Sequence[str] = ()) -> Path:
        # The C library is built once for each level of optimization: packages have it at this one.
        words = [*_WASI_FLAGS, "-Os", *options, "-I.", *programs_sources, "penlight.o", "-Wl,--gc-sections"]
        run(*toolchain.zig(), "c++", "-std=c++17", *words, "-o", program, cwd=folder)
        return folder / program

    def run(self, program: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
        starter = Path(__file__).with_name("start_wasi.mjs")
        command = [self.emulator, "--no-warnings", str(starter), str(program), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=600)


MACHINES = {
    "aarch64": Machine("aarch64-linux-gnu", "qemu-aarch64"),
    "armhf": Machine("arm-linux-gnueabihf", "qemu-arm"),
    "riscv64": Machine("riscv64-linux-gnu", "qemu-riscv64"),
    "i686": Machine("i686-linux-gnu", "qemu-i386", ("-msse2", "-mfpmath=sse")),
    "s390x": Machine("s390x-linux-gnu", "qemu-s390x"),
    "wasm32": WebAssembly("", "node"),
}


def write_whole_runtime(folder: Path) -> None:
    """penlight.cpp with all kernels, and penlight.h."""
    amalgamate = sources.amalgamate()
    operators = [amalgamate.Operator(line.domain, line.name, line.versions[0]) for line in amalgamate.kernel_lines()]
    _write(folder, amalgamate.amalgamate(operators, sources.runtime_folder()))


def _write(folder: Path, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "penlight.cpp").write_text(text, encoding="ascii")
    shutil.copy(sources.runtime_folder() / "include/penlight.h", folder)


def write_runtime(folder: Path, models: Sequence[Model]) -> None:
    """penlight.cpp and penlight.h for all of the models together, so that one compilation serves them."""
    amalgamate = sources.amalgamate()
    dtypes = [model.selection.dtypes for model in models]
    selection = amalgamate.Selection(
        None if None in dtypes else frozenset().union(*dtypes),
        frozenset().union(*(model.selection.activations for model in models)),
    )
    operators = [operator for model in models for operator in model.operators]
    _write(folder, amalgamate.amalgamate(operators, sources.runtime_folder(), selection))


def build_firmware(folder: Path, model: Model, core: str = "cortex-m4") -> Path:
    """The folder of a Cortex-M target, built by its Makefile with the runtime that lies beside (`write_runtime`)."""
    need("arm-none-eabi-gcc", "arm-none-eabi-g++", "make")
    place = folder / model.name
    place.mkdir()
    for name, data in cortex_target.CORES[core].files(model).items():
        (place / name).write_bytes(data)
    shutil.copy(folder / "penlight.cpp", place)
    if (folder / "penlight.o").exists():
        shutil.copy(folder / "penlight.o", place)
    flags = " ".join((*cortex_target.CORES[core].flags, *cortex_target.CXX_FLAGS, *_HERE_FLAGS, _NEWLIB_FLAG))
    run("make", "-C", place, f"CXXFLAGS={flags}")
    shutil.copy(place / "penlight.o", folder)
    return place / cortex_target.PROGRAM


def run_firmware(program: Path, core: str = "cortex-m4") -> subprocess.CompletedProcess[str]:
    """Runs it on QEMU's board, whose console is this process's output."""
    if shutil.which("qemu-system-arm") is None:
        pytest.skip("qemu-system-arm is not installed")
    board = ["-M", cortex_target.CORES[core].board, "-nographic", "-semihosting-config", "enable=on,target=native"]
    command = ["qemu-system-arm", *board, "-kernel", program]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)

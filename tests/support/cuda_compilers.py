# SPDX-License-Identifier: Apache-2.0
"""Compiles the CUDA sources without a GPU, through NVRTC or nvcc, whichever is there."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from penlight.backends.cuda import source


@dataclass(frozen=True)
class Compiled:
    """What a compiler said about one family for one architecture, all element types together."""

    parameters: dict[str, tuple[str, ...]]  # by instance such as "relu_forward<float>": the PTX types of the arguments
    resources: str  # the log of ptxas -v


def compile_family(family: str, arch: str, folder: Path) -> Compiled | None:
    """Compiles with NVRTC, else with nvcc; None when neither is installed.

    Raises:
        RuntimeError: the compiler reports errors; the message is its log.
    """
    if include := _nvrtc_include():
        return _with_nvrtc(family, arch, include)
    if nvcc := shutil.which("nvcc"):
        return compile_with_nvcc(nvcc, family, arch, folder)
    return None


def _nvrtc_include() -> Path | None:
    """The folder of cuda_fp16.h, when CuPy and its NVRTC are installed."""
    if importlib.util.find_spec("cupy_backends") is None:
        return None
    spec = importlib.util.find_spec("nvidia")
    folders = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
    found = [header.parent for folder in folders for header in folder.glob("*/include/cuda_fp16.h")]
    nvcc = shutil.which("nvcc")
    if nvcc and not found:
        found = [folder for folder in (Path(nvcc).resolve().parents[1] / "include",) if (folder / "cuda_fp16.h").exists()]
    return found[0] if found else None


def _with_nvrtc(family: str, arch: str, include: Path) -> Compiled:
    from cupy_backends.cuda.libs import nvrtc

    program = nvrtc.createProgram(source.text(family), f"{family}.cu", (), ())
    names = [kernel.expression(dtype) for kernel in source.kernels(family).values() for dtype in source.ELEMENTS]
    for name in names:
        nvrtc.addNameExpression(program, name)
    options = ("--std=c++17", f"-I{source.FOLDER}", f"-I{include}", f"--gpu-architecture={arch}", "--ptxas-options=-v")
    try:
        nvrtc.compileProgram(program, options)
    except nvrtc.NVRTCError as error:
        raise RuntimeError(nvrtc.getProgramLog(program)) from error
    ptx = nvrtc.getPTX(program)
    entries = _entries(ptx.decode() if isinstance(ptx, bytes) else ptx)
    lowered = {name: nvrtc.getLoweredName(program, name) for name in names}
    log = nvrtc.getProgramLog(program)
    nvrtc.destroyProgram(program)
    return Compiled({name: entries[_text(symbol)] for name, symbol in lowered.items()}, log)


def compile_with_nvcc(nvcc: str, family: str, arch: str, folder: Path) -> Compiled:
    """Compiles explicit instances of every template with nvcc."""
    path = folder / f"{family}_{arch}.cu"
    lines = [f'#include "{family}.cu"']
    for kernel in source.kernels(family).values():
        for element in source.ELEMENTS.values():
            arguments = re.sub(r"\bT\b", element, kernel.declaration)
            lines.append(f"template __global__ void {kernel.name}<{element}>({arguments});")
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
    ptx = path.with_suffix(".ptx")
    common = [nvcc, "-std=c++17", f"-I{source.FOLDER}", f"-arch={arch}"]
    _run([*common, "-ptx", str(path), "-o", str(ptx)])
    log = _run([*common, "-Xptxas", "-v", "-cubin", str(path), "-o", str(path.with_suffix(".cubin"))])
    entries = _entries(ptx.read_text())
    parameters = {}
    for kernel in source.kernels(family).values():
        for dtype, element in source.ELEMENTS.items():
            mangled = {"float": "f"}.get(element, f"{len(element)}{element}")
            symbol = next(name for name in entries if name.startswith(f"_Z{len(kernel.name)}{kernel.name}I{mangled}E"))
            parameters[kernel.expression(dtype)] = entries[symbol]
    return Compiled(parameters, log)


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return done.stdout + done.stderr


def _entries(ptx: str) -> dict[str, tuple[str, ...]]:
    """The argument types of each entry point."""
    found = re.findall(r"\.entry (\w+)\(([^)]*)\)", ptx)
    return {name: tuple(re.findall(r"\.param \.(\w+)", arguments)) for name, arguments in found}


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value

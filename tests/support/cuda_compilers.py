# SPDX-License-Identifier: Apache-2.0
"""Compiles the CUDA sources without a GPU, through NVRTC or nvcc, whichever is there."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from penlight.backends.cuda import source

# 256 threads of 64 registers each still leave a quarter of an SM's 65,536 registers to each of four blocks.
MAX_REGISTERS = 64
# Tiles of products stay in registers, two to four blocks of 128 threads to an SM; each instance takes a second to compile.
MORE_REGISTERS = {"attention": 168, "attention_gradient": 255, "convolution": 168, "depthwise": 80}
PTX_TYPES = {"pointer": "u64", "size_t": "u64", "int64": "u64", "int": "u32", "float": "f32"}
PTX_TYPES |= {name: f"u8[{struct.itemsize}]" for name, struct in source.STRUCTS.items()}


@dataclass(frozen=True)
class Compiled:
    """What a compiler said about instances of one family's kernels for one architecture."""

    parameters: dict[str, tuple[str, ...]]  # by instance such as "relu_forward<float>": the PTX types of the arguments
    resources: str  # the log of ptxas -v


Instances = Sequence[tuple[source.Kernel, str]]  # (kernel, dtype), of one family


def some_of(family: str) -> list[tuple[source.Kernel, str]]:
    """What every run compiles: each kernel in float32 (or its first type), with the first expression of its list."""
    return [(kernel.variants()[0], kernel.dtypes[0]) for kernel in source.kernels(family).values()]


def compile_family(family: str, arch: str, folder: Path, chosen: Instances | None = None) -> Compiled | None:
    """Compiles with NVRTC, else with nvcc, all instances or those chosen; None when neither is installed.

    Raises:
        RuntimeError: the compiler reports errors; the message is its log.
    """
    chosen = tuple(source.instances(family)) if chosen is None else chosen
    if include := _nvrtc_include():
        return _with_nvrtc(family, arch, include, chosen)
    if nvcc := shutil.which("nvcc"):
        return compile_with_nvcc(nvcc, family, arch, folder, chosen)
    return None


def _check_resources(log: str, instances: int, registers: int) -> None:
    spills = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", log)
    assert len(spills) >= instances
    assert {number for line in spills for number in line} == {"0"}, log
    assert max(int(count) for count in re.findall(r"Used (\d+) registers", log)) <= registers, log


def check(family: str, result: Compiled, chosen: Instances) -> None:
    """Asserts that nothing is spilt, that registers suffice for several blocks, and that kernels take the arguments we bind."""
    _check_resources(result.resources, len(chosen), MORE_REGISTERS.get(family, MAX_REGISTERS))
    for kernel, dtype in chosen:
        expected = tuple(PTX_TYPES[parameter.kind] for parameter in kernel.parameters)
        actual = tuple(re.sub("^[sb]", "u", kind) for kind in result.parameters[kernel.expression(dtype)])
        assert actual == expected, kernel


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


def _with_nvrtc(family: str, arch: str, include: Path, chosen: Instances) -> Compiled:
    from cupy_backends.cuda.libs import nvrtc

    program = nvrtc.createProgram(source.text(family), f"{family}.cu", (), ())
    names = [kernel.expression(dtype) for kernel, dtype in chosen]
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


def compile_with_nvcc(nvcc: str, family: str, arch: str, folder: Path, chosen: Instances) -> Compiled:
    """Compiles explicit instances of the templates with nvcc."""
    path = folder / f"{family}_{arch}.cu"
    lines = [f'#include "{family}.cu"']
    for kernel, dtype in chosen:
        arguments = re.sub(rf"\b{kernel.template}\b", source.TYPES[dtype], kernel.declaration)
        lines.append(f"template __global__ void {kernel.expression(dtype)}({arguments});")
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
    ptx = path.with_suffix(".ptx")
    common = [nvcc, "-std=c++17", f"-I{source.FOLDER}", f"-arch={arch}"]
    _run([*common, "-ptx", str(path), "-o", str(ptx)])
    log = _run([*common, "-Xptxas", "-v", "-cubin", str(path), "-o", str(path.with_suffix(".cubin"))])
    entries = _entries(ptx.read_text())
    return Compiled({kernel.expression(dtype): entries[_symbol(entries, kernel, dtype)] for kernel, dtype in chosen}, log)


# Names of types and numbers in mangled symbols.
_MANGLED = {"float": "f", "int64": "x", "int": "i", "bool": "b"}


def _symbol(entries: dict[str, tuple[str, ...]], kernel: source.Kernel, dtype: str) -> str:
    element = source.TYPES[dtype]
    start = f"_Z{len(kernel.name)}{kernel.name}I{_MANGLED.get(element, f'{len(element)}{element}')}"
    if kernel.operation.isdigit():
        start += f"Li{kernel.operation}E"
    elif kernel.operation:
        name = kernel.arguments(dtype).rsplit("::", 1)[1]
        start += f"N10operations{len(name)}{name}E"
    return next(name for name in entries if name.startswith(f"{start}E"))


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return done.stdout + done.stderr


def _entries(ptx: str) -> dict[str, tuple[str, ...]]:
    """The argument types of each entry point; a struct is b8[size]."""
    found = re.findall(r"\.entry (\w+)\(([^)]*)\)", ptx)
    return {name: tuple(_parameter_type(line) for line in arguments.split(",") if line.strip()) for name, arguments in found}


def _parameter_type(line: str) -> str:
    match = re.search(r"\.param (?:\.align \d+ )?\.([a-z]\d+).*?(\[\d+\])?$", line.strip())
    assert match is not None, line
    return match[1] + (match[2] or "")


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value

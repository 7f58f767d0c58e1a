# SPDX-License-Identifier: Apache-2.0
"""The target "c": one C++ file, one C header, the model as an array, a program that checks itself."""

from __future__ import annotations

import re
import string
from pathlib import Path
from typing import Any

from penlight_mobile import sources
from penlight_mobile.errors import MissingKernelError
from penlight_mobile.model import Model

PROGRAM = "model"

_TEMPLATES = Path(__file__).parent / "templates" / "c"
_C_FLAGS = ("-std=c99", "-O2")
_CXX_FLAGS = (
    *("-std=c++17", "-O2", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics", "-fno-math-errno", "-ffp-contract=off"),
    *("-fvisibility=hidden", "-ffunction-sections", "-fdata-sections", "-fno-asynchronous-unwind-tables"),
)
_LINK_FLAGS = ("-Wl,--gc-sections",)
_LIBRARIES = ("-lm", "-lpthread")

FLAGS = {"c_flags": _C_FLAGS, "cxx_flags": _CXX_FLAGS, "link_flags": (*_LINK_FLAGS, *_LIBRARIES)}

# An array of this many bytes compiles in about a second; larger models are taken in by the assembler.
_ARRAY_LIMIT_BYTES = 4 << 20
_BYTES_PER_LINE = 32


def files(model: Model) -> dict[str, bytes]:
    """The folder's files by name.

    Raises:
        MissingKernelError: the runtime's sources lack a kernel that the model needs.
    """
    filled = {**words(model), "cxx_cmake_flags": ";".join(_CXX_FLAGS[2:])}  # the standard and -O2 are CMake's own words
    filled["commands"] = "\n".join(" ".join(command) for command in compile_command("cc"))
    templates = {
        path.name: string.Template(path.read_text(encoding="utf-8")).substitute(filled).encode() for path in _TEMPLATES.glob("*.*")
    }
    return {**templates, **runtime_files(model), **model_files(model)}


def next_step(folder: Path) -> str:
    """What to do with the folder."""
    return f"cmake -S {folder} -B {folder}/build && cmake --build {folder}/build"


def runtime_files(model: Model) -> dict[str, bytes]:
    """The runtime with the kernels of the model in one C++ file, its header and its licence.

    Raises:
        MissingKernelError: the runtime's sources lack a kernel that the model needs.
    """
    return {
        "penlight.cpp": _runtime(model).encode("ascii"),
        "penlight.h": (sources.runtime_folder() / "include/penlight.h").read_bytes(),
        "LICENSE": sources.license_text(),
    }


def model_files(model: Model) -> dict[str, bytes]:
    """The model as a file and as an array of C."""
    return {
        "model.pen": model.data,
        "model.c": _model_source(model.data).encode("ascii"),
        "model.h": (_TEMPLATES / "model.h").read_bytes(),
    }


def functions(header: str) -> list[str]:
    """The names of the functions that penlight.h declares, in its order."""
    return re.findall(r"^PENLIGHT_API [\w ]*?\*? ?(penlight_\w+)\(", header, re.MULTILINE)


def compile_command(compiler: str) -> list[list[str]]:
    """Three commands: C++ runtime, C sources, link with the C compiler."""
    return [
        [cxx_compiler(compiler), *_CXX_FLAGS, "-c", "penlight.cpp", "-o", "penlight.o"],
        [compiler, *_C_FLAGS, "main.c", "model.c", "penlight.o", *_LINK_FLAGS, *_LIBRARIES, "-o", PROGRAM],
    ]


def cxx_compiler(compiler: str) -> str:
    """The C++ sibling of a C compiler: "g++-12" of "gcc-12", "clang++" of "clang", "c++" of "cc"."""
    folder, name = re.fullmatch(r"(.*/)?([^/]*)", compiler).groups("")  # type: ignore[union-attr]  # matches every text
    for pattern, sibling in ((r"\bgcc\b", "g++"), (r"\bclang\b", "clang++"), (r"\bcc\b", "c++")):
        if re.search(pattern, name):
            return folder + re.sub(pattern, sibling, name)
    return compiler  # a driver that takes both languages by suffix


def _runtime(model: Model) -> str:
    amalgamate = sources.amalgamate()
    try:
        return amalgamate.amalgamate(list(model.operators), sources.runtime_folder(), model.selection)
    except amalgamate.MissingKernels as error:
        raise MissingKernelError(f"package: {error}; is the installed runtime newer than its sources?") from error


def _model_source(data: bytes) -> str:
    head = '/* The model, so that the program needs no file system. Written by penlight package. */\n#include "model.h"\n\n'
    size = f"const size_t penlight_model_size = {len(data)};\n"
    return head + size + (_array(data) if len(data) <= _ARRAY_LIMIT_BYTES else _INCLUDED)


def _array(data: bytes) -> str:
    rows = (data[i : i + _BYTES_PER_LINE] for i in range(0, len(data), _BYTES_PER_LINE))
    body = "\n".join(",".join(map(str, row)) + "," for row in rows)
    return f"const unsigned char penlight_model[] PENLIGHT_MODEL_ALIGNED = {{\n{body}\n}};\n"


# GNU assembler, which gcc and clang both speak; -I of the folder lets it find the file in an out-of-tree build.
_INCLUDED = """\
__asm__(
    ".pushsection .rodata\\n"
    ".global penlight_model\\n"
    ".balign 64\\n"
    "penlight_model:\\n"
    ".incbin \\"model.pen\\"\\n"
    ".popsection\\n");
"""


def _declared(info: Any) -> str:
    """Dtype and shape as C has them: strings are bytes."""
    if info.dtype.kind != "S":
        return f"{info.dtype} [{', '.join(map(str, info.shape))}]"
    sizes = ", ".join(map(str, (*info.shape, info.dtype.itemsize)))
    return f"uint8 [{sizes}], strings: UTF-8, zeros behind the end"


def words(model: Model) -> dict[str, str]:
    """What READMEs say of the model, by the placeholder that stands for it."""
    return {
        "name": model.name,
        "signature": "\n".join(
            f"- {kind} `{info.name}`: {_declared(info)}"
            for kind, infos in (("input", model.inputs), ("output", model.outputs))
            for info in infos
        ),
        "kernels": ", ".join(map(str, model.operators)),
        "model_bytes": f"{len(model.data):,}",
    }

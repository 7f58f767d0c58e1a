# SPDX-License-Identifier: Apache-2.0
"""The target "web": the runtime as WebAssembly, a module of JavaScript to run it, and one page that holds everything."""

from __future__ import annotations

import base64
import html
import string
import tempfile
from pathlib import Path

from penlight.serialize import atomic_write
from penlight_mobile import c_target, toolchain
from penlight_mobile.model import Model

PAGE = "index.html"

_TEMPLATES = Path(__file__).parent / "templates" / "web"
_TARGET = "wasm32-wasi"
_STACK_BYTES = 256 << 10
_FLAGS = (
    *("-std=c++17", "-Os", "-msimd128", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics", "-fno-math-errno"),
    *("-ffunction-sections", "-fdata-sections", "-fvisibility=hidden", "-mexec-model=reactor", "-s"),
    *("-Wl,--gc-sections", f"-Wl,-z,stack-size={_STACK_BYTES}"),
)
_MEMORY_FUNCTIONS = ("aligned_alloc", "free")  # for what JavaScript hands in


def files(model: Model) -> dict[str, bytes]:
    """The folder's files by name.

    Raises:
        MissingKernelError: the runtime's sources lack a kernel that the model needs.
        MissingCompilerError, CompilerFailedError: as `toolchain.compile_cxx`.
    """
    sources = c_target.runtime_files(model)
    wasm = _compile(sources)
    return {
        **sources,
        "model.pen": model.data,
        "penlight.wasm": wasm,
        "penlight.js": _template("penlight.js").encode(),
        PAGE: _page(model, wasm).encode(),
        "README.md": _readme(model, wasm).encode(),
    }


def next_step(folder: Path) -> str:
    """What to do with the folder."""
    return f"open {folder / PAGE} in a browser"


def _compile(sources: dict[str, bytes]) -> bytes:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name in ("penlight.cpp", "penlight.h"):
            atomic_write(folder / name, sources[name])
        exports = [f"-Wl,--export={name}" for name in (*_MEMORY_FUNCTIONS, *c_target.functions(sources["penlight.h"].decode()))]
        checked = str(_TEMPLATES / "layout.cpp")
        toolchain.compile_cxx(folder, _TARGET, [*_FLAGS, "-I.", "penlight.cpp", checked, *exports, "-o", "penlight.wasm"])
        return (folder / "penlight.wasm").read_bytes()


def _page(model: Model, wasm: bytes) -> str:
    """One file without references to others, so that it opens from a disk as well."""
    return string.Template(_template("index.html")).substitute(
        name=html.escape(model.name),
        style=_template("page.css"),
        script=_template("penlight.js") + "\n" + _template("page.js"),
        wasm=base64.b64encode(wasm).decode(),
        model=base64.b64encode(model.data).decode(),
    )


def _readme(model: Model, wasm: bytes) -> str:
    names = [info.name for info in model.inputs]
    return string.Template(_template("README.md")).substitute(
        c_target.words(model), wasm_bytes=f"{len(wasm):,}", feed=", ".join(f'"{name}": {_example(name)}' for name in names)
    )


def _example(name: str) -> str:
    return f"{name}Values" if name.isidentifier() else "values"


def _template(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")

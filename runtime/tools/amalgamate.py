#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the runtime as one C++ file with the kernels that are asked for, next to its C header.

    python runtime/tools/amalgamate.py --operators "Conv:11 Gemm:13 ai.penlight/FusedConv:1" --output DIR
    python runtime/tools/amalgamate.py --model model.pen --output DIR

The same request gives the same bytes. Nothing but the standard library is needed (`--model` also wants `penlight_mobile`).
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path

RUNTIME = Path(__file__).resolve().parents[1]

_INCLUDE = re.compile(r'^\s*#\s*include\s*(<[^>]+>|"[^"]+")')
_CONDITION = re.compile(r"^\s*#\s*(if|ifdef|ifndef|endif)\b")
_KERNEL = re.compile(r'^PENLIGHT_KERNEL\(\s*"([^"]*)",\s*(?:"(\w+)"|(\w+)),\s*(\d+),\s*(\d+),.*"([^"]+\.cpp)"\s*\)', re.DOTALL)


@dataclass(frozen=True, order=True)
class Operator:
    """What a program asks of the kernel table; a version of 0 stands for every version."""

    domain: str
    name: str
    version: int

    def __str__(self) -> str:
        return f"{self.domain + '/' if self.domain else ''}{self.name}{f':{self.version}' if self.version else ''}"

    @classmethod
    def parse(cls, text: str) -> Operator:
        """Reads "Relu", "Relu:14" or "ai.penlight/FusedConv:1"."""
        match = re.fullmatch(r"(?:([\w.]+)/)?(\w+)(?::(\d+))?", text)
        if match is None:
            raise ValueError(f'operator {text!r}: expected "Name", "Name:version" or "domain/Name:version"')
        return cls(match[1] or "", match[2], int(match[3] or 0))


@dataclass(frozen=True)
class Selection:
    """What a build is for, beside its operators; None keeps everything.

    Attributes:
        dtypes: numbers of penlight_dtype that occur in a run.
        activations: what fused operators name, such as "Relu".
        depthwise: whether convolutions of single channels get loops of their own; without them they are slower.
    """

    dtypes: frozenset[int] | None = None
    activations: frozenset[str] | None = None
    depthwise: bool = True


@dataclass(frozen=True)
class KernelLine:
    """One line of kernels.inc."""

    text: str
    domain: str
    name: str
    versions: range
    source: str

    def serves(self, operator: Operator) -> bool:
        """Whether this kernel runs the operator."""
        same = (self.domain, self.name) == (operator.domain, operator.name)
        return same and (operator.version == 0 or operator.version in self.versions)


class MissingKernels(ValueError):
    """Operators for which the runtime has no kernel, all of them."""

    def __init__(self, operators: list[Operator]) -> None:
        super().__init__(f"the runtime has no kernel for: {', '.join(map(str, operators))}")
        self.operators = operators


def kernel_lines(runtime: Path = RUNTIME) -> list[KernelLine]:
    """The kernel table as text."""
    text = (runtime / "kernels/kernels.inc").read_text(encoding="ascii")
    lines = []
    for statement in re.findall(r"^PENLIGHT_KERNEL\(.*?\)$", text, re.DOTALL | re.MULTILINE):
        match = _KERNEL.match(statement)
        if match is None:
            raise ValueError(f"kernels.inc: cannot read {statement!r}")
        domain, quoted, bare, low, high, source = match.groups()
        lines.append(KernelLine(statement, domain, quoted or bare, range(int(low), int(high) + 1), source))
    return lines


def select(operators: list[Operator], lines: list[KernelLine]) -> list[KernelLine]:
    """The lines that the operators need, in the order of the table.

    Raises:
        MissingKernels: some operators have none.
    """
    missing = [operator for operator in operators if not any(line.serves(operator) for line in lines)]
    if missing:
        raise MissingKernels(sorted(missing))
    return [line for line in lines if any(line.serves(operator) for operator in operators)]


def amalgamate(operators: list[Operator], runtime: Path = RUNTIME, selection: Selection = Selection()) -> str:
    """The text of penlight.cpp with the kernels of the given operators.

    Raises:
        MissingKernels: the runtime lacks some of them.
    """
    kept = select(operators, kernel_lines(runtime))
    sources = [runtime / "core" / name for name in _cmake_list(runtime / "core/sources.cmake")]
    sources += _kernel_sources(runtime, kept)
    return _Amalgam(runtime, kept, _selection_text(selection, runtime, kept, sources)).write(sources, sorted(set(operators)))


def _selection_text(selection: Selection, runtime: Path, kept: list[KernelLine], sources: list[Path]) -> str:
    """kernels/selection.h for this build; "" leaves the one that keeps everything."""
    if selection == Selection():
        return ""
    types = (1 << 32) - 1 if selection.dtypes is None else sum(1 << number for number in selection.dtypes)
    functions, binaries = (1 << 64) - 1, (1 << 32) - 1
    if selection.activations is not None:
        order = _enumerators(runtime / "kernels/vector_math.h", "Unary")
        functions = sum(1 << order.index(name) for name in _functions(selection.activations, runtime, kept, sources))
        order = _enumerators(runtime / "kernels/vector_math.h", "Binary")
        named = re.findall(r"\bBinary::(\w+)", "\n".join(path.read_text(encoding="ascii") for path in sources))
        binaries = sum(1 << order.index(name) for name in set(named))
    constants = (
        f"constexpr uint32_t kSelectedTypes = {types:#x};\nconstexpr uint64_t kSelectedFunctions = {functions:#x};\n"
        f"constexpr uint32_t kSelectedBinaries = {binaries:#x};\n"
        f"constexpr bool kSelectedDepthwise = {'true' if selection.depthwise else 'false'};"
    )
    return f"\n// kernels/selection.h, of this model\nnamespace penlight {{\n\n{constants}\n\n}}  // namespace penlight"


def _functions(activations: frozenset[str], runtime: Path, kept: list[KernelLine], sources: list[Path]) -> set[str]:
    """The Unary functions of a build: of the operators in unary.cpp, of activations, and those that other kernels name."""
    unary = (runtime / "kernels/unary.cpp").read_text(encoding="ascii")
    runs = {line.text for line in kept if line.source == "unary.cpp"}
    named = re.findall(r"^Status (\w+_run)\(Context& context\) \{(.*?)\}$", unary, re.MULTILINE | re.DOTALL)
    texts = [body for run, body in named if any(f" {run}," in text for text in runs)]
    table = (runtime / "kernels/activation.h").read_text(encoding="ascii")
    texts += [line for line in table.splitlines() if any(f'{{"{name}"' in line for name in activations)]
    texts += [path.read_text(encoding="ascii") for path in sources if path.name != "unary.cpp"]
    return {"kIdentity", *re.findall(r"\bUnary::(\w+)", "\n".join(texts))} - {"kCount"}


def _enumerators(path: Path, name: str) -> list[str]:
    match = re.search(rf"enum class {name} : int \{{(.*?)\}}", path.read_text(encoding="ascii"), re.DOTALL)
    if match is None:
        raise ValueError(f"{path}: expected enum class {name}")
    return re.findall(r"\w+", match[1])


def _cmake_list(path: Path) -> list[str]:
    match = re.search(r"set\(\w+_SOURCES\s+([^)]*)\)", path.read_text(encoding="ascii"))
    if match is None:
        raise ValueError(f"{path}: expected set(..._SOURCES ...)")
    return match[1].split()


def _kernel_sources(runtime: Path, kept: list[KernelLine]) -> list[Path]:
    """kernels.cpp, the families of the kept lines, and foo.cpp for every foo.h that they include."""
    found: dict[Path, None] = {}
    waiting = [runtime / "kernels" / name for name in ["kernels.cpp", *sorted({line.source for line in kept})]]
    seen: set[Path] = set()
    while waiting:
        path = waiting.pop(0)
        if path in seen:
            continue
        seen.add(path)
        if path.suffix == ".cpp":
            found[path] = None
        for name in _quoted_includes(path):
            header = _resolve(runtime, path, name)
            waiting.append(header)
            definition = header.with_suffix(".cpp")
            if header.parent == runtime / "kernels" and definition.exists():
                waiting.append(definition)
    return list(found)


def _quoted_includes(path: Path) -> list[str]:
    if path.suffix not in (".cpp", ".h"):
        return []
    return re.findall(r'^\s*#\s*include\s*"([^"]+)"', path.read_text(encoding="ascii"), re.MULTILINE)


def _resolve(runtime: Path, includer: Path, name: str) -> Path:
    for folder in (includer.parent, runtime, runtime / "kernels", runtime / "include"):
        if (folder / name).exists():
            return (folder / name).resolve()
    raise ValueError(f'{includer}: #include "{name}" is not found')


class _Amalgam:
    """Joins files: each `#pragma once` header at its first use, the rest wherever it is included, system headers at the top."""

    def __init__(self, runtime: Path, kept: list[KernelLine], selection: str) -> None:
        self._runtime = runtime.resolve()
        self._kept = kept
        self._selection = selection
        self._done: set[Path] = set()
        self._system: set[str] = set()
        self._lines: list[str] = []

    def write(self, sources: list[Path], operators: list[Operator]) -> str:
        for source in sources:
            self._add(source.resolve())
        head = [
            "// Penlight edge runtime in one file, written by amalgamate.py. SPDX-License-Identifier: Apache-2.0",
            f"// Kernels: {', '.join(map(str, operators)) or 'none'}.",
            *(f"#include {name}" for name in sorted(self._system)),
            "",
            '#include "penlight.h"',
            "",
            "#if defined(__clang__)  // which takes the headers' constants for this file's own",
            '#pragma clang diagnostic ignored "-Wunused-const-variable"',
            "#endif",
            "",
            "// Products and sums are rounded one by one, but where fused_begin.h says otherwise.",
            "#if defined(__clang__)",
            "#pragma clang fp contract(off)",
            "#elif defined(__GNUC__)",
            '#pragma GCC optimize("fp-contract=off")',
            "#endif",
            "",
            "#if defined(__clang__) && defined(PENLIGHT_SMALL) && PENLIGHT_SMALL  // -Os of Zig is not clang's smallest",
            "#pragma clang attribute push(__attribute__((minsize)), apply_to = function)",
            "#endif",
        ]
        tail = [
            "",
            "#if defined(__clang__) && defined(PENLIGHT_SMALL) && PENLIGHT_SMALL",
            "#pragma clang attribute pop",
            "#endif",
        ]
        text = "\n".join(head + self._lines + tail) + "\n"
        return re.sub(r"\n{3,}", "\n\n", text)

    def _add(self, path: Path) -> None:
        if path == self._runtime / "include/penlight.h" or path in self._done:
            return
        if path == self._runtime / "kernels/kernels.inc":
            self._lines += [line.text for line in self._kept]
            return
        if self._selection and path == self._runtime / "kernels/selection.h":
            self._done.add(path)
            self._lines.append(self._selection)
            return
        text = path.read_text(encoding="ascii")
        if "#pragma once" in text:
            self._done.add(path)
        self._lines += ["", f"// {path.relative_to(self._runtime).as_posix()}"]
        depth = 0
        for line in text.splitlines():
            if condition := _CONDITION.match(line):
                depth += -1 if condition[1] == "endif" else 1
            self._add_line(path, line, depth)

    def _add_line(self, path: Path, line: str, depth: int) -> None:
        if line.strip() == "#pragma once" or line.startswith("// SPDX-License-Identifier"):
            return
        include = _INCLUDE.match(line)
        if include is None:
            self._lines.append(line.replace(" SPDX-License-Identifier: Apache-2.0", ""))
        elif include[1].startswith('"'):
            before = len(self._lines)
            self._add(_resolve(self._runtime, path, include[1][1:-1]))
            if len(self._lines) > before:
                self._lines.append(f"// back in {path.relative_to(self._runtime).as_posix()}")
        elif depth == 0:
            self._system.add(include[1])
        else:
            self._lines.append(line)  # a header that only some systems have


def _of_model(path: Path) -> tuple[list[Operator], Selection]:
    from penlight_mobile import model  # wanted for --model only

    found = model.read(path)
    return list(found.operators), found.selection


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--operators", help='such as "Relu:14 ai.penlight/FusedConv:1"; "all" keeps every kernel')
    wanted.add_argument("--model", type=Path, help="a .pen file whose operators and dtypes are kept")
    parser.add_argument("--output", type=Path, required=True, help="folder for penlight.cpp and penlight.h")
    options = parser.parse_args(arguments)
    try:
        selection = Selection()
        if options.model:
            operators, selection = _of_model(options.model)
        elif options.operators == "all":
            operators = [Operator(line.domain, line.name, line.versions[0]) for line in kernel_lines()]
        else:
            operators = [Operator.parse(text) for text in options.operators.split()]
        text = amalgamate(operators, selection=selection)
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "penlight.cpp").write_text(text, encoding="ascii", newline="\n")
        (options.output / "penlight.h").write_bytes((RUNTIME / "include/penlight.h").read_bytes())
    except (OSError, ValueError) as error:
        print(f"amalgamate: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())

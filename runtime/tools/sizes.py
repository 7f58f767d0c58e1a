#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures what the runtime takes on each processor: bytes of code, constants and data, without libc and without a model.

    python runtime/tools/sizes.py                          prints the table
    python runtime/tools/sizes.py --rows core --write FILE measures some rows and writes them into a JSON file

Each row is compiled in one file at -Os and linked with nothing but itself; sections that no function of penlight.h reaches are
dropped. The same compiler gives the same numbers, so that a test can hold them.
"""

from __future__ import annotations

import argparse
import collections
import importlib.util
import json
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import amalgamate

FLAGS = (
    *("-std=c++17", "-Os", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics", "-fno-math-errno", "-ffp-contract=off"),
    *("-fvisibility=hidden", "-ffunction-sections", "-fdata-sections", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"),
)
_WHOLE = "-fwhole-program"  # as packages for microcontrollers have it: nothing but penlight.h's functions is seen from elsewhere
_COMPRESS = """
const zlib = require("zlib"), bytes = require("fs").readFileSync("penlight.wasm");
console.log(zlib.deflateRawSync(bytes, {level: 9}).length, zlib.brotliCompressSync(bytes).length);
"""
_API = re.compile(r"^PENLIGHT_API [\w ]*?\*? ?(penlight_\w+)\(", re.MULTILINE)


@dataclass(frozen=True)
class Target:
    """A processor and its compiler."""

    compiler: str
    flags: tuple[str, ...] = ()

    def version(self) -> str | None:
        """The compiler's name and version, None when it is missing."""
        if shutil.which(self.compiler) is None:
            return None
        done = subprocess.run([self.compiler, "-dumpfullversion"], capture_output=True, text=True, check=True)
        return f"{self.compiler} {done.stdout.strip()}"


TARGETS = {
    "x86-64": Target("g++"),
    "aarch64": Target("aarch64-linux-gnu-g++"),
    "cortex-m4": Target(
        "arm-none-eabi-g++",
        ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16", "-DPENLIGHT_SMALL=1", "-DPENLIGHT_MESSAGES=0"),
    ),
}
_FLOAT_CNN = (
    "Conv:11 Gemm:13 MaxPool:12 GlobalAveragePool:1 Relu:14 Reshape:21 Softmax:13 ai.penlight/FusedConv:1 ai.penlight/FusedGemm:1"
)
_INT8_CNN = "QuantizeLinear:21 QLinearConv:10 MaxPool:12 Flatten:21 QLinearMatMul:21 DequantizeLinear:21 Softmax:13"
# penlight_dtype: 0 stands for an operand that is left out, 1 float32, 5 int8, 9 int32, 11 int64.
ROWS = {
    "core": ("", None),
    "float cnn": (_FLOAT_CNN, amalgamate.Selection(frozenset({0, 1, 11}), frozenset({"Relu"}), depthwise=False)),
    "int8 cnn": (_INT8_CNN, amalgamate.Selection(frozenset({0, 1, 5, 9, 11}), frozenset(), depthwise=False)),
    "all kernels": ("all", None),
}


def source(row: str) -> str:
    """penlight.cpp of a row."""
    names, selection = ROWS[row]
    lines = amalgamate.kernel_lines()
    operators = [amalgamate.Operator.parse(text) for text in names.split()]
    if names == "all":
        operators = [amalgamate.Operator(line.domain, line.name, line.versions[0]) for line in lines]
    return amalgamate.amalgamate(operators, selection=selection or amalgamate.Selection())


def measure(row: str, target: Target, folder: Path, families: bool = False) -> dict[str, int | dict[str, int]]:
    """Bytes of a row on a target: text, constants, data, zeroed; with `families` also those of each source file.

    Raises:
        subprocess.CalledProcessError: the compiler failed; it has printed why.
    """
    header = (amalgamate.RUNTIME / "include/penlight.h").read_text(encoding="ascii")
    (folder / "penlight.h").write_text(header, encoding="ascii")
    (folder / "penlight.cpp").write_text(source(row), encoding="ascii")
    lines = ["-g1"] if families else []
    subprocess.run(
        [target.compiler, *FLAGS, _WHOLE, *target.flags, *lines, "-c", "penlight.cpp", "-o", "all.o"], cwd=folder, check=True
    )
    roots = [f"-Wl,-u,{name}" for name in _API.findall(header)]
    subprocess.run(
        [target.compiler, *target.flags, "-r", "-nostdlib", "-Wl,--gc-sections", *roots, "all.o", "-o", "kept.o"],
        cwd=folder,
        check=True,
    )
    found: dict[str, int | dict[str, int]] = dict(_sections((folder / "kept.o").read_bytes()))
    if families:
        found["families"] = _families(target, folder)
    return found


def _sections(elf: bytes) -> dict[str, int]:
    """Sizes of what is loaded, by kind."""
    wide = elf[4] == 2
    table, size, count = (
        (*struct.unpack_from("<Q", elf, 40), *struct.unpack_from("<HH", elf, 58))
        if wide
        else (*struct.unpack_from("<I", elf, 32), *struct.unpack_from("<HH", elf, 46))
    )
    found = {"text": 0, "constants": 0, "data": 0, "zeroed": 0}
    for i in range(count or struct.unpack_from("<Q" if wide else "<I", elf, table + (32 if wide else 20))[0]):
        if wide:
            _, kind, flags, _, _, length = struct.unpack_from("<IIQQQQ", elf, table + i * size)
        else:
            _, kind, flags, _, _, length = struct.unpack_from("<IIIIII", elf, table + i * size)
        if not flags & 2:  # not loaded
            continue
        name = "text" if flags & 4 else "zeroed" if kind == 8 else "data" if flags & 1 else "constants"
        found[name] += length
    return found


def _families(target: Target, folder: Path) -> dict[str, int]:
    """Bytes of functions and tables by the source file that they stand in, largest first."""
    nm = re.sub(r"g\+\+$", "nm", target.compiler)
    nm = nm if nm.endswith("nm") and shutil.which(nm) else "nm"
    listing = subprocess.run(
        [nm, "-S", "-l", "--defined-only", "kept.o"], cwd=folder, capture_output=True, text=True, check=True
    ).stdout
    files = list(_file_of_lines((folder / "penlight.cpp").read_text(encoding="ascii")))
    sums: collections.Counter[str] = collections.Counter()
    for size, line in re.findall(r"^\w+ (\w+) \w \S+\t\S*penlight\.cpp:(\d+)$", listing, re.MULTILINE):
        sums[files[int(line) - 1]] += int(size, 16)
    return dict(sums.most_common())


def _file_of_lines(text: str) -> Iterator[str]:
    name = "penlight.cpp"
    for line in text.splitlines():
        if mark := re.fullmatch(r"// (?:back in )?((?:core|kernels|schema)/[\w./]+\.(?:cpp|h))", line):
            name = mark[1]
        yield name


def measure_wasm(folder: Path) -> dict[str, int] | None:
    """The module of all kernels: raw, and as deflate and brotli make it; None without Zig. Brotli is Node's."""
    zig = [sys.executable, "-m", "ziglang"] if importlib.util.find_spec("ziglang") else ["zig"] if shutil.which("zig") else None
    if zig is None:
        return None
    (folder / "penlight.cpp").write_text(source("all kernels"), encoding="ascii")
    header = (amalgamate.RUNTIME / "include/penlight.h").read_text(encoding="ascii")
    (folder / "penlight.h").write_text(header, encoding="ascii")
    exports = [f"-Wl,--export={name}" for name in ("aligned_alloc", "free", *_API.findall(header))]
    flags = [flag for flag in FLAGS if "unwind" not in flag]
    command = [*zig, "c++", "-target", "wasm32-wasi", *flags, "-DPENLIGHT_SMALL=1", "-msimd128", "-mexec-model=reactor", "-s"]
    subprocess.run([*command, "-Wl,--gc-sections", "penlight.cpp", *exports, "-o", "penlight.wasm"], cwd=folder, check=True)
    found = {"raw": (folder / "penlight.wasm").stat().st_size}
    if shutil.which("node"):
        words = subprocess.run(["node", "-e", _COMPRESS], cwd=folder, capture_output=True, text=True, check=True).stdout.split()
        found |= {"deflate": int(words[0]), "brotli": int(words[1])}
    return found


def table(rows: list[str], targets: list[str], wasm: bool) -> dict[str, object]:
    """The rows measured on the targets whose compilers are installed."""
    found: dict[str, object] = {}
    for name in targets:
        version = TARGETS[name].version()
        if version is None:
            continue
        found[name] = entry = {"compiler": version}
        for row in rows:
            with tempfile.TemporaryDirectory() as place:
                entry[row] = measure(row, TARGETS[name], Path(place), families=row == "all kernels")  # type: ignore[assignment]  # numbers beside a text
    with tempfile.TemporaryDirectory() as place:
        if wasm and (sizes := measure_wasm(Path(place))):
            found["wasm"] = {"all kernels": sizes}
    return found


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rows", nargs="*", choices=ROWS, default=list(ROWS))
    parser.add_argument("--targets", nargs="*", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--no-wasm", action="store_true")
    parser.add_argument("--write", type=Path, help="a JSON file whose rows are replaced by what was measured")
    options = parser.parse_args()
    found = table(options.rows, options.targets, not options.no_wasm)
    if options.write:
        old = json.loads(options.write.read_text(encoding="utf-8")) if options.write.exists() else {}
        for name, entry in found.items():
            old[name] = {**old.get(name, {}), **entry}  # type: ignore[dict-item]  # each entry is a dict
        options.write.write_text(json.dumps(old, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())

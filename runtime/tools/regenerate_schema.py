# SPDX-License-Identifier: Apache-2.0
"""Writes the code that follows runtime/schema/pen.fbs: the C++ reader's field names and the Python writer's builder functions.

Usage: python runtime/tools/regenerate_schema.py [--check]
`flatc` comes from the `zlmdb` wheel, which only developers need. With --check nothing is written; exit status 1: a file drifted.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "runtime/schema/pen.fbs"
FIELDS = ROOT / "runtime/schema/generated/pen_fields.h"
BUILDER = ROOT / "export/penlight_export/edge/generated/pen_generated.py"

CPP_TYPES = {
    "bool": "bool",
    "ubyte": "uint8_t",
    "int": "int32_t",
    "uint": "uint32_t",
    "long": "int64_t",
    "ulong": "uint64_t",
    "float": "float",
    "double": "double",
}
SIZES = {"bool": 1, "ubyte": 1, "int": 4, "uint": 4, "long": 8, "ulong": 8, "float": 4, "double": 8}


@dataclass(frozen=True)
class Field:
    """One field of a table as the schema writes it; `slot` is its offset into the vtable."""

    name: str
    type: str
    default: str
    required: bool
    most: int  # entries of a list, 0: any number
    slot: int

    @property
    def constant(self) -> str:
        return "k" + "".join(part.capitalize() for part in self.name.split("_"))


@dataclass(frozen=True)
class Schema:
    """Tables in an order in which children come first, and the largest number of each enum."""

    tables: dict[str, tuple[Field, ...]]
    enums: dict[str, int]


def parse_schema(text: str) -> Schema:
    """Reads the part of the flatbuffer language that pen.fbs uses: ubyte enums and tables."""
    text = re.sub(r"//[^\n]*", "", text)
    enums = {}
    for name, body in re.findall(r"enum\s+(\w+)\s*:\s*ubyte\s*\{(.*?)\}", text, re.S):
        enums[name] = max(int(number) for number in re.findall(r"=\s*(\d+)", body))
    tables = {name: parse_fields(body) for name, body in re.findall(r"table\s+(\w+)\s*\{(.*?)\}", text, re.S)}
    return Schema(tables, enums)


def parse_fields(body: str) -> tuple[Field, ...]:
    """Reads `name:type = default (required, most: 8);` entries; vtable slots start at 4 and take 2 bytes each."""
    entries = re.findall(r"(\w+)\s*:\s*(\[?\w+\]?)\s*(?:=\s*([\w.+-]+))?\s*(?:\(([\w:, ]+)\))?\s*;", body)
    if len(entries) != body.count(";"):
        raise ValueError(f"pen.fbs: a field is written in a way that this tool does not read, in: {body.strip()[:80]}")
    return tuple(
        Field(name, type_, default or "0", "required" in notes, most_entries(notes), 4 + 2 * index)
        for index, (name, type_, default, notes) in enumerate(entries)
    )


def most_entries(notes: str) -> int:
    """Reads the N of `most: N`, which the verifier keeps as its binary logarithm."""
    found = re.search(r"\bmost: (\d+)", notes)
    most = int(found[1]) if found else 0
    if most & (most - 1) or most == 1:
        raise ValueError(f"pen.fbs: most: {most} is not a power of two from 2 on")
    return most


def kind_of(field: Field, schema: Schema) -> tuple[str, str, int, int, str]:
    """Returns the C++ field type, PenKind, size, limit and child table of a field."""
    element = field.type.strip("[]")
    limit = max(field.most.bit_length() - 1, 0)
    if field.type.startswith("["):
        if element == "string":
            return "PenStrings", "kStrings", 4, limit, ""
        if element in schema.tables:
            return "PenChildren", "kChildren", 4, limit, element
        return f"PenNumbers<{CPP_TYPES[element]}>", "kNumbers", SIZES[element], limit, ""
    if element == "string":
        return "PenString", "kString", 4, 0, ""
    if element in schema.tables:
        return "PenChild", "kChild", 4, 0, element
    if element in schema.enums:
        return "PenScalar<uint8_t>", "kScalar", 1, schema.enums[element], ""
    return f"PenScalar<{CPP_TYPES[element]}>", "kScalar", SIZES[element], int(element == "bool"), ""


def declare_table(name: str, fields: tuple[Field, ...], schema: Schema) -> list[str]:
    """Returns the C++ lines of one table: typed field constants."""
    lines = [f"struct Pen{name} {{"]
    for field in fields:
        type_, kind, *_ = kind_of(field, schema)
        fallback = f", {literal(field, schema)}" if kind == "kScalar" else ""
        lines.append(f"  static constexpr {type_} {field.constant}{{{field.slot}{fallback}}};")
    return [*lines, "};", ""]


def verifier_rows(schema: Schema) -> list[str]:
    """Returns the C++ lines of what the structural verifier reads: all fields, then the tables as runs of them."""
    order = children_first(schema)
    rows, tables = [], []
    for name in order:
        tables.append(f"    {{{len(rows)}, {len(schema.tables[name])}}},  // {name}")
        for field in schema.tables[name]:
            _, kind, size, limit, child = kind_of(field, schema)
            required = "true" if field.required else "false"
            index = order.index(child) if child else 0
            rows.append(f"    {{PenKind::{kind}, {required}, {size}, {limit}, {index}}},  // {name}.{field.name}")
    return [
        "// clang-format off",
        *("inline constexpr PenFieldSchema kPenFields[] = {", *rows, "};"),
        *("inline constexpr PenTableSchema kPenTables[] = {", *tables, "};"),
        "// clang-format on",
        f"constexpr uint8_t kPenProgramTable = {order.index('Program')};",
        "/// Of all tables, for nth_text.",
        "inline constexpr char kPenTableNames[] =",
        *(f'    "{name}\\0"' for name in order[:-1]),
        f'    "{order[-1]}";',
        "",
    ]


def literal(field: Field, schema: Schema) -> str:
    """Returns the default as a C++ literal of the field's type."""
    if field.type == "bool":
        return "true" if field.default == "true" else "false"
    if field.type in ("float", "double"):
        return repr(float(field.default)) + ("f" if field.type == "float" else "")
    if field.default == str(2**63 - 1):
        return "INT64_MAX"
    return str(int(field.default))


def children_first(schema: Schema) -> list[str]:
    """Orders tables so that each stands behind those that it refers to."""
    order: list[str] = []

    def visit(name: str) -> None:
        for field in schema.tables[name]:
            child = field.type.strip("[]")
            if child in schema.tables:
                visit(child)
        if name not in order:
            order.append(name)

    for name in schema.tables:
        visit(name)
    return order


def cpp_fields(schema: Schema) -> str:
    """Returns the text of pen_fields.h."""
    lines = [
        "// Written by runtime/tools/regenerate_schema.py from schema/pen.fbs; do not edit. SPDX-License-Identifier: Apache-2.0",
        "#pragma once",
        "",
        "#include <stdint.h>",
        "",
        '#include "core/field.h"',
        "",
        "namespace penlight {",
        "",
    ]
    for name, largest in schema.enums.items():
        lines.append(f"constexpr uint8_t kPen{name}Largest = {largest};")
    lines.append("")
    for name in children_first(schema):
        lines += declare_table(name, schema.tables[name], schema)
    lines += verifier_rows(schema)
    return "\n".join([*lines, "}  // namespace penlight", ""])


def find_flatc() -> str | None:
    """Returns the path of the flatbuffer compiler, None when the machine has none."""
    try:
        import zlmdb._flatc  # a developer's tool, not a dependency

        bundled = Path(zlmdb._flatc.__file__).parent / "bin/flatc"
        if bundled.exists():
            return str(bundled)
    except ImportError:
        pass
    return shutil.which("flatc")


def python_builder(flatc: str) -> str:
    """Returns the text of pen_generated.py."""
    with tempfile.TemporaryDirectory() as folder:
        command = [flatc, "--python", "--gen-onefile", "--gen-object-api", "-o", folder, str(SCHEMA)]
        subprocess.run(command, check=True, capture_output=True)
        (file,) = Path(folder).rglob("*.py")
        code = file.read_text()
    docstring = '"""Builder functions of runtime/schema/pen.fbs; written by regenerate_schema.py."""'
    return f"# SPDX-License-Identifier: Apache-2.0\n# mypy: ignore-errors\n{docstring}\n\n{code}"


def outputs() -> dict[Path, str]:
    """Returns what every generated file should hold; the Python file is missing without flatc."""
    texts = {FIELDS: cpp_fields(parse_schema(SCHEMA.read_text()))}
    flatc = find_flatc()
    if flatc:
        texts[BUILDER] = python_builder(flatc)
    return texts


def main() -> int:
    """Writes or checks the generated files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, fail when a file is not current")
    check = parser.parse_args().check
    drifted = [path for path, text in outputs().items() if not path.exists() or path.read_text() != text]
    if check:
        for path in drifted:
            print(f"{path.relative_to(ROOT)}: not current; run python runtime/tools/regenerate_schema.py", file=sys.stderr)
        return 1 if drifted else 0
    for path in drifted:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(outputs()[path])
        print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())

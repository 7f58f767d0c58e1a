# SPDX-License-Identifier: Apache-2.0
"""The schema, the code generated from it, and the hand-written list of dtypes say the same."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("regenerate_schema", ROOT / "runtime/tools/regenerate_schema.py")
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["regenerate_schema"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_reader_code_is_current(tool):
    assert tool.cpp_fields(tool.parse_schema(tool.SCHEMA.read_text())) == tool.FIELDS.read_text()


def test_writer_code_is_current(tool):
    flatc = tool.find_flatc()
    if flatc is None:
        pytest.skip("no flatc: pip install zlmdb")
    assert tool.python_builder(flatc) == tool.BUILDER.read_text()


def test_generation_is_deterministic(tool):
    assert tool.outputs() == tool.outputs()


def test_slots_follow_the_writer(tool):
    """Both generators read the schema by themselves; here they meet."""
    builder = tool.BUILDER.read_text()
    schema = tool.parse_schema(tool.SCHEMA.read_text())
    assert len(schema.tables) == 17
    for name, fields in schema.tables.items():
        body = re.search(rf"class {name}\(object\):(.*?)\ndef {name}Start", builder, re.S).group(1)
        slots = {int(slot) for slot in re.findall(r"self\._tab\.Offset\((\d+)\)", body)}
        assert slots == {field.slot for field in fields}, name


def test_a_field_that_the_tool_cannot_read_is_refused(tool):
    with pytest.raises(ValueError, match=r"pen\.fbs"):
        tool.parse_schema("table A { x:[[int]]; }")


def test_c_header_has_the_dtypes_of_the_schema(tool):
    text = tool.SCHEMA.read_text()
    numbers = dict(re.findall(r"(\w+) = (\d+)", re.search(r"enum DType.*?\}", text, re.S).group()))
    header = (ROOT / "runtime/include/penlight.h").read_text()
    declared = dict(re.findall(r"PENLIGHT_([A-Z0-9]+) = (\d+)", re.search(r"enum penlight_dtype \{.*?\}", header, re.S).group()))
    renamed = {name.upper().replace("BOOLEAN", "BOOL"): number for name, number in numbers.items() if name != "none"}
    assert declared == renamed


def test_required_fields_are_those_of_the_first_schema(tool):
    """A field that becomes required later would refuse the files of older exporters."""
    schema = tool.parse_schema(tool.SCHEMA.read_text())
    required = {f"{name}.{field.name}" for name, fields in schema.tables.items() for field in fields if field.required}
    assert required == {
        "Symbol.name", "Value.name", "Operator.domain", "Operator.name", "Attribute.name", "Node.inputs", "Node.outputs",
        "Method.name", "Method.values", "Method.inputs", "Method.outputs", "Method.nodes", "GoldenTensor.data", "Golden.inputs",
        "Golden.outputs", "KeyValue.key", "KeyValue.value", "Program.operators", "Program.methods", "State.name",
    }  # fmt: skip

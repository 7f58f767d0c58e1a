# SPDX-License-Identifier: Apache-2.0
"""What the loader refuses: headers, segments, and programs that break one rule each."""

import struct

import numpy as np
import pen_builder
import pytest
from pen_builder import PenBuilder, pen

import penlight_runtime as runtime


def load(data: bytes, **options) -> runtime.Program:
    return runtime.Program(bytes(data), **options)


def test_a_sound_file_loads():
    program = load(pen_builder.small_program().build())
    assert program.methods == ("forward",)
    assert program.metadata == {"producer": "test"}
    assert program.self_test() == 1


@pytest.mark.parametrize("data", [b"", b"PEN1", b"\0\0\0\0PEN1", b"PK\x03\x04" + bytes(100), bytes(1000), b"{}" * 100])
def test_foreign_bytes_are_not_a_program(data):
    with pytest.raises(runtime.InvalidFile, match=r"not a \.pen file|damaged|header"):
        load(data)


@pytest.mark.parametrize("keep", [8, 71, 72, 100, -64, -1])
def test_truncated_files_say_so(keep):
    data = pen_builder.small_program().build()
    with pytest.raises(runtime.InvalidFile, match=r"truncated|not a \.pen file"):
        load(data[:keep])


def test_bytes_behind_the_end_are_refused():
    with pytest.raises(runtime.InvalidFile, match="behind its end"):
        load(pen_builder.small_program().build() + b"\0")


def test_every_byte_is_under_a_checksum():
    data = bytearray(pen_builder.small_program().build())
    for index in range(0, len(data), 7):
        data[index] ^= 0x10
        with pytest.raises(runtime.RuntimeFailure):
            load(data, check_segments=True)
        data[index] ^= 0x10


@pytest.mark.parametrize(
    ("offset", "form", "value", "kind"),
    [
        (8, "<I", 72, runtime.InvalidFile),  # header size
        (12, "<I", 1 << 16, runtime.UnsupportedVersion),  # needs runtime 1.0.0
        (40, "<Q", 1 << 5, runtime.UnsupportedVersion),  # a required feature
        (16, "<Q", 1 << 40, runtime.InvalidFile),  # metadata size
        (16, "<Q", 71, runtime.InvalidFile),
        (24, "<Q", 63, runtime.InvalidFile),  # segment base
        (24, "<Q", 1 << 62, runtime.InvalidFile),
        (60, "<I", 1, runtime.InvalidFile),
        (64, "<Q", 1, runtime.InvalidFile),
        (0, "<I", 0xFFFFFFF0, runtime.InvalidFile),  # root table
        (0, "<I", 0, runtime.InvalidFile),
    ],
)
def test_header_fields(offset, form, value, kind):
    data = bytearray(pen_builder.small_program().build())
    struct.pack_into(form, data, offset, value)
    if not (offset == 16 and value > len(data)) and not (offset == 16 and value < 72):
        data = pen_builder.refresh(data)
    with pytest.raises(kind):
        load(data)


def test_optional_features_are_ignored():
    data = bytearray(pen_builder.small_program().build())
    struct.pack_into("<Q", data, 48, 1 << 63)
    assert load(pen_builder.refresh(data)).self_test() == 1


def test_a_newer_file_names_the_version_it_needs():
    data = bytearray(pen_builder.small_program().build())
    struct.pack_into("<I", data, 12, 3 << 16 | 2 << 8 | 1)
    with pytest.raises(runtime.UnsupportedVersion, match=r"needs runtime 3\.2\.1.*update") as caught:
        load(pen_builder.refresh(data))
    assert (caught.value.code, caught.value.exit_code, caught.value.status) == ("PL-E3003", 3, 3)


def test_a_damaged_weight_is_found_when_asked_for_and_by_the_self_test():
    data = bytearray(pen_builder.relu_with_weights().build())
    data[-4] ^= 1
    with pytest.raises(runtime.InvalidFile, match=r"segment 0: the checksum"):
        load(data, check_segments=True)
    with pytest.raises(runtime.InvalidFile, match=r"segment 0: the checksum"):
        load(data).self_test()


def broken(change):
    """A sound program with one thing changed; `change` gets the builder."""
    builder = pen_builder.small_program()
    change(builder)
    return builder.build()


def set_node(index, **fields):
    def change(builder):
        for name, value in fields.items():
            setattr(builder.method.nodes[index], name, value)

    return change


def set_value(index, **fields):
    def change(builder):
        for name, value in fields.items():
            setattr(builder.method.values[index], name, value)

    return change


def value_index(builder: PenBuilder, name: str) -> int:
    return next(i for i, value in enumerate(builder.method.values) if value.name == name)


def shared_dims(builder: PenBuilder) -> None:
    builder.method.values[0].shape = [pen.DimT(constant=2)] * 9


PROGRAM_RULES = {
    "value index out of range": (set_node(0, inputs=[0, 99]), "reads a value"),
    "negative value index": (set_node(0, inputs=[0, -2]), "reads a value"),
    "required input left out": (set_node(0, inputs=[0, -1]), "reads a value"),
    "value used before it is written": (set_node(0, inputs=[0, 3]), "reads a value"),
    "value written twice": (set_node(1, outputs=[2]), "another source"),
    "node writes a constant": (set_node(0, outputs=[1]), "another source"),
    "node writes an input": (set_node(0, outputs=[0]), "another source"),
    "output index out of range": (set_node(0, outputs=[99]), "not there"),
    "operator index out of range": (set_node(0, operator=7), "names an operator"),
    "too few inputs": (set_node(0, inputs=[0]), "wrong number of inputs"),
    "too many inputs": (set_node(0, inputs=[0, 1, 1]), "wrong number of inputs"),
    "no outputs": (set_node(0, outputs=[]), "wrong number of outputs"),
    "an input that is a constant": (lambda b: b.method.inputs.append(1), "something else"),
    "the same input twice": (lambda b: b.method.inputs.append(0), "something else"),
    "input index out of range": (lambda b: b.method.inputs.append(99), "not a value"),
    "input without dtype": (set_value(0, dtype=0), "not a value with dtype"),
    "input without shape": (set_value(0, shape=None), "not a value with dtype"),
    "output nobody writes": (lambda b: b.output(b.value("w2", "float32", (1,))), "nothing writes"),
    "output twice": (lambda b: b.method.outputs.append(b.method.outputs[0]), "one name"),
    "rank 9": (shared_dims, "more than 8"),
    "negative size": (set_value(0, shape=[pen.DimT(constant=-1)]), "negative"),
    "unknown symbol": (set_value(0, shape=[pen.DimT(terms=[pen.DimTermT(symbol=5)])]), "no symbol"),
    "zero coefficient": (set_value(0, shape=[pen.DimT(terms=[pen.DimTermT(symbol=0, coefficient=0)])]), "no symbol"),
    "constant of a varying shape": (set_value(1, shape=[pen.DimT(unknown=True)]), "fixed shape"),
    "constant without dtype": (set_value(1, dtype=0), "without a dtype"),
    "constant with too few bytes": (set_value(1, shape=[pen.DimT(constant=5)]), "do not fill"),
    "constant behind its segment": (set_value(1, constant=pen.SpanT(segment=0, offset=1 << 40, sizeBytes=16)), "do not fill"),
    "constant span that wraps": (set_value(1, constant=pen.SpanT(segment=0, offset=2**64 - 8, sizeBytes=16)), "do not fill"),
    "constant of no segment": (set_value(1, constant=pen.SpanT(segment=9, offset=0, sizeBytes=16)), "do not fill"),
    "misaligned constant": (set_value(1, constant=pen.SpanT(segment=0, offset=2, sizeBytes=16)), "do not fill"),
    "constant too large": (set_value(1, shape=[pen.DimT(constant=1 << 40), pen.DimT(constant=1 << 40)]), "fixed shape"),
    "symbol bounds": (
        lambda b: setattr(b.program.symbols[0], "minimum", 5) or setattr(b.program.symbols[0], "maximum", 4),
        "bounds",
    ),
    "negative symbol": (lambda b: setattr(b.program.symbols[0], "minimum", -5), "bounds"),
    "nameless symbol": (lambda b: setattr(b.program.symbols[0], "name", ""), "no name"),
    "two methods of one name": (lambda b: b.program.methods.append(b.method), "two methods"),
    "no method": (lambda b: setattr(b.program, "methods", []) or setattr(b.program, "golden", []), "no method"),
    "attribute of no kind": (set_node(0, attributes=[pen.AttributeT(name="a")]), "attribute"),
    "text attribute without text": (set_node(0, attributes=[pen.AttributeT(name="a", kind=3)]), "attribute"),
    "tensor attribute of an input": (set_node(0, attributes=[pen.AttributeT(name="a", kind=7, tensor=0)]), "attribute"),
    "tensor attribute out of range": (set_node(0, attributes=[pen.AttributeT(name="a", kind=7, tensor=99)]), "attribute"),
    "too many attributes": (
        set_node(0, attributes=[pen.AttributeT(name="a", kind=1)] * 65),
        "a Node table has a list of 65, which is more than 64",
    ),
    "golden of no method": (lambda b: setattr(b.program.golden[0], "method", 3), "golden sample 0"),
    "golden without an input": (lambda b: setattr(b.program.golden[0], "inputs", []), "golden sample 0"),
    "golden of another shape": (lambda b: setattr(b.program.golden[0].inputs[0], "shape", [3, 5]), "golden sample 0"),
    "golden of negative size": (lambda b: setattr(b.program.golden[0].inputs[0], "shape", [-3, 4]), "golden sample 0"),
    "golden of no tolerance": (lambda b: setattr(b.program.golden[0], "atol", float("nan")), "golden sample 0"),
    "resources of no method": (lambda b: setattr(b.program, "resources", [pen.ResourcesT(method=4)]), "resource statement 0"),
    "resources of other nodes": (lambda b: setattr(b.program, "resources", [pen.ResourcesT(nodeMacs=[1])]), "resource statement 0"),
    "resources of no symbol": (
        lambda b: setattr(b.program, "resources", [pen.ResourcesT(bindings=[pen.SymbolBindingT(symbol=8)])]),
        "resource statement 0",
    ),
}


@pytest.mark.parametrize("rule", PROGRAM_RULES)
def test_programs_that_break_a_rule_are_refused(rule):
    change, message = PROGRAM_RULES[rule]
    with pytest.raises(runtime.InvalidProgram, match=message):
        load(broken(change))


STRUCTURE_RULES = {
    "unknown dtype": set_value(0, dtype=14),
    "unknown attribute kind": set_node(0, attributes=[pen.AttributeT(name="a", kind=9)]),
    "string with NUL": set_value(0, name="a\0b"),
    "required name absent": set_value(0, name=None),
}


@pytest.mark.parametrize("rule", STRUCTURE_RULES)
def test_metadata_that_is_no_program_is_refused(rule):
    with pytest.raises(runtime.InvalidFile, match=r"metadata: a .* table"):
        load(broken(STRUCTURE_RULES[rule]))


def test_tables_shared_too_often_are_refused():
    """Each offset costs 4 bytes, the table behind it a walk: without a limit a small file would take minutes."""
    builder = pen_builder.small_program()
    flat = bytearray(builder.build())
    assert load(flat)
    # A vector of nodes that is one node 30,000 times.
    table = pen_builder.shared_vector(builder, count=30_000)
    with pytest.raises(runtime.InvalidFile, match="same bytes too often"):
        load(table)


def test_all_missing_operators_are_listed():
    builder = pen_builder.relu_program()
    builder.operator("Mystery", "com.example", 3)
    builder.operator("Unheard", version=9)
    builder.operator("Relu", version=999)
    with pytest.raises(
        runtime.UnsupportedOperator, match=r"3 operators: com\.example\.Mystery version 3, Unheard version 9, Relu version 999"
    ) as caught:
        load(builder.build())
    assert caught.value.code == "PL-E3005"
    assert isinstance(caught.value, NotImplementedError)


def test_a_long_list_of_missing_operators_is_cut():
    builder = pen_builder.relu_program()
    for number in range(100):
        builder.operator(f"Mystery{number}", version=1)
    with pytest.raises(runtime.UnsupportedOperator, match=r"100 operators: Mystery0 version 1, .*and more"):
        load(builder.build())


def test_names_cannot_forge_log_lines():
    builder = pen_builder.relu_program()
    builder.operator("Evil\nINFO all is well\x1b[2J", version=1)
    with pytest.raises(runtime.UnsupportedOperator) as caught:
        load(builder.build())
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)


@pytest.mark.parametrize("name", ["segment overlap", "segment outside", "odd alignment", "gap"])
def test_segments(name):
    def change(program):
        first, second = program.segments
        if name == "segment overlap":
            second.offset = first.offset
        elif name == "segment outside":
            second.sizeBytes = 1 << 40
        elif name == "odd alignment":
            first.alignment = 48
        elif name == "gap":
            second.offset += 64

    with pytest.raises(runtime.InvalidFile, match=r"segment|checksum"):
        load(pen_builder.rewrite(pen_builder.small_program(), change))


def test_memory_budget_covers_program_and_session():
    data = pen_builder.relu_program((1 << 20,)).build()
    program = load(data, memory_budget=1 << 20)
    x = np.zeros(1 << 20, np.float32)
    with pytest.raises(runtime.BudgetExceeded, match=r"arena: .* exceed the memory budget of 1048576"):
        program.session().run([x])
    with pytest.raises(runtime.BudgetExceeded):
        load(data, memory_budget=10)
    assert load(data, memory_budget=8 << 20).session().run([x])["y"].shape == (1 << 20,)


def test_tiny_file_with_a_huge_tensor_is_refused_before_memory_is_taken():
    builder = PenBuilder()
    x = builder.input("x", "float32", (1,))
    target = builder.constant("target", np.array([1 << 40], np.int64))
    builder.output(builder.node("Expand", [x, target], ["y"]), "float32", (1 << 40,))
    program = load(builder.build(), memory_budget=1 << 30)
    with pytest.raises(runtime.BudgetExceeded):
        program.session().run([np.zeros(1, np.float32)])


def test_loading_time_is_linear():
    """Ten times the nodes may take about ten times as long, not a hundred: of the processor's time, and the shortest of a few."""
    import time

    def seconds(count):
        builder = PenBuilder()
        value = builder.input("x", "float32", (4,))
        for _ in range(count):
            value = builder.node("Relu", [value])
        builder.output(value, "float32", (4,))
        data = builder.build()
        best = min(_timed(load, data, time.thread_time) for _ in range(5))
        return best / len(data)

    assert seconds(10_000) < 5 * seconds(1_000) + 1e-7


def _timed(function, data, clock):
    start = clock()
    function(data)
    return clock() - start

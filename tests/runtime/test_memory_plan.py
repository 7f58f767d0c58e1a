# SPDX-License-Identifier: Apache-2.0
"""The memory plan that a session tells: blocks of the arena with their lifetimes."""

import itertools

import numpy as np
import pytest
from pen_builder import PenBuilder, small_program

import penlight_runtime as runtime


def branches(count: int) -> PenBuilder:
    """One value that many nodes read; their results are added up."""
    builder = PenBuilder()
    first = builder.node("Neg", [builder.input("x", "float32", ("batch", 32))])
    tips = [builder.node("Abs", [first]) for _ in range(count)]
    total = tips[0]
    for tip in tips[1:]:
        total = builder.node("Add", [total, tip], version=14)
    builder.output(total, "float32", ("batch", 32))
    return builder


def test_blocks_that_live_together_share_no_byte():
    session = runtime.Program(branches(5).build()).session()
    assert session.plan() == ((), ())
    session.prepare([np.zeros((4, 32), np.float32)])
    plan = session.plan()
    blocks = [entry.block for entry in (*plan.values, *plan.scratch) if entry.block and entry.block.size_bytes]
    assert len(plan.scratch) == 10 and len(blocks) >= 10
    for a, b in itertools.combinations(blocks, 2):
        together = a.first_node <= b.last_node and b.first_node <= a.last_node
        apart = a.offset + a.size_bytes <= b.offset or b.offset + b.size_bytes <= a.offset
        assert apart or not together, (a, b)
    assert max(block.offset + block.size_bytes for block in blocks) == session.arena_bytes


def test_shapes_and_lifetimes_are_those_of_the_prepared_sizes():
    session = runtime.Program(branches(2).build()).session()
    for batch in (1, 6):
        session.run([np.zeros((batch, 32), np.float32)])
        entries = session.plan().values
        assert {entry.shape for entry in entries} == {(batch, 32)} and {entry.dtype for entry in entries} == {np.dtype("float32")}
        lives = [entry.block and (entry.block.first_node, entry.block.last_node) for entry in entries]
        assert lives == [None, (0, 2), (1, 3), (2, 3), (3, 4)]  # the input is the caller's; the output lives to the end


@pytest.mark.parametrize(("rows", "turned", "copied"), [(1, True, 0), (2, True, 0), (1, False, 4), (4, False, 4), (5, True, 100)])
def test_few_rows_of_a_product_copy_no_weights(rows, turned, copied):
    """`copied`: columns of the 100 weights that are brought together; those of an odd end, or all where the copy pays."""
    builder = PenBuilder()
    weights = np.ones((100, 64) if turned else (64, 100), np.float32)
    y = builder.node(
        "Gemm", [builder.input("x", "float32", ("n", 64)), builder.constant("w", weights)], version=13, transB=int(turned)
    )
    builder.output(y, "float32", ("n", 100))
    session = runtime.Program(builder.build()).session()
    (result,) = session.run([np.ones((rows, 64), np.float32)]).values()
    assert (result == 64).all()
    (scratch,) = session.plan().scratch
    assert (scratch.block.size_bytes if scratch.block else 0) == -(-copied // 16) * 16 * 64 * 4


def test_constants_and_what_shapes_tell_have_no_block():
    session = runtime.Program(small_program().build()).session()
    session.run([np.zeros((3, 4), np.float32)])
    plan = session.plan()
    assert any(entry.block is None and entry.dtype is not None for entry in plan.values)
    assert all(entry.name for entry in plan.values)

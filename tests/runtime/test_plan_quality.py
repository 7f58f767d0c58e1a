# SPDX-License-Identifier: Apache-2.0
"""Memory plans of models and of random graphs: never more than greedy by size, and mostly what lives at once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pen_builder import PenBuilder
from pen_corpus import corpus
from plan_quality import blocks_of, greedy_by_size, lower_bound

import penlight as pl
import penlight_runtime as runtime
from penlight import models
from penlight_export import export

BATCH = {"x": {0: "batch"}}
ZOO = {
    "mlp": lambda: (models.MLP([16, 64, 8]), pl.randn(2, 16)),
    "digits": lambda: (models.DigitsCNN(), pl.randn(2, 1, 8, 8)),
    "mnist": lambda: (models.MnistCNN(), pl.randn(2, 1, 28, 28)),
}


def random_graph(rows: list[tuple[str, int, int]]) -> bytes:
    """Nodes that read two of the values so far; `kind` is what they do with them: copies, or rows put behind rows."""
    builder = PenBuilder()
    values = [builder.input("x", "float32", (4, 4))]
    for kind, left, right in rows:
        read = [values[left % len(values)], values[right % len(values)]]
        if kind == "Concat":
            values.append(builder.node(kind, read, axis=0))
        else:
            values.append(builder.node(kind, read[:1]))
    total = builder.node("Concat", values[-2:], axis=0)
    builder.output(total, "float32", (None, 4))
    return builder.build()


def check(session: runtime.Session) -> float:
    """How much more than what lives at once the arena takes."""
    blocks = blocks_of(session)
    assert session.arena_bytes <= greedy_by_size(blocks)
    bound = lower_bound(blocks)
    assert session.arena_bytes >= bound
    return session.arena_bytes / max(bound, 1)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.sampled_from(["Neg", "Abs", "Concat"]), st.integers(0, 40), st.integers(0, 40)), min_size=2, max_size=14)
)
def test_random_graphs(rows):
    session = runtime.Program(random_graph(rows)).session()
    session.prepare([np.zeros((4, 4), np.float32)])
    assert check(session) < 1.35


@pytest.mark.parametrize("name", ZOO)
def test_models(name, tmp_path):
    module, x = ZOO[name]()
    export(module.eval(), {"x": x}, dynamic=BATCH, verify=False).save(tmp_path / "m.pen")
    session = runtime.Program.open(tmp_path / "m.pen").session()
    for batch in (1, 3, 8):
        session.prepare([np.zeros((batch, *x.shape[1:]), np.float32)])
        assert check(session) <= 1.05


def test_corpus():
    ratios = []
    for data in corpus().values():
        session = runtime.Program(data).session()
        inputs = runtime.Program(data).inputs()
        session.prepare([np.zeros([size if isinstance(size, int) else 4 for size in i.shape], i.dtype) for i in inputs])
        ratios.append(check(session))
    assert sum(ratio <= 1.05 for ratio in ratios) >= 0.95 * len(ratios)

# SPDX-License-Identifier: Apache-2.0
"""Buffers that a module writes become states of the exported program: inputs and outputs in .onnx, kept by a session in .pen."""

import numpy as np
import pytest

import penlight as pl
import penlight_runtime
from penlight import nn
from penlight.errors import TraceError
from penlight.nn import functional as F
from penlight_export import export, summarize
from penlight_export.engines import OnnxEngine


class Counter(nn.Module):
    """The mean of everything that came; the sum starts with other numbers than zeros."""

    def __init__(self):
        super().__init__()
        self.register_buffer("total", pl.tensor([1.0, 2.0, 3.0]), persistent=False, export_state=True)
        self.register_buffer("count", pl.tensor(0), persistent=False, export_state=True)

    def forward(self, x):
        self.total += x
        self.count += 1
        return self.total / self.count


class Block(nn.Module):
    """Attention over the keys and values of all positions so far, which a cache holds."""

    def __init__(self, width, heads, context):
        super().__init__()
        self.heads = heads
        self.norm, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        for name in ("keys", "values"):
            self.register_buffer(name, pl.zeros(1, heads, context, width // heads), persistent=False, export_state=True)

    def forward(self, x, position):
        q, k, v = (part.reshape(1, 1, self.heads, -1) for part in self.qkv(self.norm(x)).chunk(3, dim=-1))  # (1, 1, H, D)
        self.keys[:, :, position] = k[:, 0]
        self.values[:, :, position] = v[:, 0]
        seen = pl.arange(self.keys.shape[2]) <= position
        y = F.scaled_dot_product_attention(q.transpose(1, 2), self.keys, self.values, attn_mask=seen[None, None, None])
        return x + self.out(y.transpose(1, 2).reshape(1, 1, -1))

    def all_at_once(self, x):
        q, k, v = (part.reshape(1, x.shape[1], self.heads, -1).transpose(1, 2) for part in self.qkv(self.norm(x)).chunk(3, dim=-1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return x + self.out(y.transpose(1, 2).reshape(1, x.shape[1], -1))


class Decoder(nn.Module):
    """A GPT that takes one token per call."""

    def __init__(self, vocabulary=17, width=16, heads=2, layers=2, context=12):
        super().__init__()
        self.embed, self.place = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads, context) for _ in range(layers))
        self.head = nn.Linear(width, vocabulary)

    def forward(self, token, position):
        x = self.embed(token)[:, None] + self.place(position)
        for block in self.blocks:
            x = block(x, position)
        return self.head(x[:, 0])

    def all_at_once(self, tokens):
        x = self.embed(tokens) + self.place(pl.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block.all_at_once(x)
        return self.head(x)


def test_a_state_starts_with_the_module_s_content_and_is_kept():
    model, x = Counter(), np.ones(3, np.float32)
    exported = export(model, (pl.tensor(x),))
    assert model.total.tolist() == [1, 2, 3] and model.count.item() == 0
    program = penlight_runtime.Program(exported.program)
    session = program.session()
    assert [info.name for info in program.inputs()] == ["x"] and [info.name for info in program.outputs()] == ["output"]
    for _ in range(3):
        np.testing.assert_array_equal(session.run({"x": x})["output"], model(pl.tensor(x)).numpy())
    assert {name: array.tolist() for name, array in session.states().items()} == {"count": 3, "total": [4, 5, 6]}
    assert program.session().run([x])["output"].tolist() == [2, 3, 4]
    session.reset()
    assert session.run([x])["output"].tolist() == [2, 3, 4]
    assert program.self_test() == 1


def test_states_are_inputs_and_outputs_in_onnx():
    exported = export(Counter(), (pl.ones(3),))
    engine = OnnxEngine(exported.onnx_model.SerializeToString())
    assert [port.name for port in engine.inputs] == ["x", "past.count", "past.total"]
    assert [port.name for port in engine.outputs] == ["output", "present.count", "present.total"]
    found = engine.run({"x": np.ones(3, np.float32), "past.count": np.array(1), "past.total": np.zeros(3, np.float32)})
    assert found["present.count"] == 2 and found["output"].tolist() == [0.5] * 3


def test_a_gpt_decodes_token_by_token_as_in_one_go():
    pl.manual_seed(4)
    model = Decoder().eval()
    exported = export(model, (pl.tensor([3]), pl.tensor(0)))
    assert exported.report.ok and exported.refusal is None
    session = penlight_runtime.Program(exported.program).session()
    tokens = [3]
    for position in range(11):
        given = {"token": np.array(tokens[-1:]), "position": np.array(position)}
        logits = session.run(given)["output"]
        eager = model(pl.tensor(tokens[-1:]), pl.tensor(position)).detach().numpy()
        whole = model.all_at_once(pl.tensor([tokens]))[:, -1].detach().numpy()
        np.testing.assert_allclose(logits, eager, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(logits, whole, rtol=1e-4, atol=1e-4)
        tokens.append(int(logits.argmax()))
    assert len(set(tokens)) > 3
    np.testing.assert_allclose(session.states()["blocks.1.keys"], model.blocks[1].keys.detach().numpy(), rtol=1e-5, atol=1e-5)


def test_sessions_can_hand_states_over():
    pl.manual_seed(4)
    program = penlight_runtime.Program(export(Decoder().eval(), (pl.tensor([3]), pl.tensor(0))).program)
    first, second = program.session(), program.session()
    for position, token in enumerate((3, 5, 1)):
        first.run({"token": np.array([token]), "position": np.array(position)})
    second.set_states(first.states())
    shared, step = program.session(states_of=first), {"token": np.array([2]), "position": np.array(3)}
    expected = second.run(step)["output"]
    np.testing.assert_array_equal(shared.run(step)["output"], expected)
    np.testing.assert_array_equal(first.states()["blocks.0.values"], shared.states()["blocks.0.values"])
    np.testing.assert_array_equal(first.run(step)["output"], expected)


def test_a_failed_run_leaves_the_states():
    class Picker(nn.Module):
        """Adds a row of a table to what it keeps."""

        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(4, 2)
            self.register_buffer("sum", pl.zeros(2), export_state=True)

        def forward(self, index):
            self.sum += 1
            return self.sum + self.table(index)

    session = penlight_runtime.Program(export(Picker().eval(), (pl.tensor(1),)).program).session()
    session.run([np.array(2)])
    with pytest.raises(penlight_runtime.RuntimeFailure):
        session.run([np.array(99)])
    assert session.states()["sum"].tolist() == [1, 1]


def test_wrong_states_are_refused():
    program = penlight_runtime.Program(export(Counter(), (pl.ones(3),)).program)
    session = program.session()
    for states in ({"other": np.zeros(3, np.float32)}, {"total": np.zeros(2, np.float32)}, {"total": np.zeros(3)}):
        with pytest.raises(penlight_runtime.InvalidArgument, match="the method's states are: count int64"):
            session.set_states(states)
    other = penlight_runtime.Program(export(Counter(), (pl.ones(3),)).program)
    with pytest.raises(penlight_runtime.InvalidArgument, match="session of another program"):
        other.session(states_of=session)


def test_outputs_can_be_written_in_place():
    session = penlight_runtime.Program(export(Counter(), (pl.ones(3),)).program).session()
    out = np.empty(3, np.float32)
    session.run([np.ones(3, np.float32)], outputs=[out])
    session.run([np.ones(3, np.float32)], outputs=[out])
    assert out.tolist() == [1.5, 2, 2.5] and session.states()["count"] == 2


def test_a_state_that_is_only_read_and_one_that_is_not_used():
    class Reader(nn.Module):
        """Reads one of two states."""

        def __init__(self):
            super().__init__()
            self.register_buffer("offset", pl.tensor([5.0]), export_state=True)
            self.register_buffer("unused", pl.tensor([5.0]), export_state=True)

        def forward(self, x):
            return x + self.offset

    session = penlight_runtime.Program(export(Reader(), (pl.ones(1),)).program).session()
    assert list(session.states()) == ["offset"]
    session.set_states({"offset": np.array([7], np.float32)})
    assert [session.run([np.ones(1, np.float32)])["output"].item() for _ in range(2)] == [8, 8]


def test_only_declared_buffers_may_be_written():
    class Plain(nn.Module):
        """Writes an ordinary buffer."""

        def __init__(self):
            super().__init__()
            self.register_buffer("calls", pl.tensor(0.0))

        def forward(self, x):
            self.calls += 1
            return x + self.calls

    with pytest.raises(TraceError, match="calls"):
        export(Plain(), (pl.ones(1),))


def test_the_summary_of_a_program_with_states(tmp_path):
    path = export(Counter(), (pl.ones(3),)).save(tmp_path / "counter.pen")
    assert [port.name for port in summarize(path).inputs] == ["x"]


@pytest.mark.parametrize("index", [np.array(2), np.array(-1), np.array([1, 3]), np.array([0, -2])])
def test_writes_along_a_dimension_in_the_middle(index):
    """They move neither the tensor nor its dimensions."""

    def model(x, index, value):
        y = x * 1
        y[:, :, index] = value
        return y

    x, value = np.arange(40, dtype=np.float32).reshape(2, 1, 4, 5), np.float32([7, 8, 9, 10, 11])
    exported = export(
        model, tuple(map(pl.tensor, (x, index, value))), dynamic={"x": {0: "batch", 3: "width"}, "value": {0: "width"}}
    )
    assert exported.refusal is None and [n.op_type for n in exported.onnx_model.graph.node].count("Transpose") == 0
    expected = x.copy()
    expected[:, :, index] = value
    session = penlight_runtime.Program(exported.program).session()
    np.testing.assert_array_equal(session.run({"x": x, "index": index, "value": value})["output"], expected)

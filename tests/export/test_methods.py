# SPDX-License-Identifier: Apache-2.0
"""Several methods in one .pen file: weights once, states shared, each run by its name."""

import numpy as np
import pytest

import penlight as pl
import penlight_runtime
from penlight import nn
from penlight.nn import functional as F
from penlight_export import ExportError, Method, export, export_methods, summarize


class Block(nn.Module):
    """Attention whose keys and values of all positions so far are in a cache."""

    def __init__(self, width, heads, context):
        super().__init__()
        self.heads, self.norm = heads, nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        for name in ("keys", "values"):
            self.register_buffer(name, pl.zeros(1, heads, context, width // heads), persistent=False, export_state=True)

    def split(self, x):
        return (p.reshape(1, x.shape[1], self.heads, -1).transpose(1, 2) for p in self.qkv(self.norm(x)).chunk(3, dim=-1))

    def join(self, x, y):
        return x + self.out(y.transpose(1, 2).reshape(1, x.shape[1], -1))

    def prefill(self, x):
        q, k, v = self.split(x)
        self.keys[:, :, : x.shape[1]] = k
        self.values[:, :, : x.shape[1]] = v
        return self.join(x, F.scaled_dot_product_attention(q, k, v, is_causal=True))

    def decode(self, x, position):
        q, k, v = self.split(x)
        self.keys[:, :, position] = k[:, :, 0]
        self.values[:, :, position] = v[:, :, 0]
        seen = pl.arange(self.keys.shape[2]) <= position
        return self.join(x, F.scaled_dot_product_attention(q, self.keys, self.values, attn_mask=seen[None, None, None]))


class GPT(nn.Module):
    """A language model with a method for the prompt and one for each further token."""

    def __init__(self, vocabulary=17, width=32, heads=2, layers=2, context=16):
        super().__init__()
        self.embed, self.place = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads, context) for _ in range(layers))
        self.head = nn.Linear(width, vocabulary)

    def prefill(self, tokens):
        x = self.embed(tokens) + self.place(pl.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block.prefill(x)
        return self.head(x[:, -1])

    def decode(self, token, position):
        x = self.embed(token)[:, None] + self.place(position)
        for block in self.blocks:
            x = block.decode(x, position)
        return self.head(x[:, 0])


@pytest.fixture(scope="module")
def model():
    pl.manual_seed(8)
    return GPT().eval()


@pytest.fixture(scope="module")
def exported(model):
    return export_methods(
        {
            "prefill": Method(model.prefill, (pl.tensor([[3, 1, 4]]),), dynamic={"tokens": {1: "length"}}),
            "decode": Method(model.decode, (pl.tensor([3]), pl.tensor(3)), output_names=["logits"]),
        }
    )


def test_each_method_has_its_interface(exported):
    program = penlight_runtime.Program(exported.program)
    assert program.methods == ("prefill", "decode")
    assert [(info.name, info.shape) for info in program.inputs("prefill")] == [("tokens", (1, "length"))]
    assert [info.name for info in program.inputs("decode")] == ["token", "position"]
    assert [info.name for info in program.outputs("decode")] == ["logits"]
    assert program.self_test() == 2 and {sample.method for sample in program.golden()} == {"prefill", "decode"}
    with pytest.raises(penlight_runtime.InvalidArgument, match="it has: prefill, decode"):
        program.session()


def test_weights_are_stored_once(exported, model):
    size = sum(p.nbytes for p in model.parameters())
    alone = [len(each.program) for each in exported.methods.values()]
    assert size < min(alone) and len(exported.program) < sum(alone) - 0.9 * size


def test_prefill_hands_its_cache_to_decode(exported, model):
    program = penlight_runtime.Program(exported.program)
    prefill = program.session("prefill")
    decode = program.session("decode", states_of=prefill)
    for prompt in ([2, 7, 1, 8], [3]):
        prefill.reset()
        tokens = list(prompt)
        logits = prefill.run([np.array([prompt])])["output"]
        for position in range(len(prompt), 12):
            whole = model.prefill(pl.tensor([tokens])).detach().numpy()
            np.testing.assert_allclose(logits, whole, rtol=1e-4, atol=1e-4)
            tokens.append(int(logits.argmax()))
            logits = decode.run({"token": np.array(tokens[-1:]), "position": np.array(position)})["logits"]


def test_the_summary_names_the_methods(exported, tmp_path):
    path = exported.save(tmp_path / "gpt.pen")
    summary = summarize(path)
    assert summary.method == "prefill" and summary.methods == ["prefill", "decode"]
    assert "method  prefill, one of prefill, decode" in summary.to_text() and "state  blocks.0.keys  float32" in summary.to_text()
    other = summarize(path, "decode")
    assert [port.name for port in other.inputs] == ["token", "position"] and other.macs and other.arena_bytes
    with pytest.raises(ExportError, match="the file has prefill, decode"):
        summarize(path, "encode")


def test_methods_without_common_parts():
    linear, x = nn.Linear(3, 2), pl.ones(2, 3)
    both = {"double": Method(lambda x: x * 2, (x,)), "project": Method(linear, (x,), dynamic={"input": {0: "rows"}})}
    program = penlight_runtime.Program(export_methods(both).program)
    assert program.session("double").run([np.ones((2, 3), np.float32)])["output"].tolist() == [[2] * 3] * 2
    expected = linear(pl.ones(5, 3)).detach().numpy()
    np.testing.assert_allclose(program.session("project").run([np.ones((5, 3), np.float32)])["output"], expected, rtol=1e-6)


def test_bodies_of_several_methods():
    def positive(x):
        return pl.cond(x.sum() > 0, lambda: x * 2, lambda: -x)

    def total(x):
        return pl.scan(lambda c, row: (c + row, c.sum()), pl.zeros(2), x)[1]

    program = penlight_runtime.Program(
        export_methods({"a": Method(positive, (pl.ones(2),)), "b": Method(total, (pl.ones(3, 2),))}).program
    )
    assert program.session("a").run([np.array([-1, -2], np.float32)])["output"].tolist() == [1, 2]
    assert program.session("b").run([np.ones((3, 2), np.float32)])["output"].tolist() == [0, 2, 4]


def test_what_cannot_be_exported_is_refused(exported, tmp_path):
    with pytest.raises(ExportError, match="came"):
        export_methods({})
    with pytest.raises(ExportError, match=r"go into a \.pen file"):
        exported.save(tmp_path / "gpt.onnx")
    assert exported.methods["decode"].save(tmp_path / "decode.onnx").stat().st_size > 1000


def test_one_program_stays_as_it_was():
    assert penlight_runtime.Program(export(nn.Linear(2, 2), (pl.ones(1, 2),)).program).methods == ("forward",)

# SPDX-License-Identifier: Apache-2.0
"""Recurrent layers export as ONNX's own operators, for any number of steps and sequences, and every engine agrees."""

from collections import Counter

import numpy as np
import pytest

import penlight as pl
from penlight import nn
from penlight.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from penlight_export import export
from penlight_export.engines import OnnxEngine

KINDS = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}
DYNAMIC = {"x": {0: "steps", 1: "batch"}}


def operators(exported):
    return Counter(node.op_type for node in exported.onnx_model.graph.node)


def rand(*shape, seed=0):
    return pl.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}, {"bias": False}], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_any_length_and_batch(kind, options):
    pl.manual_seed(0)
    model = KINDS[kind](3, 4, **options).eval()
    exported = export(model, (rand(5, 2, 3),), names=["x"], dynamic=DYNAMIC)  # verifies onnxruntime and the edge at two sizes
    found = operators(exported)
    assert found[kind] == options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    assert not {"MatMul", "Gemm", "Tanh", "Sigmoid", "Loop", "Scan"} & set(found)
    x = rand(9, 7, 3, seed=1)
    wanted, _ = model(x)
    result = OnnxEngine(exported.onnx_model.SerializeToString()).run({"x": x.numpy()})
    np.testing.assert_allclose(next(iter(result.values())), wanted.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_batch_first_with_a_state_and_relu():
    class Stepper(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.LSTM(3, 4, batch_first=True)

        def forward(self, x, h, c):
            y, (h, c) = self.rnn(x, (h, c))
            return y, h, c

    pl.manual_seed(0)
    lstm = export(Stepper(), (rand(2, 5, 3), rand(1, 2, 4), rand(1, 2, 4, seed=1)))
    assert operators(lstm)["LSTM"] == 1
    rnn = export(nn.RNN(3, 4, nonlinearity="relu", batch_first=True), (rand(2, 5, 3), rand(1, 2, 4)))
    assert operators(rnn)["RNN"] == 1


def test_a_head_on_the_last_step():
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = nn.LSTM(6, 8, batch_first=True), nn.Linear(8, 3)

        def forward(self, x):
            return self.head(self.rnn(x)[0][:, -1])

    pl.manual_seed(0)
    exported = export(Reader(), (rand(2, 5, 6),), names=["x"], dynamic={"x": {0: "batch", 1: "steps"}})
    assert operators(exported)["LSTM"] == 1 and exported.program is not None


@pytest.mark.parametrize("kind", KINDS)
def test_packed_sequences_of_known_lengths(kind):
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = KINDS[kind](3, 4, bidirectional=True)

        def forward(self, x):
            packed, state = self.rnn(pack_padded_sequence(x, pl.tensor([5, 3, 3, 1])))
            return pad_packed_sequence(packed)[0], state

    pl.manual_seed(0)
    exported = export(Reader().eval(), (rand(5, 4, 3),))
    assert operators(exported)[kind] == 2

# SPDX-License-Identifier: Apache-2.0
"""Recurrent layers beside PyTorch's: packed and padded sequences, both directions, gradients of everything, second derivatives."""

import numpy as np
import pytest

import penlight as pl
from penlight import nn
from penlight.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

torch = pytest.importorskip("torch")

LENGTHS = [3, 6, 1, 6]
CASES = [
    ("LSTM", {"num_layers": 2, "bidirectional": True}),
    ("LSTM", {"bidirectional": True, "proj_size": 3}),
    ("LSTM", {"bias": False, "batch_first": True}),
    ("GRU", {"num_layers": 2, "bidirectional": True}),
    ("RNN", {"num_layers": 2, "bidirectional": True}),
    ("RNN", {"nonlinearity": "relu", "bias": False}),
]


def rand(*shape, seed=0):
    return np.random.default_rng(seed + sum(shape)).standard_normal(shape).astype(np.float32)


def pair(kind, options):
    """The layer in both libraries, with the same weights."""
    torch.manual_seed(0)
    theirs = getattr(torch.nn, kind)(5, 7, **options)
    ours = getattr(nn, kind)(5, 7, **options)
    ours.load_state_dict({name: pl.from_numpy(t.detach().numpy().copy()) for name, t in theirs.state_dict().items()})
    return ours, theirs


def states(kind, options):
    count = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    sizes = [options.get("proj_size", 0) or 7, 7] if kind == "LSTM" else [7]
    return [rand(count, 4, size, seed=k) for k, size in enumerate(sizes)]


def run(library, layer, x, state, lengths):
    """Outputs, last states, and the gradients of a mixture of them with respect to everything."""
    is_torch = library is torch
    pack, unpack = (
        (torch.nn.utils.rnn.pack_padded_sequence, torch.nn.utils.rnn.pad_packed_sequence)
        if is_torch
        else (pack_padded_sequence, pad_packed_sequence)
    )
    leaves = [library.from_numpy(a.copy()).requires_grad_() for a in (x, *state)]
    given, *hx = leaves
    hx = tuple(hx) if len(hx) > 1 else hx[0]
    if lengths is None:
        y, last = layer(given, hx)
    else:
        packed, last = layer(pack(given, library.tensor(lengths), layer.batch_first, enforce_sorted=False), hx)
        y, _ = unpack(packed, layer.batch_first)
    results = [y, *(last if isinstance(last, tuple) else (last,))]
    total = sum((r * library.from_numpy(rand(*r.shape, seed=9))).sum() for r in results)
    total.backward()
    return [r.detach().numpy() for r in results], [t.grad.numpy() for t in (*leaves, *layer.parameters())]


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")  # PyTorch's own
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["padded", "packed"])
@pytest.mark.parametrize(("kind", "options"), CASES, ids=str)
def test_outputs_and_gradients_of_pytorch(kind, options, lengths):
    ours, theirs = pair(kind, options)
    x = rand(4, 6, 5) if options.get("batch_first") else rand(6, 4, 5)
    results, gradients = run(pl, ours, x, states(kind, options), lengths)
    wanted, wanted_gradients = run(torch, theirs, x, states(kind, options), lengths)
    for mine, reference in zip(results + gradients, wanted + wanted_gradients, strict=True):
        np.testing.assert_allclose(mine, reference, rtol=1e-4, atol=1e-5)  # rounding over 6 steps and 2 layers


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_second_derivative_of_pytorch(kind):
    ours, theirs = pair(kind, {})
    found = []
    for library, layer in ((pl, ours), (torch, theirs)):
        x = library.from_numpy(rand(4, 3, 5)).requires_grad_()
        (slope,) = library.autograd.grad((layer(x)[0] ** 2).sum(), x, create_graph=True)
        (slope**2).sum().backward()
        found.append([x.grad.numpy(), *(p.grad.numpy() for p in layer.parameters())])
    for mine, reference in zip(*found, strict=True):
        np.testing.assert_allclose(mine, reference, rtol=1e-3, atol=1e-4)

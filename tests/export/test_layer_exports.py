# SPDX-License-Identifier: Apache-2.0
"""Layers made of several operators export, at a dynamic batch where they can, and the engines agree with eager."""

import numpy as np
import pytest

import penlight as pl
import penlight_export
from penlight import nn
from penlight.nn.utils import parametrizations

PLAIN = "CELU SELU GLU Hardshrink Softshrink Softsign Tanhshrink LogSigmoid Hardtanh Softmin PReLU RReLU"


def draws(*shape):
    return pl.tensor(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


def encoder():
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)


# name: (the layer, shapes of the inputs)
LAYERS = {
    **{name: (getattr(nn, name), [(2, 4, 6)]) for name in PLAIN.split()},
    "Threshold": (lambda: nn.Threshold(0.1, 2.0), [(2, 4)]),
    "Softmax2d": (nn.Softmax2d, [(2, 3, 4, 4)]),
    "Conv2d, reflecting": (lambda: nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), [(2, 3, 6, 6)]),
    "Conv3d": (lambda: nn.Conv3d(2, 3, (2, 3, 2), stride=(2, 1, 1), padding=1), [(2, 2, 5, 6, 5)]),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(3, 4, 3, stride=2, padding=1, output_padding=1), [(2, 3, 8)]),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(4, 4, 3, stride=2, padding=1, groups=2), [(2, 4, 5, 5)]),
    "ConvTranspose3d": (lambda: nn.ConvTranspose3d(2, 2, 2, stride=2), [(2, 2, 3, 3, 3)]),
    "MaxPool1d": (lambda: nn.MaxPool1d(2), [(2, 3, 8)]),
    "MaxPool3d": (lambda: nn.MaxPool3d(2), [(2, 3, 4, 4, 4)]),
    "AvgPool1d": (lambda: nn.AvgPool1d(2), [(2, 3, 8)]),
    "AvgPool3d": (lambda: nn.AvgPool3d(2, padding=1), [(2, 3, 4, 4, 4)]),
    "LPPool2d": (lambda: nn.LPPool2d(2, 2), [(2, 3, 4, 4)]),
    "AdaptiveAvgPool1d": (lambda: nn.AdaptiveAvgPool1d(3), [(2, 3, 8)]),
    "AdaptiveAvgPool3d": (lambda: nn.AdaptiveAvgPool3d(2), [(2, 3, 5, 4, 4)]),
    "AdaptiveMaxPool2d": (lambda: nn.AdaptiveMaxPool2d(3), [(2, 3, 8, 7)]),
    "ReflectionPad2d": (lambda: nn.ReflectionPad2d(1), [(2, 3, 4, 4)]),
    "ReplicationPad1d": (lambda: nn.ReplicationPad1d(2), [(2, 3, 4)]),
    "CircularPad3d": (lambda: nn.CircularPad3d(1), [(2, 2, 3, 3, 3)]),
    "BatchNorm3d": (lambda: nn.BatchNorm3d(3), [(2, 3, 2, 3, 4)]),
    "InstanceNorm2d": (lambda: nn.InstanceNorm2d(3, affine=True), [(2, 3, 4, 4)]),
    "LocalResponseNorm": (lambda: nn.LocalResponseNorm(3), [(2, 5, 4, 4)]),
    "PixelShuffle": (lambda: nn.PixelShuffle(2), [(2, 8, 3, 3)]),
    "PixelUnshuffle": (lambda: nn.PixelUnshuffle(2), [(2, 2, 4, 4)]),
    "ChannelShuffle": (lambda: nn.ChannelShuffle(2), [(2, 4, 4, 4)]),
    "Unfold": (lambda: nn.Unfold(2), [(2, 3, 4, 4)]),
    "Fold": (lambda: nn.Fold((4, 4), 2, stride=2), [(2, 12, 4)]),
    "Upsample, nearest": (lambda: nn.Upsample(scale_factor=2), [(2, 2, 3, 3)]),
    "Upsample, bilinear": (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), [(2, 2, 3, 3)]),
    "Upsample, bicubic": (lambda: nn.Upsample(size=(5, 7), mode="bicubic"), [(2, 2, 3, 3)]),
    "CosineSimilarity": (nn.CosineSimilarity, [(3, 4), (3, 4)]),
    "PairwiseDistance": (nn.PairwiseDistance, [(3, 4), (3, 4)]),
    "Bilinear": (lambda: nn.Bilinear(3, 4, 5), [(2, 3), (2, 4)]),
    "RNN": (lambda: nn.RNN(3, 4, 2, batch_first=True), [(2, 5, 3)]),
    "LSTM": (lambda: nn.LSTM(3, 4, bidirectional=True, batch_first=True, proj_size=2), [(2, 5, 3)]),
    "GRU": (lambda: nn.GRU(3, 4, batch_first=True), [(2, 5, 3)]),
    "LSTMCell": (lambda: nn.LSTMCell(3, 4), [(2, 3)]),
    "MultiheadAttention": (lambda: nn.MultiheadAttention(8, 2, batch_first=True), [(2, 4, 8)] * 3),
    "TransformerEncoder": (encoder, [(2, 4, 8)]),
    "Transformer": (lambda: nn.Transformer(8, 2, 1, 1, 16, batch_first=True), [(2, 4, 8), (2, 3, 8)]),
    "weight_norm": (lambda: parametrizations.weight_norm(nn.Linear(3, 4)), [(2, 3)]),
    "spectral_norm": (lambda: parametrizations.spectral_norm(nn.Linear(3, 4)), [(2, 3)]),
}


@pytest.mark.parametrize("name", list(LAYERS))
def test_layer_exports_at_any_batch(name):
    make, shapes = LAYERS[name]
    names = [f"x{number}" for number in range(len(shapes))]
    dynamic = {input_name: {0: "batch"} for input_name in names}
    exported = penlight_export.export(make().eval(), tuple(draws(*s) for s in shapes), names=names, dynamic=dynamic)
    assert exported.report.ok
    assert exported.refusal is None
    assert {row.engine for row in exported.report.rows} >= {"onnxruntime"}


def test_bags_of_embeddings_export_at_any_batch():
    indices = pl.tensor(np.array([[0, 1], [2, 4], [1, 1]]))
    for mode in ("sum", "mean", "max"):
        exported = penlight_export.export(
            nn.EmbeddingBag(5, 3, mode=mode, padding_idx=1).eval(), (indices,), names=["i"], dynamic={"i": {0: "batch"}}
        )
        assert exported.report.ok

# SPDX-License-Identifier: Apache-2.0
"""Weights in the layouts of torchvision and Hugging Face load, and give the outputs of PyTorch."""

import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

import penlight as pl
from penlight.models import BertModel, resnet18, resnet34

torch = pytest.importorskip("torch")
from torch_models import ResNet18, bert, bert_weights, randomise_statistics  # noqa: E402  needs torch

TOLERANCE = 1e-4  # of the issue; both sum in float32, in another order


def test_resnet18_in_torchvisions_layout(tmp_path):
    torch.manual_seed(0)
    reference = ResNet18().eval()
    randomise_statistics(reference)
    torch.save(reference.state_dict(), tmp_path / "resnet18.pth")
    model = resnet18()
    model.load_state_dict(pl.load(tmp_path / "resnet18.pth"))
    model.eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad(), pl.no_grad():
        expected, got = reference(x).numpy(), model(pl.from_numpy(x.numpy())).numpy()
    assert expected.shape == (2, 1000) and np.abs(expected).max() > 0.1
    np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCE)


def test_bert_in_hugging_faces_layout(tmp_path):
    torch.manual_seed(1)
    weights = bert_weights(vocabulary=97, size=48, layers=3, intermediate=80, positions=32)
    safetensors_numpy.save_file({name: value.numpy() for name, value in weights.items()}, tmp_path / "model.safetensors")
    model = BertModel(97, size=48, layers=3, heads=4, intermediate=80, positions=32)
    model.load_state_dict(pl.load(tmp_path / "model.safetensors"))
    model.eval()
    ids, types = torch.randint(0, 97, (3, 11)), torch.randint(0, 2, (3, 11))
    mask = torch.ones(3, 11, dtype=torch.int64)
    mask[1, 7:] = 0
    with pl.no_grad():
        hidden, summary = model(*(pl.from_numpy(t.numpy()) for t in (ids, mask, types)))
    expected = bert(weights, 3, 4, ids, mask, types)
    np.testing.assert_allclose(summary.numpy(), expected[1].numpy(), rtol=0, atol=TOLERANCE)
    real = mask.numpy().astype(bool)  # what stands at padding is of no meaning
    np.testing.assert_allclose(hidden.numpy()[real], expected[0].numpy()[real], rtol=0, atol=TOLERANCE)


def test_parameter_counts_are_the_published_ones():
    assert sum(p.numel() for p in resnet18().parameters()) == 11_689_512
    assert sum(p.numel() for p in resnet34().parameters()) == 21_797_672
    assert sum(p.numel() for p in BertModel().parameters()) == 109_482_240


def test_bert_refuses_heads_that_do_not_divide():
    with pytest.raises(ValueError, match="heads=5 must divide size=48"):
        BertModel(10, size=48, heads=5)

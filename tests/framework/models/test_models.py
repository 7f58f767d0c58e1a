# SPDX-License-Identifier: Apache-2.0
"""The models: shapes, and the causality of the language model."""

import numpy as np
import pytest

import penlight as pl
from penlight.models import CharGPT, DigitsCNN, MnistCNN


@pytest.mark.parametrize(("model", "size"), [(DigitsCNN, 8), (MnistCNN, 28)])
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_image_models(model, size, batch):
    assert model().eval()(pl.zeros(batch, 1, size, size)).shape == (batch, 10)


def test_gpt_sees_only_the_past():
    pl.manual_seed(0)
    model = CharGPT(11, context=6, size=16, layers=2, heads=2).eval()
    ids = np.arange(12).reshape(2, 6) % 11
    changed = ids.copy()
    changed[:, 4] += 1
    before, after = (model(pl.tensor(x % 11)).detach().numpy() for x in (ids, changed))
    assert before.shape == (2, 6, 11)
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    assert not np.allclose(before[:, 4:], after[:, 4:])
    np.testing.assert_allclose(model(pl.tensor(ids[:, :3])).detach().numpy(), before[:, :3], rtol=1e-5, atol=1e-6)


def test_gpt_equals_torch():
    """The same network in PyTorch's modules, with our weights."""
    torch = pytest.importorskip("torch")
    pl.manual_seed(1)
    model = CharGPT(11, context=6, size=16, layers=2, heads=2).eval()
    state = {name: torch.tensor(value.numpy()) for name, value in model.state_dict().items()}
    ids = np.random.default_rng(0).integers(11, size=(3, 5))
    functional = torch.nn.functional

    def norm(x, name):
        return functional.layer_norm(x, (16,), state[f"{name}.weight"], state[f"{name}.bias"])

    def linear(x, name):
        return functional.linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))

    x = state["token.weight"][torch.tensor(ids)] + state["position.weight"][:5]
    for block in ("blocks.0", "blocks.1"):
        q, k, v = linear(norm(x, f"{block}.norm1"), f"{block}.qkv").view(3, 5, 3, 2, 8).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + linear(mixed.transpose(1, 2).reshape(3, 5, 16), f"{block}.proj")
        x = x + linear(functional.gelu(linear(norm(x, f"{block}.norm2"), f"{block}.up")), f"{block}.down")
    expected = linear(norm(x, "norm"), "head").numpy()
    np.testing.assert_allclose(model(pl.tensor(ids)).detach().numpy(), expected, rtol=1e-4, atol=1e-5)

# SPDX-License-Identifier: Apache-2.0
"""Parametrized weights: names, values and gradients against PyTorch's."""

import numpy as np
import pytest

import penlight as pl
from penlight.nn.utils import parametrizations, parametrize

torch = pytest.importorskip("torch")
from torch.nn.utils import parametrizations as torch_parametrizations  # noqa: E402  importable only where torch is

LAYERS = [("Linear", (3, 4), (5, 3)), ("Conv2d", (3, 4, 2), (2, 3, 5, 5)), ("ConvTranspose1d", (3, 4, 3), (2, 3, 6))]


@pytest.mark.parametrize(("name", "sizes", "shape"), LAYERS)
@pytest.mark.parametrize("kind", ["weight_norm", "spectral_norm"])
@pytest.mark.parametrize("training", [True, False])
def test_outputs_and_gradients_equal_torch(name, sizes, shape, kind, training):
    torch.manual_seed(0)
    theirs = getattr(torch_parametrizations, kind)(getattr(torch.nn, name)(*sizes).double()).train(training)
    ours = getattr(parametrizations, kind)(getattr(pl.nn, name)(*sizes).to(pl.float64)).train(training)
    state = {key: value.numpy().copy() for key, value in theirs.state_dict().items()}
    assert set(ours.state_dict()) == set(state)
    ours.load_state_dict(state)
    x = np.random.default_rng(0).standard_normal(shape)
    a, b = theirs(torch.tensor(x)), ours(pl.tensor(x))
    np.testing.assert_allclose(b.detach().numpy(), a.detach().numpy(), rtol=1e-9, atol=1e-12)
    (a**2).sum().backward()
    (b**2).sum().backward()
    gradients = dict(ours.named_parameters())
    for key, parameter in theirs.named_parameters():
        np.testing.assert_allclose(gradients[key].grad.numpy(), parameter.grad.numpy(), rtol=1e-8, atol=1e-10, err_msg=key)


class Symmetric(pl.nn.Module):
    def forward(self, x):
        return x.triu() + x.triu(1).transpose(0, 1)


def test_a_parametrization_of_ones_own_and_its_removal():
    pl.manual_seed(0)
    layer = pl.nn.Linear(4, 4)
    before = layer.weight.detach().clone()
    parametrize.register_parametrization(layer, "weight", Symmetric())
    assert parametrize.is_parametrized(layer, "weight")
    assert list(layer.state_dict()) == ["bias", "parametrizations.weight.original"]
    value = layer.weight
    np.testing.assert_array_equal(value.detach().numpy(), value.detach().numpy().T)
    np.testing.assert_array_equal(layer.parametrizations.weight.original.detach().numpy(), before.numpy())
    with parametrize.cached():
        assert layer.weight is layer.weight
    parametrize.remove_parametrizations(layer, "weight")
    assert type(layer) is pl.nn.Linear
    assert isinstance(layer.weight, pl.nn.Parameter)
    np.testing.assert_array_equal(layer.weight.detach().numpy(), value.detach().numpy())


@pytest.mark.parametrize("sizes", [(3, 5), (5, 3), (4, 4)])
def test_orthogonal_stays_orthogonal_while_it_learns(sizes):
    pl.manual_seed(0)
    layer = parametrizations.orthogonal(pl.nn.Linear(*sizes, bias=False))
    optimizer = pl.optim.SGD(layer.parameters(), lr=0.5)
    start = layer.weight.detach().numpy().copy()
    for _ in range(3):
        optimizer.zero_grad()
        (layer.weight**3).sum().backward()
        optimizer.step()
    w = layer.weight.detach().numpy()
    small = w @ w.T if w.shape[0] < w.shape[1] else w.T @ w
    np.testing.assert_allclose(small, np.eye(len(small)), atol=1e-5)
    assert abs(w - start).max() > 1e-3


def test_what_does_not_fit_is_refused():
    layer = pl.nn.Linear(3, 4)
    with pytest.raises(ValueError, match="no parameter or buffer 'weights'"):
        parametrize.register_parametrization(layer, "weights", Symmetric())
    with pytest.raises(ValueError, match="pass unsafe=True"):
        parametrize.register_parametrization(layer, "weight", pl.nn.Flatten(0))
    with pytest.raises(ValueError, match="has no parametrization on 'bias'"):
        parametrize.remove_parametrizations(layer, "bias")

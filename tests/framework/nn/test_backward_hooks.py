# SPDX-License-Identifier: Apache-2.0
"""Backward hooks of modules, vectors of parameters and folded batch norms."""

import numpy as np
import pytest

import penlight as pl
from penlight import nn

torch = pytest.importorskip("torch")


def layers():
    theirs, ours = torch.nn.Bilinear(3, 4, 2).double(), nn.Bilinear(3, 4, 2).double()
    ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    return theirs, ours


def test_a_hook_sees_and_changes_gradients_as_in_torch():
    rng = np.random.default_rng(0)
    arrays = rng.standard_normal((5, 3)), rng.standard_normal((5, 4))
    seen, results = [], []
    for library, layer in zip((torch, pl), layers(), strict=True):

        def hook(module, grad_input, grad_output):
            seen.append([g.numpy().copy() for g in (*grad_input, *grad_output)])
            return tuple(g * 2 for g in grad_input)

        handle = layer.register_full_backward_hook(hook)
        inputs = [library.tensor(array.copy()).requires_grad_() for array in arrays]
        (layer(*inputs) ** 2).sum().backward()
        handle.remove()
        results.append([x.grad.numpy() for x in inputs] + [p.grad.numpy() for p in layer.parameters()])
    assert len(seen) == 2
    for theirs, ours in zip(seen[0] + results[0], seen[1] + results[1], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_a_hook_of_a_first_layer_runs_once():
    calls = []
    layer = nn.Linear(3, 2)
    layer.register_full_backward_hook(lambda module, grad_input, grad_output: calls.append((grad_input, grad_output)))
    layer(pl.ones(4, 3)).sum().backward()
    assert len(calls) == 1
    assert calls[0][0] == ()
    np.testing.assert_array_equal(calls[0][1][0].numpy(), np.ones((4, 2)))
    assert layer.weight.grad is not None


def test_vectors():
    layer = nn.Linear(2, 3)
    vector = nn.utils.parameters_to_vector(layer.parameters())
    assert vector.shape == (9,)
    nn.utils.vector_to_parameters(vector.detach() * 2, layer.parameters())
    np.testing.assert_allclose(nn.utils.parameters_to_vector(layer.parameters()).detach().numpy(), vector.detach().numpy() * 2)
    with pytest.raises(ValueError, match=r"expected \(9,\)"):
        nn.utils.vector_to_parameters(pl.zeros(8), layer.parameters())


@pytest.mark.parametrize(
    ("first", "norm", "shape"),
    [
        (nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), (2, 3, 6, 6)),
        (nn.ConvTranspose2d(3, 4, 3), nn.BatchNorm2d(4, affine=False), (2, 3, 6, 6)),
        (nn.Linear(3, 4), nn.BatchNorm1d(4), (5, 3)),
    ],
)
def test_a_folded_norm_changes_nothing(first, norm, shape):
    x = pl.tensor(np.random.default_rng(0).standard_normal(shape).astype(np.float32))
    model = nn.Sequential(first, norm)
    for _ in range(3):
        model(x)
    model.eval()
    if isinstance(first, nn.Linear):
        fused = nn.utils.fuse_linear_bn_eval(first, norm)
    else:
        fused = nn.utils.fuse_conv_bn_eval(first, norm, transpose=isinstance(first, nn.ConvTranspose2d))
    np.testing.assert_allclose(fused(x).detach().numpy(), model(x).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_paths_and_casts():
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).half()
    assert net.get_parameter("0.weight").dtype is pl.float16
    assert net.double().get_buffer("1.running_mean").dtype is pl.float64
    with pytest.raises(AttributeError, match="no parameter 'weights'; it has weight, bias"):
        net.get_parameter("0.weights")

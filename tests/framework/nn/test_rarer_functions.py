# SPDX-License-Identifier: Apache-2.0
"""Functions that few networks use, against PyTorch; and the older names of weight norm in files."""

import numpy as np
import pytest

import penlight as pl
import penlight.nn.functional as F
from penlight import nn
from penlight.errors import ArgumentError, InPlaceError, ShapeError

torch = pytest.importorskip("torch")


def both(*shape, seed=0):
    array = np.random.default_rng(seed).normal(size=shape)
    return pl.tensor(array, requires_grad=True), torch.tensor(array, requires_grad=True)


@pytest.mark.filterwarnings("ignore:Since version 1.3.0, affine_grid:UserWarning")
@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize(("theta", "size"), [((2, 2, 3), (2, 3, 4, 5)), ((1, 3, 4), (1, 1, 2, 3, 4)), ((1, 2, 3), (1, 1, 1, 4))])
def test_affine_grid(theta, size, corners):
    ours, theirs = both(*theta)
    came, expected = F.affine_grid(ours, size, corners), torch.nn.functional.affine_grid(theirs, size, align_corners=corners)
    np.testing.assert_allclose(came.detach().numpy(), expected.detach().numpy(), atol=1e-12)
    came.square().sum().backward()
    expected.square().sum().backward()
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), atol=1e-10)
    with pytest.raises(ShapeError, match=r"affine_grid: for size \(2, 1, 3, 3\) expected theta \(2, 2, 3\)"):
        F.affine_grid(pl.ones(2, 3, 3), (2, 1, 3, 3))


def test_gumbel_softmax_samples_the_categories():
    pl.manual_seed(0)
    p = np.array([0.2, 0.5, 0.3])
    hard = F.gumbel_softmax(pl.tensor(np.log(p)).expand(20_000, 3), hard=True)
    np.testing.assert_allclose(hard.numpy().mean(0), p, atol=0.015)
    logits = pl.randn(4, 3, 2, requires_grad=True)
    soft = F.gumbel_softmax(logits, tau=0.5, dim=1)
    np.testing.assert_allclose(soft.detach().numpy().sum(1), 1, rtol=1e-6)
    one_hot = F.gumbel_softmax(logits, hard=True, dim=1)
    assert set(np.round(one_hot.detach().numpy(), 6).reshape(-1)) == {0.0, 1.0}
    (one_hot * pl.randn(4, 3, 2)).sum().backward()
    assert np.abs(logits.grad.numpy()).max() > 0
    assert (
        F.gumbel_softmax(logits, generator=pl.Generator(1)).tolist() == F.gumbel_softmax(logits, generator=pl.Generator(1)).tolist()
    )
    with pytest.raises(ArgumentError, match="tau"):
        F.gumbel_softmax(logits, tau=0)


@pytest.mark.parametrize("name", ["celu_", "elu_", "hardtanh_", "leaky_relu_", "relu_", "rrelu_", "selu_"])
def test_activations_in_place(name):
    (ours, ours_leaf), (theirs, theirs_leaf) = [(leaf * 2, leaf) for leaf in both(3, 4)]
    came, expected = getattr(F, name)(ours), getattr(torch.nn.functional, name)(theirs)
    assert came is ours
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), atol=1e-12)
    came.square().sum().backward()
    expected.square().sum().backward()
    np.testing.assert_allclose(ours_leaf.grad.numpy(), theirs_leaf.grad.numpy(), atol=1e-10)
    with pytest.raises(InPlaceError):
        getattr(F, name)(ours_leaf)


def test_threshold_in_place():
    x = pl.tensor([-1.0, 2.0])
    assert F.threshold_(x, 0.5, 7.0) is x
    assert x.tolist() == [7.0, 2.0]


def test_conv_tbc():
    (x, tx), (w, tw), (b, tb) = both(7, 2, 3), both(3, 3, 4, seed=1), both(4, seed=2)
    expected = torch.nn.functional.conv_tbc(tx, tw, tb, 1)
    np.testing.assert_allclose(F.conv_tbc(x, w, b, 1).detach().numpy(), expected.detach().numpy(), atol=1e-12)


@pytest.mark.parametrize(("name", "argument", "shape"), [
    ("max_pool1d", 2, (1, 2, 8)), ("max_pool2d", 2, (1, 2, 4, 4)), ("max_pool3d", 2, (1, 1, 4, 4, 4)),
    ("adaptive_max_pool1d", 3, (1, 2, 8)), ("adaptive_max_pool2d", 3, (1, 2, 5, 5)), ("adaptive_max_pool3d", 2, (1, 1, 4, 4, 4)),
])  # fmt: skip
def test_pools_with_indices(name, argument, shape):
    ours, theirs = both(*shape)
    came = getattr(F, f"{name}_with_indices")(ours, argument)
    expected = getattr(torch.nn.functional, f"{name}_with_indices")(theirs, argument)
    np.testing.assert_array_equal(came[0].detach().numpy(), expected[0].detach().numpy())
    np.testing.assert_array_equal(came[1].numpy(), expected[1].numpy())


def test_upsample_is_interpolate():
    x = pl.randn(1, 2, 3, 3)
    assert F.upsample(x, scale_factor=2).tolist() == F.interpolate(x, scale_factor=2).tolist()


@pytest.mark.parametrize("transpose", [False, True])
def test_fused_weights(transpose):
    kind = nn.ConvTranspose2d if transpose else nn.Conv2d
    conv, norm = kind(2, 3, 3), nn.BatchNorm2d(3)
    norm.running_mean.copy_(pl.randn(3))
    norm.weight.data.copy_(pl.rand(3) + 0.5)
    weights = nn.utils.fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias, transpose
    )
    x = pl.randn(1, 2, 5, 5)
    expected = norm.eval()(conv(x)).detach().numpy()
    conv.weight, conv.bias = weights
    np.testing.assert_allclose(conv(x).detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_gradients_scaled_by_a_known_norm():
    parameter = nn.Parameter(pl.zeros(2))
    parameter.grad = pl.tensor([3.0, 4.0])
    nn.utils.clip_grads_with_norm_(parameter, 10.0, 5.0)
    assert parameter.grad.tolist() == [3.0, 4.0]
    nn.utils.clip_grads_with_norm_(parameter, 1.0, pl.tensor(5.0))
    np.testing.assert_allclose(parameter.grad.numpy(), [0.6, 0.8], rtol=1e-5)


def test_unpack_sequence_and_invert_permutation():
    rnn = nn.utils.rnn
    sequences = [pl.randn(length, 2) for length in (2, 4, 1)]
    packed = rnn.pack_sequence(sequences, enforce_sorted=False)
    assert [s.tolist() for s in rnn.unpack_sequence(packed)] == [s.tolist() for s in sequences]
    assert rnn.invert_permutation(pl.tensor([2, 0, 1])).tolist() == [1, 2, 0]
    assert rnn.invert_permutation(None) is None


def test_a_buffer_registers_itself():
    module = nn.Module()
    module.kept, module.scratch = nn.Buffer(pl.ones(2)), nn.Buffer(pl.ones(3), persistent=False)
    assert [name for name, _ in module.named_buffers()] == ["kept", "scratch"]
    assert list(module.state_dict()) == ["kept"]
    assert not list(module.parameters())


def test_weight_norm_reads_pytorchs_older_names():
    with pytest.warns(FutureWarning):
        theirs = torch.nn.Sequential(torch.nn.utils.weight_norm(torch.nn.Linear(3, 2)))
    ours = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)))
    ours.load_state_dict({name: value.numpy() for name, value in theirs.state_dict().items()})
    x = np.ones((1, 3), np.float32)
    np.testing.assert_allclose(ours(pl.tensor(x)).detach().numpy(), theirs(torch.tensor(x)).detach().numpy(), rtol=1e-5)


def test_one_cycle_moves_the_momentum_as_in_pytorch():
    def betas(framework):
        optimizer = framework.optim.AdamW([framework.ones(1, requires_grad=True)], lr=0.1)
        schedule = framework.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, 10)
        found = []
        for _ in range(9):
            found.append(optimizer.param_groups[0]["betas"][0])
            optimizer.step()
            schedule.step()
        return found

    np.testing.assert_allclose(betas(pl), betas(torch), rtol=1e-12)

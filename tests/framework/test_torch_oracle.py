# SPDX-License-Identifier: Apache-2.0
"""The public functions against PyTorch: values, gradients, promotion, on the same inputs."""

import numpy as np
import pytest

import penlight as pl
from penlight.nn import functional as F

torch = pytest.importorskip("torch")
TF = torch.nn.functional


def floats(*shape, seed=0, low=-2.0, high=2.0):
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def indices(*shape, high, seed=0):
    return np.random.default_rng(seed).integers(0, high, shape)


X34, X34B, X4 = floats(3, 4), floats(3, 4, seed=1), floats(4, seed=2)
X234 = floats(2, 3, 4, seed=3)
IMAGE = floats(2, 4, 9, 7, seed=4)
CLASSES = indices(3, high=4)

# name: (our function, theirs, inputs); floating-point inputs get gradients on both sides
CASES = {
    "add_alpha": (lambda a, b: pl.add(a, b, alpha=2), lambda a, b: torch.add(a, b, alpha=2), [X34, X4]),
    "rsub": (lambda a: 1 - a, lambda a: 1 - a, [X34]),
    "rdiv": (lambda a: 1 / a, lambda a: 1 / a, [X34]),
    "rpow": (lambda a: 2**a, lambda a: 2**a, [X34]),
    "pow_int": (lambda a: a**3, lambda a: a**3, [X34]),
    "pow_zero": (lambda a: a**0, lambda a: a**0, [X34]),
    "pow_tensor": (lambda a, b: a.abs() ** b, lambda a, b: a.abs() ** b, [X34, X34B]),
    "mod": (lambda a: a % 0.7, lambda a: a % 0.7, [X34]),
    "floor_divide": (lambda a: (a.detach() * 3) // 0.7, lambda a: (a.detach() * 3) // 0.7, [X34]),
    "clamp": (lambda a: a.clamp(-1, 1), lambda a: a.clamp(-1, 1), [X34]),
    "clamp_tensor": (lambda a, b: a.clamp(min=b), lambda a, b: a.clamp(min=b), [X34, X34B]),
    "maximum": (pl.maximum, torch.maximum, [X34, X34B]),
    "where": (lambda a, b: pl.where(a > b, a, b * 2), lambda a, b: torch.where(a > b, a, b * 2), [X34, X34B]),
    "abs": (lambda a: abs(a), lambda a: abs(a), [X34]),
    "square": (pl.square, torch.square, [X34]),
    "sum_dims": (lambda a: a.sum((0, 2)), lambda a: a.sum((0, 2)), [X234]),
    "mean_keep": (lambda a: a.mean(1, keepdim=True), lambda a: a.mean(1, keepdim=True), [X234]),
    "var": (lambda a: a.var(1), lambda a: a.var(1), [X234]),
    "var_biased": (lambda a: a.var(1, unbiased=False), lambda a: a.var(1, unbiased=False), [X234]),
    "std": (lambda a: a.std(-1), lambda a: a.std(-1), [X234]),
    "max_dim": (lambda a: a.max(1)[0], lambda a: a.max(1)[0], [X234]),
    "min_index": (lambda a: a.min(2)[1], lambda a: a.min(2)[1], [X234]),
    "max_all": (lambda a: a.max(), lambda a: a.max(), [X234]),
    "amax_ties": (lambda a: (a * 0).amax(1), lambda a: (a * 0).amax(1), [X34]),
    "prod_zero": (
        lambda a: (a * pl.tensor([0.0, 1.0, 2.0, 3.0])).prod(1),
        lambda a: (a * torch.tensor([0.0, 1, 2, 3])).prod(1),
        [X34],
    ),
    "argmax": (lambda a: a.argmax(), lambda a: a.argmax(), [X34]),
    "cumsum": (lambda a: a.cumsum(1), lambda a: a.cumsum(1), [X34]),
    "logsumexp": (lambda a: a.logsumexp(1), lambda a: a.logsumexp(1), [X34]),
    "reshape": (lambda a: a.reshape(4, -1), lambda a: a.reshape(4, -1), [X234]),
    "flatten": (lambda a: a.flatten(1), lambda a: a.flatten(1), [X234]),
    "unflatten": (lambda a: a.unflatten(2, (2, -1)), lambda a: a.unflatten(2, (2, -1)), [X234]),
    "permute": (lambda a: a.permute(2, 0, 1) * 2, lambda a: a.permute(2, 0, 1) * 2, [X234]),
    "transpose": (lambda a: a.transpose(-1, 0), lambda a: a.transpose(-1, 0), [X234]),
    "mT": (lambda a: a.mT, lambda a: a.mT, [X234]),
    "expand": (lambda a: a.expand(2, -1, 4), lambda a: a.expand(2, -1, 4), [floats(3, 1)]),
    "squeeze": (lambda a: a.squeeze(), lambda a: a.squeeze(), [floats(1, 3, 1)]),
    "unsqueeze": (lambda a: a.unsqueeze(-1), lambda a: a.unsqueeze(-1), [X34]),
    "cat": (lambda a, b: pl.cat([a, b], -1), lambda a, b: torch.cat([a, b], -1), [X34, X34B]),
    "stack": (lambda a, b: pl.stack([a, b], -1), lambda a, b: torch.stack([a, b], -1), [X34, X34B]),
    "split": (lambda a: a.split(2, 1)[1] * 3, lambda a: a.split(2, 1)[1] * 3, [X234]),
    "split_sizes": (lambda a: a.split([1, 3], 2)[1], lambda a: a.split([1, 3], 2)[1], [X234]),
    "chunk": (lambda a: a.chunk(3, 2)[0], lambda a: a.chunk(3, 2)[0], [X234]),
    "unbind": (lambda a: a.unbind(1)[1], lambda a: a.unbind(1)[1], [X234]),
    "flip": (lambda a: a.flip(0, 2), lambda a: a.flip(0, 2), [X234]),
    "roll": (lambda a: a.roll(2, 1), lambda a: a.roll(2, 1), [X34]),
    "repeat": (lambda a: a.repeat(2, 1, 3), lambda a: a.repeat(2, 1, 3), [X34]),
    "narrow": (lambda a: a.narrow(1, 1, 2), lambda a: a.narrow(1, 1, 2), [X34]),
    "pad": (lambda a: F.pad(a, (1, 2, -1, 1), value=3.0), lambda a: TF.pad(a, (1, 2, -1, 1), value=3.0), [X34]),
    "tril": (lambda a: a.tril(-1), lambda a: a.tril(-1), [X34]),
    "matmul_vec": (lambda a, b: a @ b, lambda a, b: a @ b, [X234, X4]),
    "vec_matmul": (lambda a, b: b @ a, lambda a, b: b @ a, [floats(2, 4, 3), X4]),
    "dot": (lambda a, b: a @ b, lambda a, b: a @ b, [X4, floats(4, seed=9)]),
    "bmm": (lambda a, b: a @ b, lambda a, b: a @ b, [X234, floats(2, 4, 5, seed=7)]),
    "einsum": (
        lambda a, b: pl.einsum("bij,bkj->bik", a, b),
        lambda a, b: torch.einsum("bij,bkj->bik", a, b),
        [X234, floats(2, 5, 4, seed=7)],
    ),
    "einsum_sum": (lambda a, b: pl.einsum("ij,ij->", a, b), lambda a, b: torch.einsum("ij,ij->", a, b), [X34, X34B]),
    "einsum_one": (lambda a: pl.einsum("bij->jb", a), lambda a: torch.einsum("bij->jb", a), [X234]),
    "outer": (pl.outer, torch.outer, [X4, floats(3)]),
    "linear": (F.linear, TF.linear, [X234, floats(5, 4, seed=7), floats(5, seed=8)]),
    "gather": (
        lambda a: a.gather(1, pl.tensor([[0, 3], [1, 1], [2, 0]])),
        lambda a: a.gather(1, torch.tensor([[0, 3], [1, 1], [2, 0]])),
        [X34],
    ),
    "index_select": (
        lambda a: a.index_select(1, pl.tensor([0, 0, 3])),
        lambda a: a.index_select(1, torch.tensor([0, 0, 3])),
        [X34],
    ),
    "masked_fill": (lambda a: a.masked_fill(a > 0, 7.0), lambda a: a.masked_fill(a > 0, 7.0), [X34]),
    "masked_select": (lambda a: a.masked_select(a > 0), lambda a: a.masked_select(a > 0), [X34]),
    "sort": (lambda a: a.sort(1, descending=True)[0], lambda a: a.sort(1, descending=True)[0], [X34]),
    "topk": (lambda a: a.topk(2, 0)[0], lambda a: a.topk(2, 0)[0], [X34]),
    "softmax": (lambda a: F.softmax(a, 0), lambda a: TF.softmax(a, 0), [X34]),
    "log_softmax": (lambda a: F.log_softmax(a, -1), lambda a: TF.log_softmax(a, -1), [X234]),
    "relu": (F.relu, TF.relu, [X34]),
    "relu6": (lambda a: F.relu6(a * 5), lambda a: TF.relu6(a * 5), [X34]),
    "leaky_relu": (lambda a: F.leaky_relu(a, 0.2), lambda a: TF.leaky_relu(a, 0.2), [X34]),
    "gelu": (F.gelu, TF.gelu, [X34 * 3]),
    "gelu_tanh": (lambda a: F.gelu(a, approximate="tanh"), lambda a: TF.gelu(a, approximate="tanh"), [X34 * 3]),
    "silu": (F.silu, TF.silu, [X34]),
    "mish": (F.mish, TF.mish, [X34]),
    "elu": (lambda a: F.elu(a, 0.5), lambda a: TF.elu(a, 0.5), [X34]),
    "softplus": (lambda a: F.softplus(a * 20), lambda a: TF.softplus(a * 20), [X34]),
    "hardswish": (lambda a: F.hardswish(a * 3), lambda a: TF.hardswish(a * 3), [X34]),
    "hardsigmoid": (lambda a: F.hardsigmoid(a * 3), lambda a: TF.hardsigmoid(a * 3), [X34]),
    "sigmoid": (pl.sigmoid, torch.sigmoid, [X34 * 30]),
    "tanh": (pl.tanh, torch.tanh, [X34]),
    "conv2d": (
        lambda x, w, b: F.conv2d(x, w, b, stride=2, padding=(1, 2), dilation=2),
        lambda x, w, b: TF.conv2d(x, w, b, stride=2, padding=(1, 2), dilation=2),
        [IMAGE, floats(6, 4, 3, 2, seed=5), floats(6, seed=6)],
    ),
    "conv2d_groups": (
        lambda x, w: F.conv2d(x, w, groups=2),
        lambda x, w: TF.conv2d(x, w, groups=2),
        [IMAGE, floats(6, 2, 3, 3, seed=5)],
    ),
    "conv2d_depthwise": (
        lambda x, w: F.conv2d(x, w, padding=1, groups=4),
        lambda x, w: TF.conv2d(x, w, padding=1, groups=4),
        [IMAGE, floats(8, 1, 3, 3, seed=5)],
    ),
    "conv2d_same": (
        lambda x, w: F.conv2d(x, w, padding="same"),
        lambda x, w: TF.conv2d(x, w, padding="same"),
        [IMAGE, floats(2, 4, 3, 2, seed=5)],
    ),
    "conv2d_unbatched": (lambda x, w: F.conv2d(x, w), lambda x, w: TF.conv2d(x, w), [IMAGE[0], floats(2, 4, 3, 3, seed=5)]),
    "conv1d": (
        lambda x, w, b: F.conv1d(x, w, b, stride=2, padding=1),
        lambda x, w, b: TF.conv1d(x, w, b, stride=2, padding=1),
        [floats(2, 3, 9), floats(5, 3, 4, seed=5), floats(5, seed=6)],
    ),
    "conv_transpose2d": (
        lambda x, w, b: F.conv_transpose2d(x, w, b, stride=2, padding=1, output_padding=1, groups=2),
        lambda x, w, b: TF.conv_transpose2d(x, w, b, stride=2, padding=1, output_padding=1, groups=2),
        [IMAGE, floats(4, 3, 3, 3, seed=5), floats(6, seed=6)],
    ),
    "max_pool2d": (lambda x: F.max_pool2d(x, 3, 2, 1), lambda x: TF.max_pool2d(x, 3, 2, 1), [IMAGE]),
    "max_pool2d_ceil": (lambda x: F.max_pool2d(x, 2, ceil_mode=True), lambda x: TF.max_pool2d(x, 2, ceil_mode=True), [IMAGE]),
    "max_pool2d_dilated": (lambda x: F.max_pool2d(x, 2, 1, dilation=3), lambda x: TF.max_pool2d(x, 2, 1, dilation=3), [IMAGE]),
    "avg_pool2d": (lambda x: F.avg_pool2d(x, 3, 2, 1), lambda x: TF.avg_pool2d(x, 3, 2, 1), [IMAGE]),
    "avg_pool2d_ceil": (
        lambda x: F.avg_pool2d(x, 2, 2, 1, ceil_mode=True),
        lambda x: TF.avg_pool2d(x, 2, 2, 1, ceil_mode=True),
        [IMAGE],
    ),
    "avg_pool2d_exclude": (
        lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
        lambda x: TF.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
        [IMAGE],
    ),
    "adaptive_avg_pool2d": (lambda x: F.adaptive_avg_pool2d(x, (4, 3)), lambda x: TF.adaptive_avg_pool2d(x, (4, 3)), [IMAGE]),
    "adaptive_avg_pool2d_one": (lambda x: F.adaptive_avg_pool2d(x, 1), lambda x: TF.adaptive_avg_pool2d(x, 1), [IMAGE]),
    "adaptive_avg_pool2d_even": (
        lambda x: F.adaptive_avg_pool2d(x, (3, None)),
        lambda x: TF.adaptive_avg_pool2d(x, (3, None)),
        [IMAGE],
    ),
    "layer_norm": (
        lambda x, w, b: F.layer_norm(x, (3, 4), w, b),
        lambda x, w, b: TF.layer_norm(x, (3, 4), w, b),
        [X234, X34, X34B],
    ),
    "rms_norm": (lambda x, w: F.rms_norm(x, 4, w), lambda x, w: TF.rms_norm(x, (4,), w), [X234, X4]),
    "group_norm": (
        lambda x, w, b: F.group_norm(x, 2, w, b),
        lambda x, w, b: TF.group_norm(x, 2, w, b),
        [IMAGE, floats(4, seed=5), floats(4, seed=6)],
    ),
    "batch_norm_eval": (
        lambda x, m, v, w, b: F.batch_norm(x, m, v, w, b),
        lambda x, m, v, w, b: TF.batch_norm(x, m.detach(), v.detach(), w, b),
        [IMAGE, floats(4, seed=5), floats(4, seed=6, low=0.5), floats(4, seed=7), floats(4, seed=8)],
    ),
    "embedding": (
        lambda w: F.embedding(pl.tensor([[0, 2], [2, 1]]), w, padding_idx=1),
        lambda w: TF.embedding(torch.tensor([[0, 2], [2, 1]]), w, padding_idx=1),
        [X34],
    ),
    "cross_entropy": (
        lambda x: F.cross_entropy(x, pl.tensor(CLASSES)),
        lambda x: TF.cross_entropy(x, torch.tensor(CLASSES)),
        [X34],
    ),
    "cross_entropy_smooth": (
        lambda x: F.cross_entropy(x, pl.tensor(CLASSES), ignore_index=int(CLASSES[0]), label_smoothing=0.1, reduction="sum"),
        lambda x: TF.cross_entropy(x, torch.tensor(CLASSES), ignore_index=int(CLASSES[0]), label_smoothing=0.1, reduction="sum"),
        [X34],
    ),
    "cross_entropy_weight": (
        lambda x, w: F.cross_entropy(x, pl.tensor(CLASSES), w.detach().abs(), label_smoothing=0.2),
        lambda x, w: TF.cross_entropy(x, torch.tensor(CLASSES), w.detach().abs(), label_smoothing=0.2),
        [X34, X4],
    ),
    "cross_entropy_soft": (
        lambda x, y: F.cross_entropy(x, y.softmax(1)),
        lambda x, y: TF.cross_entropy(x, y.softmax(1)),
        [X34, X34B],
    ),
    "cross_entropy_images": (
        lambda x: F.cross_entropy(x, pl.tensor(indices(2, 9, 7, high=4)), reduction="none"),
        lambda x: TF.cross_entropy(x, torch.tensor(indices(2, 9, 7, high=4)), reduction="none"),
        [IMAGE],
    ),
    "nll_loss": (
        lambda x: F.nll_loss(F.log_softmax(x, 1), pl.tensor(CLASSES)),
        lambda x: TF.nll_loss(TF.log_softmax(x, 1), torch.tensor(CLASSES)),
        [X34],
    ),
    "mse_loss": (F.mse_loss, TF.mse_loss, [X34, X34B]),
    "l1_loss": (lambda a, b: F.l1_loss(a, b, reduction="sum"), lambda a, b: TF.l1_loss(a, b, reduction="sum"), [X34, X34B]),
    "smooth_l1_loss": (F.smooth_l1_loss, TF.smooth_l1_loss, [X34, X34B]),
    "bce_with_logits": (
        lambda a, b: F.binary_cross_entropy_with_logits(a * 20, b.sigmoid()),
        lambda a, b: TF.binary_cross_entropy_with_logits(a * 20, b.sigmoid()),
        [X34, X34B],
    ),
    "attention_causal": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        lambda q, k, v: TF.scaled_dot_product_attention(q, k, v, is_causal=True),
        [floats(2, 2, 5, 4), floats(2, 2, 5, 4, seed=1), floats(2, 2, 5, 3, seed=2)],
    ),
    "attention_mask": (
        lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, m, scale=0.3),
        lambda q, k, v, m: TF.scaled_dot_product_attention(q, k, v, m, scale=0.3),
        [floats(2, 2, 5, 4), floats(2, 2, 6, 4, seed=1), floats(2, 2, 6, 4, seed=2), floats(5, 6, seed=3)],
    ),
}


def ours(array):
    t = pl.tensor(array)
    return t.requires_grad_() if t.dtype.is_floating_point else t


def theirs(array):
    t = torch.tensor(array)
    return t.requires_grad_() if t.is_floating_point() else t


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name):
    mine, reference, arrays = CASES[name]
    a, b = [ours(x) for x in arrays], [theirs(x) for x in arrays]
    result, expected = mine(*a), reference(*b)
    assert tuple(result.shape) == tuple(expected.shape)
    assert result.dtype.name == str(expected.dtype).removeprefix("torch.")
    # both sides sum in float32 in their own order
    np.testing.assert_allclose(result.detach().numpy(), expected.detach().numpy(), rtol=2e-5, atol=2e-5)
    if not expected.requires_grad:
        assert not result.requires_grad
        return
    seed = floats(*expected.shape, seed=99)
    result.backward(pl.tensor(seed))
    expected.backward(torch.tensor(seed))
    for x, y in zip(a, b, strict=True):
        if y.grad is not None:
            np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-4, atol=5e-5)


def test_batch_norm_training_updates_its_statistics():
    states = [np.zeros(4, np.float32), np.ones(4, np.float32)]
    x, y = ours(IMAGE), theirs(IMAGE)
    mine, reference = [pl.tensor(s) for s in states], [torch.tensor(s) for s in states]
    result = F.batch_norm(x, *mine, training=True, momentum=0.3)
    expected = TF.batch_norm(y, *reference, training=True, momentum=0.3)
    np.testing.assert_allclose(result.detach().numpy(), expected.detach().numpy(), rtol=1e-5, atol=1e-5)
    for a, b in zip(mine, reference, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-6)
    (result * result * result).sum().backward()
    (expected * expected * expected).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-3, atol=1e-4)


DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"]


def pair_of(dtype, shape):
    return pl.ones(*shape).to(getattr(pl, dtype)), torch.ones(shape).to(getattr(torch, dtype))


@pytest.mark.parametrize("a", DTYPES)
@pytest.mark.parametrize("b", [*DTYPES, 1, 1.5, True])
@pytest.mark.parametrize("scalar_shape", [False, True])
def test_promotion(a, b, scalar_shape):
    x, tx = pair_of(a, (2,))
    y, ty = pair_of(b, () if scalar_shape else (2,)) if isinstance(b, str) else (b, b)
    assert (x * y).dtype.name == str((tx * ty).dtype).removeprefix("torch.")
    assert (y * x).dtype.name == str((ty * tx).dtype).removeprefix("torch.")
    if not (a == b == "bool" or (a == "bool" and b is True)):
        assert (x / y).dtype.name == str((tx / ty).dtype).removeprefix("torch.")
    assert (x == y).dtype is pl.bool


REDUCTIONS = ["sum", "prod", "argmax", "amax", "any", "cumsum", "mean"]


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64", "float32"])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_dtypes_of_reductions(name, dtype):
    if (name == "mean" and not dtype.startswith("float")) or (dtype == "bool" and name == "argmax"):
        pytest.skip("PyTorch refuses; ours converts to float32")
    if (name, dtype) == ("any", "uint8"):
        pytest.skip("PyTorch returns uint8 for the sake of old programs")
    x, tx = pair_of(dtype, (3,))
    arguments = (0,) if name == "cumsum" else ()
    assert getattr(x, name)(*arguments).dtype.name == str(getattr(tx, name)(*arguments).dtype).removeprefix("torch.")

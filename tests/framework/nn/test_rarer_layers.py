# SPDX-License-Identifier: Apache-2.0
"""Layers and functions that PyTorch's module table does not hold, against PyTorch: values and gradients in float64."""

import numpy as np
import pytest

import penlight as pl
import penlight.nn.functional as F

torch = pytest.importorskip("torch")
T = torch.nn.functional


def array(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def equal(theirs, ours, **tolerance):
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), **{"rtol": 1e-9, "atol": 1e-12, **tolerance})


def compare(theirs, ours, *arrays):
    """Calls both on float64 copies of the arrays; compares results and gradients of sum(result^2)."""
    a = [torch.tensor(x).requires_grad_(x.dtype == np.float64) for x in arrays]
    b = [pl.tensor(x.copy()).requires_grad_(x.dtype == np.float64) for x in arrays]
    their_result, our_result = theirs(*a), ours(*b)
    assert tuple(their_result.shape) == tuple(our_result.shape)
    equal(their_result, our_result)
    (their_result**2).sum().backward()
    (our_result**2).sum().backward()
    for x, y in zip(a, b, strict=True):
        assert (x.grad is None) == (y.grad is None)
        if x.grad is not None:
            equal(x.grad, y.grad)


RESIZES = [
    ({"scale_factor": 2}, "nearest", (2, 3, 5)),
    ({"size": 7}, "nearest-exact", (2, 3, 5)),
    ({"size": (3, 9)}, "nearest", (1, 2, 5, 4)),
    ({"size": (3, 9)}, "area", (1, 2, 6, 4)),
    ({"size": 8}, "linear", (2, 3, 5)),
    ({"scale_factor": (1.5, 0.7)}, "bilinear", (1, 2, 6, 7)),
    ({"scale_factor": 1.7, "recompute_scale_factor": True}, "bilinear", (1, 2, 6, 7)),
    ({"size": (9, 3), "align_corners": True}, "bilinear", (1, 2, 6, 7)),
    ({"size": (1, 3), "align_corners": True}, "bilinear", (1, 2, 6, 7)),
    ({"size": (11, 4)}, "bicubic", (1, 2, 6, 7)),
    ({"scale_factor": 2, "align_corners": True}, "bicubic", (1, 2, 6, 7)),
    ({"size": (4, 5, 6)}, "trilinear", (1, 2, 3, 4, 7)),
    ({"scale_factor": 2}, "nearest", (1, 2, 2, 3, 4)),
]


@pytest.mark.parametrize(("settings", "mode", "shape"), RESIZES)
def test_interpolate(settings, mode, shape):
    compare(lambda x: T.interpolate(x, mode=mode, **settings), lambda x: F.interpolate(x, mode=mode, **settings), array(*shape))


@pytest.mark.parametrize("settings", [{}, {"padding": 1, "stride": 2}, {"dilation": (2, 1), "padding": (1, 2), "stride": (1, 3)}])
def test_unfold_and_fold(settings):
    compare(lambda x: T.unfold(x, (2, 3), **settings), lambda x: F.unfold(x, (2, 3), **settings), array(2, 3, 6, 7))
    columns = T.unfold(torch.zeros(2, 3, 6, 7), (2, 3), **settings).shape
    compare(lambda x: T.fold(x, (6, 7), (2, 3), **settings), lambda x: F.fold(x, (6, 7), (2, 3), **settings), array(*columns))


def test_shuffles():
    x = array(2, 12, 4, 6)
    compare(lambda x: T.pixel_shuffle(x, 2), lambda x: F.pixel_shuffle(x, 2), x)
    compare(lambda x: T.pixel_unshuffle(x, 2), lambda x: F.pixel_unshuffle(x, 2), x)
    compare(lambda x: T.channel_shuffle(x, 3), lambda x: F.channel_shuffle(x, 3), x)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("settings", [{}, {"stride": 1}, {"padding": 1}, {"ceil_mode": True}])
def test_max_pool_indices_and_unpool(dims, settings):
    x = array(2, 3, *(7, 6, 5)[:dims])
    theirs, where = getattr(T, f"max_pool{dims}d")(torch.tensor(x), 3, return_indices=True, **settings)
    ours, place = getattr(F, f"max_pool{dims}d")(pl.tensor(x), 3, return_indices=True, **settings)
    equal(theirs, ours)
    np.testing.assert_array_equal(place.numpy(), where.numpy())
    if not settings:
        unpool = f"max_unpool{dims}d"
        equal(
            getattr(T, unpool)(theirs, where, 3, output_size=x.shape[2:]),
            getattr(F, unpool)(ours, place, 3, output_size=x.shape[2:]),
        )


@pytest.mark.parametrize("dims", [2, 3])
def test_avg_pool_with_a_divisor(dims):
    settings = {"stride": 2, "padding": 1, "ceil_mode": True, "divisor_override": 5}
    theirs, ours = getattr(T, f"avg_pool{dims}d"), getattr(F, f"avg_pool{dims}d")
    compare(lambda x: theirs(x, 3, **settings), lambda x: ours(x, 3, **settings), array(2, 2, *(7, 6, 5)[:dims]))


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("padding_idx", [None, 2])
def test_embedding_bag(mode, padding_idx):
    indices, offsets = np.array([1, 2, 4, 2, 0, 3, 2]), np.array([0, 3, 3, 5])
    settings = {"mode": mode, "padding_idx": padding_idx}
    compare(
        lambda w: T.embedding_bag(torch.tensor(indices), w, torch.tensor(offsets), **settings),
        lambda w: F.embedding_bag(pl.tensor(indices), w, pl.tensor(offsets), **settings),
        array(5, 3),
    )
    square = indices[:6].reshape(2, 3)
    theirs, ours = torch.nn.EmbeddingBag(5, 3, mode=mode), pl.nn.EmbeddingBag(5, 3, mode=mode)
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    equal(theirs(torch.tensor(square)), ours(pl.tensor(square)), rtol=1e-6)


def test_embedding_bag_with_weights():
    indices, offsets = np.array([1, 2, 4, 2, 0]), np.array([0, 3, 5])
    compare(
        lambda w, s: T.embedding_bag(
            torch.tensor(indices), w, torch.tensor(offsets), mode="sum", per_sample_weights=s, include_last_offset=True
        ),
        lambda w, s: F.embedding_bag(
            pl.tensor(indices), w, pl.tensor(offsets), mode="sum", per_sample_weights=s, include_last_offset=True
        ),
        array(5, 3),
        array(5),
    )


def test_similarities_and_triplets():
    pair = array(4, 5), array(4, 5, seed=1)
    compare(T.cosine_similarity, F.cosine_similarity, *pair)
    compare(lambda a, b: T.pairwise_distance(a, b, p=3.0), lambda a, b: F.pairwise_distance(a, b, p=3.0), *pair)
    compare(lambda a: T.normalize(a, p=1.5, dim=0), lambda a: F.normalize(a, p=1.5, dim=0), pair[0])
    for swap in (False, True):
        theirs = torch.nn.TripletMarginLoss(margin=0.7, swap=swap)
        ours = pl.nn.TripletMarginLoss(margin=0.7, swap=swap)
        compare(theirs, ours, *pair, array(4, 5, seed=2))


def test_adaptive_log_softmax():
    theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(8, 20, [4, 10], div_value=2.0).double()
    ours = pl.nn.AdaptiveLogSoftmaxWithLoss(8, 20, [4, 10], div_value=2.0).to(pl.float64)
    state = {key: value.numpy() for key, value in theirs.state_dict().items()}
    assert list(ours.state_dict()) == list(state)
    ours.load_state_dict(state)
    targets = np.array([0, 5, 19, 3, 12])
    compare(lambda x: theirs(x, torch.tensor(targets)).output, lambda x: ours(x, pl.tensor(targets)).output, array(5, 8))
    x = array(5, 8)
    equal(theirs.log_prob(torch.tensor(x)), ours.log_prob(pl.tensor(x)))
    np.testing.assert_array_equal(ours.predict(pl.tensor(x)).numpy(), theirs.predict(torch.tensor(x)).numpy())


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("enforce_sorted", [False, True])
def test_packed_sequences(kind, bidirectional, enforce_sorted):
    theirs = getattr(torch.nn, kind)(3, 4, 2, bidirectional=bidirectional).double()
    ours = getattr(pl.nn, kind)(3, 4, 2, bidirectional=bidirectional).to(pl.float64)
    ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    lengths = [5, 4, 2, 2] if enforce_sorted else [2, 5, 2, 4]
    x = array(5, 4, 3)

    def call(library, layer, tensor):
        rnn = library.nn.utils.rnn
        packed = rnn.pack_padded_sequence(tensor, library.tensor(lengths), enforce_sorted=enforce_sorted)
        output, state = layer(packed)
        padded, sizes = rnn.pad_packed_sequence(output)
        assert sizes.tolist() == lengths
        state = state[1] if kind == "LSTM" else state
        return library.cat([padded.flatten(), state.flatten()])

    compare(lambda t: call(torch, theirs, t), lambda t: call(pl, ours, t), x)


def test_sequences_pad_and_unpad():
    sequences = [array(n, 2, seed=n) for n in (2, 4, 3)]
    for settings in ({}, {"batch_first": True, "padding_value": 7.0}, {"padding_side": "left"}):
        equal(
            torch.nn.utils.rnn.pad_sequence([torch.tensor(s) for s in sequences], **settings),
            pl.nn.utils.rnn.pad_sequence([pl.tensor(s) for s in sequences], **settings),
        )
    padded = pl.nn.utils.rnn.pad_sequence([pl.tensor(s) for s in sequences])
    back = pl.nn.utils.rnn.unpad_sequence(padded, pl.tensor([2, 4, 3]))
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(sequences, back, strict=True))
    with pytest.raises(ValueError, match="enforce_sorted=False"):
        pl.nn.utils.rnn.pack_sequence([pl.tensor(s) for s in sequences])


def test_separate_sizes_of_keys_and_values():
    theirs = torch.nn.MultiheadAttention(6, 2, kdim=4, vdim=5, add_bias_kv=True).double()
    ours = pl.nn.MultiheadAttention(6, 2, kdim=4, vdim=5, add_bias_kv=True).to(pl.float64)
    state = {key: value.numpy() for key, value in theirs.state_dict().items()}
    assert set(ours.state_dict()) == set(state)
    ours.load_state_dict(state)
    inputs = array(3, 2, 6), array(5, 2, 4), array(5, 2, 5)
    for number in (0, 1):
        compare(lambda *x, n=number: theirs(*x)[n], lambda *x, n=number: ours(*x)[n], *inputs)


@pytest.mark.parametrize("name", ["Dropout1d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"])
def test_dropouts(name):
    pl.manual_seed(0)
    layer = getattr(pl.nn, name)(0.4)
    shape = {"Dropout1d": (400, 25, 8), "Dropout3d": (400, 25, 2, 2, 2)}.get(name, (400, 25, 8))
    x = pl.tensor(array(*shape))
    y = layer(x).numpy()
    flat = y.reshape(*shape[:2], -1)
    if name != "AlphaDropout":  # whole channels: all elements are the same
        assert abs((np.ptp(flat, axis=-1) < 1e-9).mean() - 0.4) < 0.02
    if "Alpha" in name:
        assert abs(y.mean()) < 0.05
        assert abs(y.std() - 1) < 0.05
    assert layer.eval()(x) is x


def test_rrelu():
    pl.manual_seed(0)
    x = pl.tensor(-np.ones(5000))
    y = F.rrelu(x, 0.1, 0.3, training=True).numpy()
    assert -0.3 <= y.min() < -0.29
    assert -0.11 < y.max() <= -0.1
    np.testing.assert_allclose(F.rrelu(x, 0.1, 0.3).numpy(), -0.2)


def test_lazy_layers_become_ordinary_ones():
    net = pl.nn.Sequential(pl.nn.LazyConv2d(4, 3), pl.nn.LazyBatchNorm2d(), pl.nn.Flatten(), pl.nn.LazyLinear(2, bias=False))
    assert list(net.parameters()) == []
    assert net.eval()(pl.zeros(2, 3, 6, 6)).shape == (2, 2)
    assert [type(layer) for layer in net] == [pl.nn.Conv2d, pl.nn.BatchNorm2d, pl.nn.Flatten, pl.nn.Linear]
    assert net[3].weight.shape == (2, 64)
    assert not net[0].training
    with pytest.raises(ValueError, match="LazyConv2d: expected 4 dimensions"):
        pl.nn.LazyConv2d(4, 3)(pl.zeros(2, 3))


def test_parameter_dict():
    values = pl.nn.ParameterDict({"a": pl.zeros(2), "b": pl.nn.Parameter(pl.ones(3))})
    assert list(values.state_dict()) == ["a", "b"]
    assert isinstance(values["a"], pl.nn.Parameter)
    assert "b" in values
    del values["b"]
    assert list(values) == ["a"]


def test_first_values():
    w = pl.nn.init.dirac_(pl.zeros(4, 2, 3, 3), groups=2)
    equal(torch.nn.init.dirac_(torch.zeros(4, 2, 3, 3), groups=2), w)
    sparse = pl.nn.init.sparse_(pl.zeros(10, 6), 0.35).numpy()
    assert (sparse == 0).sum(0).tolist() == [4] * 6
    assert pl.nn.init.calculate_gain("conv_transpose3d") == 1


def test_device_and_dtype_arguments():
    layer = pl.nn.Linear(2, 3, device="cpu", dtype=pl.float64)
    assert layer.weight.dtype is pl.float64
    assert pl.nn.BatchNorm1d(2, dtype=pl.float64).num_batches_tracked.dtype is pl.int64


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: F.pad(pl.zeros(1, 1, 3), (3, 0), mode="reflect"), "needs more than the 3 elements"),
        (lambda: F.pad(pl.zeros(1, 1, 3), (1, 0), mode="mirror"), '"replicate" or "circular"'),
        (lambda: F.glu(pl.zeros(2, 3)), "must be even"),
        (lambda: F.pixel_shuffle(pl.zeros(1, 3, 2, 2), 2), "do not divide by upscale_factor"),
        (lambda: F.interpolate(pl.zeros(1, 1, 4), mode="bilinear", size=3), "wants 4 dimensions"),
        (lambda: F.conv3d(pl.zeros(1, 1, 2, 5, 5), pl.zeros(1, 1, 3, 3, 3)), "larger than the padded depth 2"),
        (lambda: F.embedding_bag(pl.zeros(3, dtype=pl.int64), pl.zeros(2, 2)), "with offsets"),
        (lambda: pl.nn.RNN(2, 3, nonlinearity="sin"), "'tanh' or 'relu'"),
        (lambda: pl.nn.LSTM(2, 3, proj_size=3), "below hidden_size"),
        (lambda: pl.nn.GRU(2, 3)(pl.zeros(4, 1, 5)), r"expected \(T, B, 2\)"),
        (lambda: pl.nn.ZeroPad2d((1, 2)), "expected 4 numbers"),
        (lambda: pl.nn.ConvTranspose2d(2, 2, 3, stride=2)(pl.zeros(1, 2, 3, 3), output_size=(9, 9)), "out of reach"),
    ],
)
def test_messages(call, message):
    with pytest.raises(ValueError, match=message):
        call()

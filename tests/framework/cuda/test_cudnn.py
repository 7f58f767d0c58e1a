# SPDX-License-Identifier: Apache-2.0
"""Convolution and attention through cuDNN's graphs, against a stand-in with the frontend's Python interface."""

import itertools
import re
import sys

import fake_cudnn
import numpy as np
import pytest

import penlight as pl
from penlight.backends import cuda
from penlight.backends.cuda import cudnn, precision
from penlight.ops.conv import Conv2d, Conv2dInputGrad, Conv2dWeightGrad
from penlight.ops.dispatch import apply
from penlight.ops.flash_attention import FlashAttention

TOLERANCE = {pl.float16: 4e-3, pl.bfloat16: 3e-2, pl.float32: 1e-5}


class Pointers:
    def pointer(self, array):
        return array.data.ptr


class NoGraph:
    """A frontend that is installed without libcudnn."""

    def create_handle(self):
        raise RuntimeError("Unable to find symbol cudnnCreate")


@pytest.fixture
def frontend(fake_cuda, monkeypatch):
    monkeypatch.setitem(sys.modules, "cudnn", fake_cudnn.module())
    cuda.backend().kernels.update(cudnn.table(fake_cuda, Pointers()))
    return fake_cudnn.Log


def normal(*shape, dtype, seed=0):
    rng = np.random.default_rng([seed, *shape])
    return pl.tensor(rng.normal(size=shape).astype(np.float32)).to(dtype)


def agree(actual, expected, dtype):
    result, reference = (t.detach().cpu().float().numpy() for t in (actual, expected))
    np.testing.assert_allclose(result, reference, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * max(1, abs(reference).max()))


GEOMETRIES = [
    ((2, 8, 6, 7), (16, 8, 3, 3), {"padding": (1, 1)}),
    ((1, 8, 9, 9), (8, 4, 3, 1), {"stride": (2, 1), "padding": (0, 1), "dilation": (1, 2), "groups": 2}),
    ((2, 16, 4, 4), (8, 16, 1, 1), {}),
]


@pytest.mark.parametrize("dtype", [pl.float16, pl.bfloat16])
@pytest.mark.parametrize(("image", "filters", "options"), GEOMETRIES)
@pytest.mark.parametrize("format", [pl.contiguous_format, pl.channels_last])
def test_convolutions_and_their_gradients(frontend, image, filters, options, dtype, format):
    x, w, b = normal(*image, dtype=dtype), normal(*filters, dtype=dtype), normal(filters[0], dtype=dtype)
    given = x.to("cuda").contiguous(memory_format=format), w.to("cuda"), b.to("cuda")
    settings = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1, **options}
    y = apply(Conv2d(**settings), *given)
    expected = apply(Conv2d(**settings), x, w, b)
    agree(y, expected, dtype)
    assert y.is_contiguous(memory_format=format)
    grad = normal(*expected.shape, dtype=dtype, seed=1)
    on_device = grad.to("cuda").contiguous(memory_format=format)
    operator = Conv2dInputGrad(**settings, size=image[2:])
    agree(apply(operator, on_device, given[1]), apply(operator, grad, w), dtype)
    operator = Conv2dWeightGrad(**settings, kernel=filters[2:])
    agree(apply(operator, given[0], on_device), apply(operator, x, grad), dtype)
    assert frontend.executed == ["conv_fprop", "conv_dgrad", "conv_wgrad"]


def test_float32_goes_to_cudnn_with_tf32_alone(frontend, monkeypatch):
    x, w = normal(1, 8, 5, 5, dtype=pl.float32), normal(8, 8, 3, 3, dtype=pl.float32)
    expected = apply(Conv2d(), x, w, None)
    agree(apply(Conv2d(), x.to("cuda"), w.to("cuda"), None), expected, pl.float32)
    assert frontend.executed == []
    monkeypatch.setattr(pl.backends.cudnn, "allow_tf32", True)
    assert precision.convolution.allow_tf32
    agree(apply(Conv2d(), x.to("cuda"), w.to("cuda"), None), expected, pl.float32)
    assert frontend.executed == ["conv_fprop"]


def test_plans_are_made_once_for_shapes_strides_and_geometry(frontend):
    x, w = normal(2, 8, 6, 6, dtype=pl.float16).to("cuda"), normal(8, 8, 3, 3, dtype=pl.float16).to("cuda")
    for _ in range(3):
        apply(Conv2d(), x, w, None)
    assert (len(frontend.built), len(frontend.executed), len(frontend.streams)) == (1, 3, 1)
    calls = itertools.count(2)
    for image, options in (
        (x[:1].contiguous(), {}),
        (x.contiguous(memory_format=pl.channels_last), {}),
        (x, {"padding": (1, 1)}),
        (x.to(pl.bfloat16), {}),
    ):
        apply(Conv2d(**options), image, w.to(image.dtype), None)
        assert len(frontend.built) == next(calls)


def test_what_has_no_engine_is_asked_once_and_runs_elsewhere(frontend):
    frontend.refused.add("conv_fprop")
    x, w = normal(2, 8, 6, 6, dtype=pl.float16), normal(8, 8, 3, 3, dtype=pl.float16)
    for _ in range(2):
        agree(apply(Conv2d(), x.to("cuda"), w.to("cuda"), None), apply(Conv2d(), x, w, None), pl.float16)
    assert frontend.built == frontend.executed == []


def test_odd_addresses_run_elsewhere(frontend):
    x = normal(3, 8, 5, 5, dtype=pl.float16).to("cuda")[1:]  # 400 bytes in
    w = normal(8, 8, 1, 1, dtype=pl.float16).to("cuda")
    odd = normal(8 * 8 + 1, dtype=pl.float16).to("cuda")[1:].reshape(8, 8, 1, 1)
    apply(Conv2d(), x, odd, None)
    assert frontend.executed == []
    apply(Conv2d(), x, w, None)
    assert frontend.executed == ["conv_fprop"]


@pytest.mark.parametrize("dtype", [pl.float16, pl.bfloat16])
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize(("queries", "keys"), [((2, 4), (2, 4)), ((2, 4), (2, 1)), ((2, 2, 2), (2, 2, 1)), ((2, 2, 2), (2, 2, 2))])
def test_attention_and_its_gradient(frontend, dtype, is_causal, queries, keys):
    """Among them heads of queries that share one of the keys, in the last leading dimensions."""
    q, k, v = (normal(*lead, 5, 8, dtype=dtype, seed=seed) for seed, lead in enumerate((queries, keys, keys)))
    operator, kernels = FlashAttention(0.35, is_causal), cuda.backend().kernels
    arrays = [t.to("cuda")._data for t in (q, k, v)]
    output = kernels["flash_attention"](operator, *arrays, None)
    wide = [t.float().numpy() for t in (q, k, v)]
    expected = operator.forward(np, *wide, None)
    for ours, reference in zip(output, expected, strict=True):
        assert ours.shape == reference.shape
        np.testing.assert_allclose(ours.get().astype(np.float32), reference, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    g = normal(*queries, 5, 8, dtype=dtype, seed=3)
    needs = (True, True, True, False)
    made = kernels["flash_attention.backward"](operator, needs, (g.to("cuda")._data, None), output, *arrays, None)
    gq, gk, gv, _ = operator.backward(np, needs, (g.float().numpy(), None), expected, *wide, None)
    for ours, reference in zip(made[:3], (gq, gk, gv), strict=True):
        assert ours.shape == reference.shape
        close = {"rtol": TOLERANCE[dtype] * 2, "atol": TOLERANCE[dtype] * 4}
        np.testing.assert_allclose(ours.get().astype(np.float32), reference, **close)
    assert made[3] is None and frontend.executed == ["sdpa", "sdpa_backward"]


def test_attention_that_cudnn_does_not_take(frontend):
    kernels = cuda.backend().kernels["flash_attention"]
    q = normal(1, 2, 4, 8, dtype=pl.float16).to("cuda")._data
    mask = pl.zeros(4, 4, dtype=pl.float16, device="cuda")._data
    assert kernels(FlashAttention(0.5), q, q, q, mask) is NotImplemented
    assert kernels(FlashAttention(0.5), q[0], q[0], q[0], None) is NotImplemented
    assert kernels(FlashAttention(0.5), q, q[:, :1].repeat(2, 0), q[:, :1].repeat(2, 0), None) is NotImplemented
    four = q.repeat(2, 1)  # 4 heads on 2: not what broadcasting says, though cuDNN would take it
    assert kernels(FlashAttention(0.5), four, q, q, None) is NotImplemented
    odd = q[..., :5]
    assert kernels(FlashAttention(0.5), odd, odd, odd, None) is NotImplemented
    assert frontend.executed == []


@pytest.mark.parametrize("missing", [None, NoGraph()])
def test_without_the_frontend_or_its_library_everything_is_declined(fake_cuda, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, "cudnn", missing)
    x, w = normal(1, 8, 4, 4, dtype=pl.float16).to("cuda")._data, normal(8, 8, 1, 1, dtype=pl.float16).to("cuda")._data
    assert cudnn.table(fake_cuda, Pointers())["conv2d"](Conv2d(), x, w, None) is NotImplemented


def test_the_frontend_has_what_we_call():
    real = pytest.importorskip("cudnn", reason="nvidia-cudnn-frontend is not installed (penlight[cuda13])")
    for name in ("conv_fprop", "conv_dgrad", "conv_wgrad", "sdpa", "sdpa_backward"):
        wanted = set(fake_cudnn.pygraph.__dict__[name].__kwdefaults__ or ()) | set(
            fake_cudnn.pygraph.__dict__[name].__code__.co_varnames[
                : 1 + fake_cudnn.pygraph.__dict__[name].__code__.co_kwonlyargcount
            ]
        )
        found = set(re.findall(r"(\w+): ", getattr(real.pygraph, name).__doc__))
        assert wanted - {"self"} <= found | {"self"}, (name, wanted - found)
    for kind in ("data_type", "heur_mode", "numerical_note", "diagonal_alignment"):
        ours = {member.name for member in getattr(fake_cudnn, kind)} - {"B"}
        assert ours <= set(getattr(real, kind).__members__), kind
    methods = [name for name in vars(fake_cudnn.pygraph) if not name.startswith("_")]
    assert all(hasattr(real.pygraph, name) for name in methods) and hasattr(real, "cudnnGraphNotSupportedError")
    setters = [name for name in vars(fake_cudnn.Tensor) if name.startswith("set_")]
    assert all(hasattr(real.tensor, name) for name in setters)
    assert "int, stream: int" in real.set_stream.__doc__

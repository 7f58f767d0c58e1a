# SPDX-License-Identifier: Apache-2.0
"""In-place forms and second names: the same numbers as PyTorch, in the same memory."""

import numpy as np
import pytest

import penlight as pl
from penlight.ops import alias, variants

torch = pytest.importorskip("torch")

UNARY = [
    "abs",
    "acos",
    "asin",
    "atan",
    "atanh",
    "ceil",
    "cos",
    "cosh",
    "deg2rad",
    "digamma",
    "erf",
    "erfc",
    "erfinv",
    "exp",
    "exp2",
    "expm1",
    "floor",
    "frac",
    "i0",
    "lgamma",
    "log",
    "log10",
    "log1p",
    "log2",
    "logical_not",
    "logit",
    "neg",
    "rad2deg",
    "reciprocal",
    "relu",
    "round",
    "rsqrt",
    "sgn",
    "sigmoid",
    "sign",
    "sin",
    "sinc",
    "sinh",
    "sqrt",
    "square",
    "tan",
    "tanh",
    "trunc",
    "tril",
    "triu",
    "nan_to_num",
    "asinh",
]
BINARY = [
    "add",
    "atan2",
    "copysign",
    "div",
    "eq",
    "float_power",
    "floor_divide",
    "fmod",
    "ge",
    "gt",
    "heaviside",
    "hypot",
    "le",
    "logical_and",
    "logical_or",
    "logical_xor",
    "lt",
    "mul",
    "ne",
    "nextafter",
    "pow",
    "remainder",
    "sub",
    "true_divide",
    "xlogy",
    "clamp_max",
    "clamp_min",
]
WHOLE = ["bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift", "gcd", "lcm"]


def pair(array):
    return pl.from_numpy(array.copy()), torch.from_numpy(array.copy())


def check(name, array, *others):
    ours, theirs = pair(array)
    kept = ours.data_ptr()
    rest = [pair(o) if isinstance(o, np.ndarray) else (o, o) for o in others]
    result = getattr(ours, name)(*(o[0] for o in rest))
    getattr(theirs, name)(*(o[1] for o in rest))
    assert result is ours
    assert ours.data_ptr() == kept
    assert ours.version >= 1
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", UNARY)
def test_unary_in_place(name):
    check(f"{name}_", np.random.default_rng(0).uniform(0.1, 0.9, (3, 4)))


@pytest.mark.parametrize("name", BINARY)
def test_binary_in_place(name):
    rng = np.random.default_rng(1)
    check(f"{name}_", rng.uniform(0.5, 2.5, (3, 4)), rng.uniform(0.5, 2.5, (1, 4)) if "clamp" not in name else 1.2)


@pytest.mark.parametrize("name", WHOLE)
def test_integers_in_place(name):
    rng = np.random.default_rng(2)
    check(f"{name}_", rng.integers(1, 9, (3, 4)), rng.integers(1, 4, (4,)))


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("acosh_", ()),
        ("cumsum_", (1,)),
        ("cumprod_", (0,)),
        ("lerp_", (np.ones((3, 4)), 0.3)),
        ("addcmul_", (np.ones((3, 4)), np.full((3, 4), 2.0))),
        ("addcdiv_", (np.ones((3, 4)), np.full((3, 4), 2.0))),
        ("addmm_", (np.ones((3, 2)), np.ones((2, 4)))),
        ("addmv_", (np.ones((3, 2)), np.ones(2))),
        ("index_add_", (0, np.array([2, 0]), np.ones((2, 4)))),
        ("index_copy_", (0, np.array([2, 0]), np.ones((2, 4)))),
        ("index_fill_", (1, np.array([2, 0]), 7.0)),
        ("scatter_", (1, np.array([[0, 1], [2, 3]]), np.ones((2, 2)))),
        ("scatter_add_", (1, np.array([[0, 0], [2, 3]]), np.ones((2, 2)))),
        ("masked_scatter_", (np.eye(3, 4, dtype=bool), np.arange(3.0))),
        ("fill_diagonal_", (5.0,)),
    ],
)
def test_others_in_place(name, others):
    array = np.random.default_rng(3).uniform(1.1, 2, (3, 4))
    check(name, array[:, 0].copy() if name == "addmv_" else array, *others)


def test_in_place_forms_reach_the_gradient():
    x = pl.tensor([0.5, 1.0], requires_grad=True)
    y = x * 2
    y.cos_()
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), -2 * np.sin([1.0, 2.0]), rtol=1e-6)


def test_no_leaf_that_wants_a_gradient_is_written():
    with pytest.raises(pl.PenlightError, match="leaf"):
        pl.tensor([0.5], requires_grad=True).cos_()


def test_every_name_is_pytorchs():
    for name in variants._WRITTEN.split():
        assert hasattr(torch.Tensor, f"{name}_"), name
    for name in variants._NAMES:
        assert hasattr(torch.Tensor, name), name
        assert hasattr(pl.Tensor, name), name


def test_questions():
    x = pl.tensor([[1.0, 2.0]])
    assert pl.equal(x, x.clone())
    assert not pl.equal(x, x.t())
    assert pl.is_tensor(x)
    assert not pl.is_tensor(1)
    assert pl.is_floating_point(x)
    assert pl.numel(x) == x.nelement() == 2
    assert x.element_size() == 4
    assert x.is_signed()
    assert not x.to(pl.uint8).is_signed()
    assert pl.tensor([3]).is_nonzero()
    assert x.is_same_size(x + 1)
    assert alias.result_type(pl.tensor([1]), 1.5) is pl.float32
    assert alias.result_type(pl.tensor([1], dtype=pl.int8), 3) is pl.int8

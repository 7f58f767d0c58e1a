# SPDX-License-Identifier: Apache-2.0
"""The dtype of every binary operator x pair of dtypes x (tensor, 0-dim tensor, Python number), beside PyTorch."""

import itertools

import pytest

import penlight as pl

torch = pytest.importorskip("torch")

DTYPES = [
    "bool",
    "uint8",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "complex64",
    "complex128",
]
SHAPES = [((2,), (2,)), ((2,), ()), ((), (2,)), ((), ())]
NUMBERS = [True, 2, 2.5, 1j]
OPERATORS = [
    "add",
    "sub",
    "mul",
    "div",
    "true_divide",
    "floor_divide",
    "remainder",
    "fmod",
    "pow",
    "maximum",
    "minimum",
    "fmax",
    "fmin",
    "atan2",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "logical_and",
    "logical_or",
    "logical_xor",
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "hypot",
    "copysign",
    "xlogy",
    "logaddexp",
    "nextafter",
    "gcd",
    "lcm",
    "heaviside",
    "float_power",
]
# NumPy has no power of truth values; PyTorch has no complex32 on most operators, and we have none.
APART = {("pow", "bool", "bool"), ("pow", "bool", True)}


def dtype_of(library, name):
    return getattr(library, name)


def made(dtype, shape):
    ours = pl.ones(*shape) if shape else pl.tensor(1.0)
    return torch.ones(shape).to(dtype_of(torch, dtype)), ours.to(dtype_of(pl, dtype))


def cases():
    for a, b in itertools.product(DTYPES, DTYPES):
        for left, right in SHAPES:
            yield (a, b), *zip(made(a, left), made(b, right), strict=True)
    for a, number in itertools.product(DTYPES, NUMBERS):
        for shape in ((2,), ()):
            yield (a, number), *((t, number) for t in made(a, shape))


CASES = list(cases())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", OPERATORS)
def test_dtype_of_the_result(name):
    compared, wrong = 0, []
    for key, theirs, ours in CASES:
        try:
            expected = str(getattr(torch, name)(*theirs).dtype).removeprefix("torch.")
        except (RuntimeError, TypeError, ValueError, NotImplementedError):
            continue  # PyTorch refuses the pair
        if expected == "complex32" or (name, *key) in APART:
            continue
        compared += 1
        found = getattr(pl, name)(*ours).dtype.name
        if found != expected:
            wrong.append((key, [tuple(getattr(o, "shape", ("number",))) for o in ours], f"came {found}, expected {expected}"))
    assert compared >= 20
    assert not wrong, wrong[:10]

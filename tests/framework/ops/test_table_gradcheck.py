# SPDX-License-Identifier: Apache-2.0
"""gradcheck and gradgradcheck of every operator on the samples of its own table; needs no torch.

The default run compares one random projection in test_operators.py; here are the whole Jacobians.
"""

import numpy as np
import pytest

import penlight as pl
from penlight.ops.dispatch import apply
from penlight.ops.operator import NotDifferentiable, NotSampled
from penlight.ops.registry import operators
from penlight.ops.samples import build
from penlight.tensor import from_array

LARGEST = 60  # elements of an input or output whose Jacobian is compared as a whole; larger ones by a projection
CALLS = [
    pytest.param(cls, call, id=f"{name}-{call}")
    for name, cls in operators().items()
    if not isinstance(cls.samples, NotSampled) and not isinstance(cls.gradient, NotDifferentiable)
    for call in cls.samples
    if any(i and i.dtype == "float" for i in call.inputs)
]


def results(cls, call, tensors):
    made = apply(cls(**call.fields), *tensors)
    return [t for t in (made if isinstance(made, tuple) else (made,)) if t.dtype.kind >= 2]


@pytest.mark.slow
@pytest.mark.parametrize(("cls", "call"), CALLS)
def test_whole_jacobians(cls, call):
    inputs = [None if a is None else from_array(np.asarray(a)) for a in build(call, "float64")]
    leaves = [t.requires_grad_() for t in inputs if t is not None and t.dtype is pl.float64]
    made = results(cls, call, inputs)
    if not any(t.requires_grad for t in made):
        pytest.skip("no result has a gradient")
    if any(t.dtype.itemsize < 8 for t in made):
        pytest.skip("the result is rounded to fewer digits than differences need")

    def function(*moved):
        given = iter(moved)
        return results(cls, call, [next(given) if any(t is leaf for leaf in leaves) else t for t in inputs])

    fast = max(t.numel() for t in (*leaves, *made)) > LARGEST
    assert pl.autograd.gradcheck(function, leaves, fast_mode=fast)
    if not isinstance(cls.second_derivative, NotDifferentiable):
        assert pl.autograd.gradgradcheck(function, leaves, fast_mode=fast)

# SPDX-License-Identifier: Apache-2.0
"""t_, squeeze_, unsqueeze_, transpose_ and their second names: views of the same memory, with the right gradients."""

import numpy as np
import pytest

import penlight as pl
from penlight.errors import InPlaceError, TraceError, VersionError
from penlight.ops.in_place_shape import NAMES

CALLS = {
    "t": ((2, 3), ()),
    "squeeze": ((1, 2, 1, 3), ()),
    "squeeze of a dim": ((1, 2, 1), (2,)),
    "unsqueeze": ((2, 3), (-1,)),
    "transpose": ((2, 3, 4), (0, 2)),
    "swapaxes": ((2, 3, 4), (-1, 1)),
    "swapdims": ((2, 3), (0, 1)),
}


def data(shape):
    return np.arange(np.prod(shape), dtype=np.float64).reshape(shape)


@pytest.mark.parametrize("call", CALLS)
def test_against_torch(call):
    torch = pytest.importorskip("torch")
    (shape, arguments), name = CALLS[call], call.split()[0]
    assert name in NAMES
    found = []
    for m in (pl, torch):
        leaf = m.tensor(data(shape), requires_grad=True)
        x = leaf * 2
        address = x.data_ptr()
        assert getattr(x, f"{name}_")(*arguments) is x and x.data_ptr() == address
        x.mul_(3)
        weight = m.tensor(data(tuple(x.shape)) + 1)
        (x * x * weight).sum().backward()
        found.append((tuple(x.shape), x.stride(), x.detach().numpy(), leaf.grad.numpy()))
    assert found[0][:2] == found[1][:2]
    np.testing.assert_array_equal(found[0][2], found[1][2])
    np.testing.assert_array_equal(found[0][3], found[1][3])


def test_a_view_writes_through_to_its_base():
    x = pl.ones(2, 3, requires_grad=True)
    y = x * 2
    row = y[0]
    row.unsqueeze_(0).mul_(5)
    assert row.shape == (1, 3) and y.tolist() == [[10.0] * 3, [2.0] * 3]
    y.sum().backward()
    assert x.grad.tolist() == [[10.0] * 3, [2.0] * 3]


def test_what_would_give_wrong_gradients_is_refused():
    x = pl.ones(2, 3, requires_grad=True)
    with pytest.raises(InPlaceError, match=r"t_: a leaf that requires a gradient was to change its shape; do it under no_grad"):
        x.t_()
    with pl.no_grad():
        assert x.t_().shape == (3, 2) and x.t_().shape == (2, 3)
    y = x * 2
    view = y.view(6)
    y.t_()
    with pytest.raises(InPlaceError, match="a view is used whose base changed its shape in place"):
        view.mul_(2)
    y = x * 2
    z = y * y
    y.unsqueeze_(0)
    with pytest.raises(VersionError, match="was changed in place after it was used"):
        z.sum().backward()


def test_under_a_trace():
    from penlight.tracing import trace

    graph = trace(lambda x: (x * 2).t_().unsqueeze_(0), (pl.ones(2, 3),))
    assert tuple(graph.outputs[0].spec.shape) == (1, 3, 2)
    kept = pl.ones(2, 3)
    with pytest.raises(TraceError, match="t_ changes the shape of a tensor that the model keeps; use t instead"):
        trace(lambda x: x + kept.t_(), (pl.ones(3, 2),))

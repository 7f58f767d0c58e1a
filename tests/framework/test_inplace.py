# SPDX-License-Identifier: Apache-2.0
"""Views share memory, and writes through them reach the gradient, as in PyTorch."""

import numpy as np
import pytest

import penlight as pl
from penlight.errors import InPlaceError


def test_views_share_memory():
    x = pl.arange(12).reshape(3, 4)
    for view in (
        x[1],
        x[:, 2],
        x.T,
        x.view(2, 6),
        x.unsqueeze(0),
        x.expand(2, 3, 4),
        x.permute(1, 0),
        x.narrow(1, 1, 2),
        x.detach(),
    ):
        assert np.shares_memory(view.numpy(), x.numpy())
    x[1, 2] = 100
    assert x.T[2, 1].item() == 100 and x.view(12)[6].item() == 100
    x.T[0, 0] = -1
    assert x[0, 0].item() == -1


def test_writes_raise_the_version_of_all_views():
    x = pl.zeros(3, 4)
    view = x[1]
    before = x.version
    view.add_(1)
    assert x.version == view.version == before + 1
    x.mul_(2)
    assert view.version == before + 2 and view.tolist() == [2.0] * 4


def test_from_numpy_and_numpy_share_memory():
    array = np.arange(3.0)
    x = pl.from_numpy(array)
    x[0] = 7
    assert array[0] == 7 and x.numpy() is array
    copy = pl.tensor(array)
    copy[0] = 8
    assert array[0] == 7


OPERATIONS = {
    "write into a row": lambda x, w: (lambda y: (y[0].mul_(w), y)[1])(x * 1.0),
    "setitem with a gradient": lambda x, w: (lambda y: (y.__setitem__((slice(None), 1), w), y)[1])(x * 1.0),
    "write through two views": lambda x, w: (lambda y: (y.T[1:, :].mul_(2.0), y[0].add_(w), y)[2])(x * 1.0),
    "view taken before a write to the base": lambda x, w: (lambda y: (lambda v: (y.mul_(3.0), v * 2)[1])(y[1]))(x * 1.0),
    "view taken before a write to another view": lambda x, w: (lambda y: (lambda v: (y[1].mul_(3.0), v * 2)[1])(y[1]))(x * 1.0),
    "fill a new tensor": lambda x, w: (lambda y: (y.__setitem__(0, x[0] * x[0]), y.__setitem__(1, w), y)[2])(x.detach() * 0),
    "copy_": lambda x, w: (lambda y: (y.copy_(w), y * 2)[1])(x * 1.0),
    "advanced setitem": lambda x, w: (lambda y: (y.__setitem__(([0, 1], [1, 0]), w), y)[1])(x * 1.0),
    "in-place chain": lambda x, w: (x * 1.0).add_(1.0).mul_(w).sub_(0.5),
    "masked_fill_": lambda x, w: (x * w).masked_fill_(x > 0, 0.0),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_gradients_equal_those_of_pytorch(name):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 2)).astype(np.float32), rng.standard_normal(2).astype(np.float32)
    x, w = pl.tensor(a, requires_grad=True), pl.tensor(b, requires_grad=True)
    tx, tw = torch.tensor(a, requires_grad=True), torch.tensor(b, requires_grad=True)
    result, expected = OPERATIONS[name](x, w), OPERATIONS[name](tx, tw)
    np.testing.assert_allclose(result.detach().numpy(), expected.detach().numpy(), rtol=1e-6)
    (result * result).sum().backward()
    (expected * expected).sum().backward()
    for mine, theirs in ((x, tx), (w, tw)):
        found = np.zeros(mine.shape) if mine.grad is None else mine.grad.numpy()  # None where PyTorch has zeros
        np.testing.assert_allclose(found, 0 if theirs.grad is None else theirs.grad.numpy(), rtol=1e-5)


def test_a_write_that_does_not_fit_is_refused():
    x = pl.zeros(3)
    with pytest.raises(InPlaceError, match="shape"):
        x.add_(pl.zeros(2, 3))
    with pytest.raises(InPlaceError, match=r"penlight\.float32.*penlight\.int64"):
        pl.tensor([1, 2]).mul_(0.5)
    with pytest.raises(InPlaceError, match="read-only"):
        pl.zeros(1).expand(3).add_(1)


def test_python_in_place_operators():
    x = pl.ones(3)
    same = x
    x += 1
    x *= 3
    x -= 2
    x /= 2
    assert same is x and same.tolist() == [2.0] * 3
    index = pl.tensor([1, 2])
    index += 1
    assert index.tolist() == [2, 3]


def test_the_writer_of_a_leaf_view_is_refused():
    x = pl.ones(3, requires_grad=True)
    view = x[:2]
    with pytest.raises(InPlaceError, match="no_grad"):
        view.mul_(2.0)

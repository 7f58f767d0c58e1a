# SPDX-License-Identifier: Apache-2.0
"""The call path in C++: ownership, cycles, depth, threads, and small kernels beside NumPy's."""

import copy
import gc
import inspect
import pickle
import threading
import weakref
from typing import ClassVar

import numpy as np
import pytest

import penlight as pl
import penlight.nn.functional as F
from penlight import _native
from penlight.backends.cpu import SMALL
from penlight.errors import VersionError
from penlight.ops.dispatch import apply
from penlight.ops.operator import Operator
from penlight.ops.registry import operators
from penlight.tape import Node, mode
from penlight.tensor import Tensor, from_array
from penlight.tracing import trace


def leaf(*shape, seed=0):
    return pl.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32)).requires_grad_()


def test_a_chain_of_many_calls_is_freed_without_deep_recursion():
    x = leaf(2)
    y = x
    for _ in range(200_000):
        y = y + x
    kept = weakref.ref(y)
    del y
    assert kept() is None


def test_a_chain_of_many_calls_runs_backward():
    x = leaf(2)
    y = x
    for _ in range(50_000):
        y = y * 1.0
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [1, 1])


def test_cycles_through_tensors_nodes_and_hooks_are_collected():
    y = leaf(3) * 2.0
    y.itself = y
    y.register_hook(lambda gradient, y=y: None)
    tensor, node = weakref.ref(y), weakref.ref(y._node)
    del y
    gc.collect()
    assert tensor() is None and node() is None


def test_calls_and_passes_leak_no_references():
    x, y = leaf(4, 4), leaf(4, 4, seed=1)

    def run():
        (F.relu(x @ y + x).reshape(16).sum() / 3.0).backward()
        x.grad = y.grad = None

    run()
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(50):
        run()
    gc.collect()
    assert len(gc.get_objects()) <= before + 5


def test_fields_of_a_fresh_tensor_have_their_defaults():
    t = from_array(np.zeros(3, np.float32))
    assert type(t) is Tensor and not t.requires_grad and t._index == t._stamp == t._rebased == 0 and t._views == ()
    assert all(getattr(t, name) is None for name in ("grad", "_node", "_version", "_base", "_hooks", "_owns_grad", "_traced"))
    t.anything = 1  # instances take attributes of their own
    assert t.__dict__ == {"anything": 1}


def test_a_node_says_where_gradients_go():
    x, y = leaf(3), pl.ones(3)
    product = x * y
    total = product + x
    node = total._node
    assert type(node) is Node and node.edges == [(product._node, 0), x] and node.count == 1 and node.name == "add"
    assert product._node.edges[1] is None and product._node.sequence < node.sequence
    assert "AddNode" in repr(node) and {node: 1}[node] == 1


def test_a_changed_input_names_its_position_and_versions():
    x, y = leaf(3), pl.ones(3)
    product = x * y
    y.add_(1.0)
    with pytest.raises(VersionError, match=r"mul: input 1 \(3,\) was changed .*version 0 then, 1 now"):
        product.sum().backward()


def test_the_mode_belongs_to_its_thread():
    seen = []

    def look():
        seen.append((mode.enabled, mode.tracer, mode.after_backward, mode.anomaly))
        with pl.no_grad():
            seen.append(mode.enabled)

    with pl.no_grad():
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        assert not mode.enabled
    assert seen == [(True, None, (), False), False]


@pytest.mark.parametrize("call", [lambda: _native.apply(), lambda: _native.apply(operators()["add"](), 1, 2)])
def test_calls_with_something_else_than_tensors_are_refused(call):
    with pytest.raises(TypeError, match="expected"):
        call()


@pytest.mark.skipif(not SMALL, reason="no compiled kernels")
@pytest.mark.parametrize(
    "shapes", [((8, 8), (8, 8)), ((5, 7), ()), ((3, 4), (4,)), ((65, 64), (65, 64)), ((0, 3), (0, 3)), ((), ())]
)
@pytest.mark.parametrize("name", ["add", "sub", "mul", "div"])
def test_small_arithmetic_agrees_with_numpy(name, shapes):
    a, b = (np.random.default_rng(k).uniform(0.5, 2, s).astype(np.float32) for k, s in enumerate(shapes))
    expected = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}[name](a, b)
    result = getattr(pl, name)(pl.from_numpy(a), pl.from_numpy(b)).numpy()
    assert result.dtype == np.float32 and result.shape == expected.shape
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (32, 64, 64), (3, 5, 7), (33, 17, 65)])
def test_small_products_and_their_gradients_agree_with_float64(sizes):
    rows, depth, columns = sizes
    x, w, b = leaf(rows, depth), leaf(columns, depth, seed=1), leaf(columns, seed=2)
    y = F.linear(x, w, b)
    g = np.random.default_rng(3).standard_normal((rows, columns)).astype(np.float32)
    y.backward(pl.from_numpy(g))
    a, m, n = (t.detach().numpy().astype(np.float64) for t in (x, w, b))
    for came, expected in ((y.detach(), a @ m.T + n), (x.grad, g @ m), (w.grad, g.T @ a), (b.grad, g.sum(0, dtype=np.float64))):
        np.testing.assert_allclose(came.numpy(), expected, rtol=1e-5, atol=1e-5 * depth)


@pytest.mark.skipif(not SMALL, reason="no compiled kernels")
def test_small_sums_are_exact_and_spread_back():
    x = leaf(3, 5)
    total = x.sum()
    total.backward()
    assert total.item() == np.float32(x.detach().numpy().astype(np.float64).sum())
    np.testing.assert_array_equal(x.grad.numpy(), np.ones((3, 5), np.float32))


def test_classes_are_counted_without_those_to_ignore():
    assert _native.class_range(np.array([3, -100, 1, 7]), -100) == (3, 1, 7)
    assert _native.class_range(np.array([-100, -100]), -100) == (0, 0, 0)
    assert _native.class_range(np.array([1], np.int32), -100) is None


class Refusing(Operator):
    """NumPy refuses it with an exception that cannot be made from a text"""

    name = "refusing"

    def infer(self, x):
        return x

    def forward(self, xp, x):
        return xp.add(x, "text")


def test_errors_of_numpy_get_the_name_of_the_operator():
    with pytest.raises(TypeError, match="refusing: ufunc 'add' did not contain a loop") as caught:
        apply(Refusing(), pl.zeros(2))
    assert type(caught.value) is TypeError and type(caught.value.__cause__) is not TypeError


SHORTCUTS = {
    "add": lambda x, y: pl.add(x, y), "sub": lambda x, y: x - y, "mul": lambda x, y: x * y, "div": lambda x, y: x / y,
    "maximum": pl.maximum, "minimum": pl.minimum, "add number": lambda x, y: x + 2, "mul number": lambda x, y: x * 0.5,
    "sub zero": lambda x, y: x - 0.0, "div by zero": lambda x, y: x / 0, "large integer": lambda x, y: x + (2**24 + 1),
    "nan": lambda x, y: x * float("nan"), "true": lambda x, y: x + True, "matmul": lambda x, y: x @ y.T,
    "linear": lambda x, y: F.linear(x, y), "bias": lambda x, y: F.linear(x, y, y[:, 0]), "relu": F.relu, "tanh": pl.tanh,
    "sigmoid": pl.sigmoid, "silu": F.silu, "softmax": lambda x, y: F.softmax(x), "softmax 0": lambda x, y: x.softmax(0),
    "log_softmax": lambda x, y: F.log_softmax(x, -1), "transpose": lambda x, y: x.transpose(0, -1),
    "transpose itself": lambda x, y: x.transpose(1, 1),
}  # fmt: skip
UNARY = {"relu", "tanh", "sigmoid", "silu"}


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("name", SHORTCUTS)
def test_a_shortcut_and_the_function_behind_it_agree(name, kind):
    """Results and gradients; where no call is plain, the function behind it makes them all."""

    def run(plain):
        x, y = (pl.from_numpy(np.random.default_rng(k).standard_normal((3, 4)).astype(kind)).requires_grad_() for k in (0, 1))
        if not plain:  # a subclass of NumPy's array is not plain
            x._data, y._data = x._data.view(np.memmap), y._data.view(np.memmap)
        result = SHORTCUTS[name](x) if name in UNARY else SHORTCUTS[name](x, y)
        (result * result.detach()).sum().backward()
        return [None if t is None else np.asarray(t._data) for t in (result, x.grad, y.grad)]

    for came, expected in zip(run(True), run(False), strict=True):
        assert (came is None) == (expected is None)
        if came is not None:
            assert came.dtype == expected.dtype == kind
            np.testing.assert_allclose(came, expected, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda x: pl.add(x), TypeError),
        (lambda x: pl.add(x, x, x), TypeError),
        (lambda x: pl.add(x, "text"), TypeError),
        (lambda x: x.transpose(0, 2), ValueError),
        (lambda x: x.transpose(0), TypeError),
        (lambda x: F.softmax(x, 5), ValueError),
        (lambda x: x + pl.zeros(5), ValueError),
        (lambda x: pl.zeros(3) @ pl.zeros(4), ValueError),
    ],
)
def test_a_shortcut_leaves_wrong_calls_to_the_function_behind_it(call, error):
    with pytest.raises(error):
        call(pl.zeros(2, 3))


def test_a_shortcut_looks_like_the_function_behind_it():
    assert pl.add.__name__ == "add" and pl.add.__module__ == "penlight" and "promoted" in pl.add.__doc__
    assert list(inspect.signature(pl.add).parameters)[:3] == ["input", "other", "alpha"]
    assert copy.deepcopy(F.relu) is F.relu and all(pickle.loads(pickle.dumps(f)) is f for f in (F.relu, pl.add, pl.exp))
    x = pl.tensor([1.0, 2.0])
    bound = x.add
    assert bound(x, alpha=2).tolist() == [3, 6] and pl.Tensor.add(x, 1).tolist() == [2, 3]


def test_shortcuts_are_recorded_cast_and_counted_as_other_calls():
    x = leaf(3, 4)
    graph = trace(lambda x: (x + x).transpose(0, 1) * 2.0, (x.detach(),), dynamic={"x": {0: "batch"}})
    assert [n.operator.name for n in graph.nodes] == ["add", "permute", "mul"]
    with pl.autocast("cpu", dtype=pl.bfloat16):
        assert (x @ x.T).dtype is pl.bfloat16
    y = x.transpose(0, 1)
    with pl.no_grad():
        y.add_(1.0)
    assert x.version == y.version == 1


@pytest.mark.parametrize("values", [(), (1.0, 2), (1,), (1, 2, 3)])
def test_arguments_of_operators_are_checked(values):
    cls = operators()["clamp"]
    if len(values) > 2:
        with pytest.raises(TypeError, match="Clamp: expected at most 2 arguments, came 3"):
            cls(*values)
        return
    made = cls(*values)
    assert made is cls(*values) and made == cls(**dict(zip(cls.field_names, values, strict=False)))
    assert made.field_values() == dict(zip(("low", "high"), (*values, None, None), strict=False))


def test_operators_are_immutable_values():
    cls = operators()["permute"]
    a, b = cls((1, 0)), cls(dims=(1, 0))
    assert a == b and hash(a) == hash(b) and a != cls((0, 1)) and a != operators()["relu"]()
    assert repr(a) == "Permute(dims=(1, 0))" and str(inspect.signature(cls)) == "(dims)" and cls.field_names == ("dims",)
    for wrong in (lambda: cls(), lambda: cls((0,), dims=(0,)), lambda: cls(order=(0,))):
        with pytest.raises(TypeError, match="Permute"):
            wrong()
    with pytest.raises(AttributeError, match="immutable"):
        a.dims = (0, 1)
    with pytest.raises(AttributeError, match="immutable"):
        del a.dims


def test_arguments_of_a_base_come_first_and_need_no_default_after_one():
    class Base(Operator):
        first: int
        second: int = 2

    class Derived(Base):
        third: int = 3
        second: int = 5
        shared: ClassVar[int] = 7

    assert Derived.field_names == ("first", "second", "third") and Derived(1).field_values() == {
        "first": 1,
        "second": 5,
        "third": 3,
    }
    with pytest.raises(TypeError, match="follows one that has a default"):

        class Wrong(Base):
            fourth: int


def test_classes_of_operators_are_collected():
    class Passing(Operator):
        size: int

    Passing(3), Passing(4)
    kept = weakref.ref(Passing)
    del Passing
    gc.collect()
    assert kept() is None

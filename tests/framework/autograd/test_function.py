# SPDX-License-Identifier: Apache-2.0
"""Custom functions: saved tensors, double backward, in-place, marks, wrong returns, traces."""

import gc
import weakref

import numpy as np
import pytest

import penlight as pl
from penlight.autograd.function import Function, once_differentiable
from penlight.errors import FunctionError, GradientError, InPlaceError, TraceError, VersionError
from penlight.tracing import trace


def leaf(*values):
    return pl.tensor(list(values), dtype=pl.float64, requires_grad=True)


class Exp(Function):
    @staticmethod
    def forward(ctx, x, scale=1.0):
        y = (x * scale).exp()
        ctx.save_for_backward(y)
        ctx.scale = scale
        return y

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return grad * y * ctx.scale, None


class Product(Function):
    """The form with setup_context."""

    @staticmethod
    def forward(a, b):
        return a * b

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.saved_tensors
        assert ctx.needs_input_grad == (a.requires_grad, b.requires_grad)
        return (grad * b if ctx.needs_input_grad[0] else None), (grad * a if ctx.needs_input_grad[1] else None)


class Double(Function):
    """In place."""

    @staticmethod
    def forward(ctx, x):
        x.mul_(2.0)
        ctx.mark_dirty(x)
        return x

    @staticmethod
    def backward(ctx, grad):
        return grad * 2


class Square(Function):
    """By NumPy, so that it can be differentiated once."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return pl.from_numpy(x.detach().numpy() ** 2)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return pl.from_numpy(grad.numpy() * 2 * x.detach().numpy())


def test_first_and_second_derivatives_agree_with_differences():
    x, b = leaf(0.5, -1.0), leaf(2.0, 3.0)
    assert pl.autograd.gradcheck(lambda x: Exp.apply(x, 0.5), x)
    assert pl.autograd.gradgradcheck(lambda x: Exp.apply(Exp.apply(x, 0.5)), x)
    assert pl.autograd.gradcheck(Product.apply, (x, b))
    assert pl.autograd.gradgradcheck(Product.apply, (x, b))
    assert Product.apply(x, b.detach()).grad_fn.name == "Product"


def test_keyword_arguments_take_their_place():
    x = leaf(0.5)
    Exp.apply(scale=3.0, x=x).backward()
    assert x.grad.tolist() == [3.0 * np.exp(1.5)]


def test_without_a_gradient_forward_runs_alone():
    x = leaf(1.0)
    with pl.no_grad():
        assert not Exp.apply(x).requires_grad
    assert not Exp.apply(x.detach()).requires_grad


def test_in_place_moves_the_tensor_on_the_tape_and_its_base_too():
    x = leaf(1.0, 2.0, 3.0)

    def whole(x):
        z = x * 1.0
        Double.apply(z)
        return z * z

    def part(x):
        z = x * 1.0
        Double.apply(z[1:])
        return z * z

    for f in (whole, part):
        assert pl.autograd.gradcheck(f, x) and pl.autograd.gradgradcheck(f, x)
    with pytest.raises(InPlaceError, match=r"Double: a leaf.*x\.clone"):
        Double.apply(leaf(1.0))


def test_saved_tensors_notice_changes_and_are_freed():
    x, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    z = x * 1.0
    y = Product.apply(z, b)
    z.add_(1.0)
    with pytest.raises(VersionError, match="Product: input 0"):
        y.sum().backward()
    y = Exp.apply(x)
    y.mul_(2.0)
    with pytest.raises(VersionError, match="Exp"):
        y.sum().backward()
    y = Exp.apply(x).sum()
    y.backward()
    with pytest.raises(GradientError, match="retain_graph"):
        y.backward()


def test_a_saved_output_makes_no_cycle():
    gc.disable()
    try:
        y = Exp.apply(leaf(1.0))
        reference = weakref.ref(y.grad_fn)
        del y
        assert reference() is None
    finally:
        gc.enable()


def test_several_outputs_marks_and_materialized_gradients():
    seen = []

    class Parts(Function):
        @staticmethod
        def forward(ctx, x, materializes):
            top = x.argmax()
            rounded = x.round()
            ctx.mark_non_differentiable(rounded)
            ctx.set_materialize_grads(materializes)
            return x * 2, x * 3, rounded, top, "text"

        @staticmethod
        def backward(ctx, *grads):
            seen.append([g if g is None else g.tolist() for g in grads])
            parts = [g * k for g, k in zip(grads[:2], (2, 3), strict=True) if g is not None]
            return sum(parts[1:], start=parts[0]), None

    x = leaf(1.2, 2.7)
    a, b, rounded, top, text = Parts.apply(x, True)
    assert (a.requires_grad, b.requires_grad, rounded.requires_grad, top.requires_grad) == (True, True, False, False)
    assert text == "text" and top.item() == 1
    b.sum().backward()
    Parts.apply(x, False)[0].sum().backward()
    assert seen == [[[0.0, 0.0], [1.0, 1.0], [0.0, 0.0], 0, None], [[1.0, 1.0], None, None, None, None]]
    assert x.grad.tolist() == [5.0, 5.0]


def test_an_output_that_shares_memory_with_an_input_is_not_written_to():
    class Same(Function):
        @staticmethod
        def forward(ctx, x):
            return x, x.reshape(-1)

        @staticmethod
        def backward(ctx, a, b):
            return a + b.reshape(a.shape)

    x = leaf(1.0, 2.0)
    a, b = Same.apply(x)
    assert a is not x and a.data_ptr() == x.data_ptr()
    for t in (a, b):
        with pytest.raises(InPlaceError, match=r"output . of Same shares memory.*clone it in forward"):
            t.add_(1.0)
    (a * b).sum().backward()
    assert x.grad.tolist() == [2.0, 4.0]


def test_once_differentiable_refuses_the_second_derivative():
    x = leaf(1.0, 3.0)
    assert pl.autograd.gradcheck(Square.apply, x)
    (g,) = pl.autograd.grad(Square.apply(x).sum(), x, create_graph=True)
    assert g.tolist() == [2.0, 6.0]
    with pytest.raises(GradientError, match=r"Square.backward: .*@once_differentiable"):
        pl.autograd.grad(g.sum(), x)


def test_gradients_are_summed_to_broadcast_inputs_and_cast():
    class Wide(Function):
        @staticmethod
        def forward(ctx, x):
            return x.expand(3, 2) * 1.0

        @staticmethod
        def backward(ctx, grad):
            return grad.to(pl.float32)

    x = leaf(1.0, 2.0)
    Wide.apply(x).sum().backward()
    assert x.grad.tolist() == [3.0, 3.0] and x.grad.dtype is pl.float64


def broken(backward=None, forward=None):
    def doubled(ctx, x, k):
        return x * k

    members = {"forward": staticmethod(forward or doubled), "backward": staticmethod(backward or (lambda ctx, g: (g, None)))}
    return type("Broken", (Function,), members)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"backward": lambda ctx, g: g}, "Broken: backward returned 1 gradients, expected 2"),
        ({"backward": lambda ctx, g: (g, g)}, "returned Tensor at position 1, .* is not a tensor; expected None"),
        ({"backward": lambda ctx, g: (1.0, None)}, "returned float at position 0, .* expected a tensor or None"),
        ({"backward": lambda ctx, g: (pl.ones(3), None)}, r"shape \(3,\) at position 0, expected \(2,\)"),
        ({"forward": lambda ctx, x, k: [x * k]}, "must return a tensor or a tuple with tensors, came list"),
        ({"forward": lambda ctx, x, k: ctx.save_for_backward(x, k)}, "save_for_backward takes tensors, and argument 1 is int"),
        ({"forward": lambda ctx, x, k: (ctx.mark_dirty(x), x * k)[1]}, "marked an input .* as dirty and did not return it"),
        ({"forward": lambda ctx, x, k: (ctx.mark_dirty(pl.ones(1)), x * k)[1]}, "is no input of forward"),
    ],
)
def test_broken_functions_are_told_what_is_wrong(parts, message):
    with pytest.raises(FunctionError, match=message):
        broken(**parts).apply(leaf(1.0, 2.0), 3).sum().backward()


def test_misuse_of_the_class():
    with pytest.raises(FunctionError, match=r"call Exp\.apply"):
        Exp()
    with pytest.raises(NotImplementedError, match="backward is missing"):
        type("Half", (Function,), {"forward": staticmethod(lambda ctx, x: x * 1)}).apply(leaf(1.0)).backward()
    with pytest.raises(GradientError, match="in backward only"):
        broken(forward=lambda ctx, x, k: ctx.saved_tensors).apply(leaf(1.0), 2)


def test_a_trace_records_the_operators_of_forward():
    graph = trace(lambda x: Exp.apply(x, 0.5) + 1.0, pl.ones(2, 3), {"x": {0: "n"}})
    assert [node.operator.name for node in graph.nodes] == ["mul", "exp", "add"]
    with pytest.raises(TraceError, match=r"test_function.py:\d+: .numpy\(\)"):
        trace(lambda x: Square.apply(x), pl.ones(2))


def test_functions_agree_with_torch():
    torch = pytest.importorskip("torch")

    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            return grad * 3 * x**2

    class OurCube(Function):
        forward, backward = staticmethod(Cube.forward), staticmethod(Cube.backward)

    def chain(library, cube, x):
        (g,) = library.autograd.grad(cube.apply(cube.apply(x)).sum(), x, create_graph=True)
        return library.autograd.grad((g * g).sum(), x)[0]

    values = np.array([0.3, -1.2, 0.9])
    ours = chain(pl, OurCube, pl.from_numpy(values.copy()).requires_grad_())
    theirs = chain(torch, Cube, torch.from_numpy(values.copy()).requires_grad_())
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-12)

# SPDX-License-Identifier: Apache-2.0
"""Products with Jacobians and Hessians, and the matrices themselves (`penlight.autograd.functional`, PyTorch's names).

All are built on the backward: a Jacobian takes one backward for each element of the output, and `jvp` and `hvp` take two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from penlight.autograd.engine import grad
from penlight.autograd.mode import enable_grad
from penlight.backends.backend import backend_of
from penlight.errors import ArgumentError, GradientError
from penlight.ops.shape import stack
from penlight.tensor import Tensor, from_array

Tensors = Tensor | tuple[Tensor, ...]


def vjp(
    func: Callable[..., Any], inputs: Tensors, v: Tensors | None = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """Returns `func(*inputs)` and v^T J, the product of a vector with the Jacobian.

    Args:
        inputs: one tensor or a tuple; each has its own Jacobian.
        v: like the outputs; may be left out for a single element.
        create_graph: makes both results differentiable.
        strict: raises where an output does not depend on an input, instead of giving zeros.
    """
    call = _Call("vjp", func, inputs, create_graph, strict)
    products = call.pull(call.outputs, call.vectors(v, call.outputs), create_graph)
    return call.result(), call.like_inputs(products)


def jvp(
    func: Callable[..., Any], inputs: Tensors, v: Tensors | None = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """Returns `func(*inputs)` and J v, the derivative along v, by the gradient of v^T J (two backwards).

    Args and results are those of `vjp`, with v like the inputs.
    """
    call = _Call("jvp", func, inputs, create_graph, strict)
    vectors = call.vectors(v, call.inputs)
    products = push(call.outputs, call.inputs, vectors, create_graph)
    return call.result(), call.like_outputs(products)


def jacobian(func: Callable[..., Any], inputs: Tensors, create_graph: bool = False, strict: bool = False) -> Any:
    """Returns the Jacobian of `func` at `inputs`.

    Returns:
        A tensor of shape (*output.shape, *input.shape); a tuple over the outputs where func returns a tuple, of tuples
        over the inputs where they are a tuple.
    """
    call = _Call("jacobian", func, inputs, create_graph, strict)
    blocks = tuple(call.like_inputs(rows(y, call.inputs, create_graph, call.check)) for y in call.outputs)
    return blocks if call.has_tuple else blocks[0]


def hessian(func: Callable[..., Any], inputs: Tensors, create_graph: bool = False, strict: bool = False) -> Any:
    """Returns the Hessian of `func`, which must return a single element.

    Returns:
        A tensor of shape (*input.shape, *input.shape); a tuple of tuples where `inputs` is a tuple.
    """
    given = inputs if isinstance(inputs, tuple) else (inputs,)

    def gradient(*xs: Tensor) -> tuple[Tensor, ...]:
        call = _Call("hessian", func, xs, True, strict)
        call.single()
        return call.pull(call.outputs, None, True)

    blocks = jacobian(gradient, given, create_graph, strict)
    return blocks if given is inputs else blocks[0][0]


def vhp(
    func: Callable[..., Any], inputs: Tensors, v: Tensors | None = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """Returns `func(*inputs)`, a single element, and v^T H, the product of a vector with the Hessian."""
    call = _Call("vhp", func, inputs, create_graph, strict)
    call.single()
    gradients = call.pull(call.outputs, None, True)
    products = call.pull(gradients, call.vectors(v, call.inputs), create_graph)
    return call.result(), call.like_inputs(products)


def hvp(
    func: Callable[..., Any], inputs: Tensors, v: Tensors | None = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """Returns `func(*inputs)`, a single element, and H v; `vhp` gives the same for smooth functions and is cheaper."""
    call = _Call("hvp", func, inputs, create_graph, strict)
    call.single()
    vectors = call.vectors(v, call.inputs)
    products = push(call.pull(call.outputs, None, True), call.inputs, vectors, create_graph)
    return call.result(), call.like_inputs(products)


class _Call:
    """One run of a function on inputs of its own, so that only they are differentiated."""

    def __init__(self, name: str, func: Callable[..., Any], inputs: Any, create_graph: bool, strict: bool) -> None:
        self.name, self.strict, self.create_graph = name, strict, create_graph
        self.is_tuple = isinstance(inputs, (tuple, list))
        given = tuple(inputs) if self.is_tuple else (inputs,)
        for position, t in enumerate(given):
            if not isinstance(t, Tensor):
                raise ArgumentError(f"{name}: input {position} must be a tensor, came {type(t).__name__}; bind it with a lambda")
        with enable_grad():
            self.inputs = [fresh(t, create_graph) for t in given]
            outputs = func(*self.inputs)
        self.has_tuple = isinstance(outputs, (tuple, list))
        self.outputs: list[Tensor] = list(outputs) if self.has_tuple else [outputs]
        for position, y in enumerate(self.outputs):
            if not isinstance(y, Tensor):
                raise ArgumentError(f"{name}: the function must return tensors, output {position} is {type(y).__name__}")
            if strict and not y.requires_grad:
                raise GradientError(f"{name}: output {position} does not depend on the inputs, and strict=True was given")

    def single(self) -> None:
        """Refuses anything but a single element as the result."""
        if len(self.outputs) != 1 or self.outputs[0].numel() != 1:
            shapes = ", ".join(str(tuple(y.shape)) for y in self.outputs)
            raise ArgumentError(f"{self.name}: the function must return a single element, came {shapes}; did you mean .sum()?")

    def vectors(self, v: Any, likes: Sequence[Tensor]) -> list[Tensor] | None:
        """The given vectors, checked against the tensors that they must be like."""
        if v is None:
            if len(likes) != 1 or likes[0].numel() != 1:
                raise ArgumentError(f"{self.name}: v may be left out for a single element only; pass one vector for each tensor")
            return [ones_like(likes[0])]
        vectors = list(v) if isinstance(v, (tuple, list)) else [v]
        came, wanted = [tuple(t.shape) for t in vectors], [tuple(t.shape) for t in likes]
        if came != wanted:
            raise ArgumentError(f"{self.name}: v has the shapes {came}, expected {wanted}")
        return vectors

    def pull(self, outputs: Sequence[Tensor], seeds: Sequence[Tensor] | None, create_graph: bool) -> tuple[Tensor, ...]:
        """The gradients of the inputs, zeros where there are none."""
        return pull(outputs, self.inputs, seeds, create_graph, self.check)

    def check(self, found: Sequence[Tensor | None]) -> None:
        """Refuses an input without a gradient, when strict."""
        for position, g in enumerate(found):
            if g is None and self.strict:
                raise GradientError(f"{self.name}: the output does not depend on input {position}, and strict=True was given")

    def result(self) -> Any:
        """What the function returned, off the tape unless a graph was asked for."""
        return self.like_outputs([y if self.create_graph else y.detach() for y in self.outputs])

    def like_inputs(self, tensors: Sequence[Any]) -> Any:
        return tuple(tensors) if self.is_tuple else tensors[0]

    def like_outputs(self, tensors: Sequence[Any]) -> Any:
        return tuple(tensors) if self.has_tuple else tensors[0]


def fresh(t: Tensor, keeps_graph: bool) -> Tensor:
    """The same values as a tensor to differentiate for; with the tape that leads to it where that is wanted."""
    if keeps_graph and t.requires_grad:
        return t.view_as(t)
    return t.detach().requires_grad_()


def ones_like(t: Tensor) -> Tensor:
    """Ones of the shape and dtype of a tensor."""
    return from_array(backend_of(t._data).filled_like(t._data, 1))


def zeros_like(t: Tensor) -> Tensor:
    """Zeros of the shape and dtype of a tensor."""
    return from_array(backend_of(t._data).filled_like(t._data, 0))


def pull(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    seeds: Sequence[Tensor] | None,
    create_graph: bool,
    check: Callable[[Sequence[Tensor | None]], None] = lambda found: None,
) -> tuple[Tensor, ...]:
    """v^T J of several outputs, zeros where they do not depend on an input; the tape is kept."""
    starts = list(seeds) if seeds is not None else [ones_like(y) for y in outputs]
    pairs = [(y, v) for y, v in zip(outputs, starts, strict=True) if y.requires_grad]
    found: Sequence[Tensor | None] = [None] * len(inputs)
    if pairs:
        ys, vs = zip(*pairs, strict=True)
        found = grad(ys, inputs, vs, retain_graph=True, create_graph=create_graph, allow_unused=True)
    check(found)
    return tuple(zeros_like(t) if g is None else g for g, t in zip(found, inputs, strict=True))


def push(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], vectors: Sequence[Tensor] | None, create_graph: bool
) -> tuple[Tensor, ...]:
    """J v: v^T J is linear in its vector, and the gradient of that linear map at any point, here 0, is J v."""
    dummies, products = _linear_map(outputs, inputs)
    return pull(products, dummies, vectors, create_graph)


def _linear_map(outputs: Sequence[Tensor], inputs: Sequence[Tensor]) -> tuple[list[Tensor], tuple[Tensor, ...]]:
    """A vector v of zeros, and v^T J on the tape."""
    with enable_grad():
        dummies = [zeros_like(y).requires_grad_() for y in outputs]
        return dummies, pull(outputs, inputs, dummies, True)


def columns(outputs: Sequence[Tensor], inputs: Sequence[Tensor], create_graph: bool) -> list[list[Tensor]]:
    """Per output d y / d input for each input, as `rows` gives it, by one backward for each element of the inputs."""
    dummies, products = _linear_map(outputs, inputs)
    turned = [rows(product, dummies, create_graph) for product in products]  # (*input.shape, *y.shape)
    return [
        [block[k].permute((*range(t.ndim, t.ndim + y.ndim), *range(t.ndim))) for block, t in zip(turned, inputs, strict=True)]
        for k, y in enumerate(outputs)
    ]


def rows(
    y: Tensor,
    inputs: Sequence[Tensor],
    create_graph: bool,
    check: Callable[[Sequence[Tensor | None]], None] = lambda found: None,
) -> list[Tensor]:
    """d y / d input for each input, (*y.shape, *input.shape), by one backward for each element of y."""
    count = y._data.size
    if not count:
        return [zeros_like(y).reshape((*y.shape, *(1,) * t.ndim)).expand((*y.shape, *t.shape)).clone() for t in inputs]
    found = []
    for place in range(count):
        seed = zeros_like(y)
        seed._data.reshape(-1)[place] = 1
        found.append(pull([y], inputs, [seed], create_graph, check))
    with enable_grad():
        columns = [stack([row[k] for row in found]).reshape((*y.shape, *t.shape)) for k, t in enumerate(inputs)]
    return columns if create_graph else [column.detach() for column in columns]

# SPDX-License-Identifier: Apache-2.0
"""Control flow that depends on values: a branch, a loop with a condition, a loop over the first dimension.

In eager mode all three are plain Python, with the tape working through them. Under a trace they are recorded with what their
functions do, so that an exported model branches and loops by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from penlight.autograd.function import Function as Autograd
from penlight.errors import ArgumentError, ControlFlowError, DTypeError, ShapeError
from penlight.ops.create import empty, zeros, zeros_like
from penlight.ops.shape import stack
from penlight.source import function_place
from penlight.symbolic import SymInt
from penlight.tape import mode
from penlight.tensor import Tensor, tensor
from penlight.tree import flatten_tensors

Function = Callable[..., Any]


def cond(pred: Any, true_fn: Function, false_fn: Function, operands: Sequence[Any] = ()) -> Any:
    """Returns `true_fn(*operands)` where `pred` is true, else `false_fn(*operands)`.

    Under a trace both functions are recorded, as the If operator of ONNX; they must then return the same structure, dtypes and
    ranks, and may read tensors of the code around them but not write into them.

    Args:
        pred: one bool, as a tensor or of Python.
        true_fn, false_fn: return a tensor, or tensors in tuples, lists and dicts.
        operands: a tuple or list of arguments.

    Raises:
        DTypeError, ShapeError: `pred` is not one bool.
        ControlFlowError: the functions do not agree.

    Example:
        >>> pl.cond(x.sum() > 0, lambda x: x + 1, lambda x: -x, (x,))
        tensor([3.0000, 2.0000])
    """
    operands = _arguments("cond", operands)
    pred = condition("cond", "pred", pred)
    if isinstance(pred, Tensor) and pred._traced is not None:
        from penlight import control_trace  # here: only a trace needs it

        return control_trace.cond(mode.tracer, pred, true_fn, false_fn, operands)
    return (true_fn if pred else false_fn)(*operands)


def while_loop(cond_fn: Function, body_fn: Function, operands: Sequence[Any]) -> tuple[Any, ...]:
    """Returns the values that `body_fn` made, called again and again on its own results while `cond_fn(*values)` is true.

    Under a trace both functions are recorded once, as the Loop operator of ONNX.

    Args:
        cond_fn: takes the values, returns one bool.
        body_fn: takes the values and returns as many, in the same structure, with the same dtypes and ranks. A size that changes
            from one iteration to the next is allowed.
        operands: the first values, a tuple or list; numbers become tensors.

    Raises:
        DTypeError, ShapeError: `cond_fn` does not return one bool.
        ControlFlowError: `body_fn` returns something other than it takes.

    Example:
        >>> pl.while_loop(lambda n: n > 1, lambda n: (n // 2,), (pl.tensor(40),))
        (tensor(1),)
    """
    values = as_tensors("while_loop", "operands", _arguments("while_loop", operands))
    if not flatten_tensors(values)[0]:
        raise ArgumentError("while_loop: expected at least one tensor in operands, came none")
    if mode.tracer is not None:
        from penlight import control_trace  # here: only a trace needs it

        return control_trace.while_loop(mode.tracer, cond_fn, body_fn, values)
    while condition("while_loop", "what cond_fn returns", cond_fn(*values)):
        values = next_values("while_loop", body_fn, values, body_fn(*values))
    return values


def scan(f: Function, init: Any, xs: Any = None, length: int | None = None, reverse: bool = False) -> tuple[Any, Any]:
    """Carries a value over the slices of `xs` along dimension 0: `carry, y = f(carry, x)` for each. Returns (carry, all y stacked).

    Under a trace `f` is recorded once, as the Scan operator of ONNX (as Loop without `xs`), so that the number of slices may be
    a dynamic dimension.

    Args:
        f: takes the carried value and one slice (None without `xs`), and returns the next carried value, in the same structure
            with the same dtypes and sizes, and an output: tensors of any structure, or None.
        init: the first carried value: tensors of any structure; numbers become tensors.
        xs: tensors of any structure with the same size in dimension 0.
        length: the number of steps, where there is no `xs`.
        reverse: go from the last slice to the first; the outputs still stand in the order of the slices.

    Raises:
        ArgumentError: neither `xs` nor `length` is given, or they differ.
        ShapeError: the tensors of `xs` have no common first size.
        ControlFlowError: `f` returns another carried value than it takes, or no pair.

    Example:
        >>> pl.scan(lambda total, x: (total + x, total), pl.tensor(0.0), pl.tensor([1.0, 2.0, 3.0]))
        (tensor(6.), tensor([0., 1., 3.]))
    """
    init, xs = as_tensors("scan", "init", init), as_tensors("scan", "xs", xs)
    count = _length(flatten_tensors(xs)[0], length)
    if mode.tracer is not None:
        from penlight import control_trace  # here: only a trace needs it

        return control_trace.scan(mode.tracer, f, init, xs, count, reverse)
    return _run_scan(f, init, xs, count, reverse)


class _Slices(Autograd):
    """The slices of dimension 0; their gradients are joined once, where indexing would fill a whole tensor for each."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Any:
        ctx.set_materialize_grads(False)
        return tuple(x[k].clone() for k in range(len(x)))

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        like = next((g for g in grads if g is not None), None)
        return None if like is None else stack([zeros_like(like) if g is None else g for g in grads])


def _slices(x: Tensor) -> Sequence[Tensor]:
    if mode.enabled and x.requires_grad and len(x) > 1:
        return _Slices.apply(x)
    return [x[k] for k in range(len(x))]


def _run_scan(f: Function, init: Any, xs: Any, count: int, reverse: bool) -> tuple[Any, Any]:
    leaves, rebuild, _ = flatten_tensors(xs)
    slices = [_slices(t) for t in leaves]
    carry, rows = init, []
    for step in range(count - 1, -1, -1) if reverse else range(count):
        carry, y = pair(f, carry, f(carry, rebuild([parts[step] for parts in slices])))
        rows.append(flatten_tensors(as_tensors("scan", "what f returns", y)))
    if not rows:  # one call on zeros tells the structure and the sizes of what it would return
        _, y = pair(f, init, f(init, rebuild([zeros(*t.shape[1:], dtype=t.dtype, device=t.device) for t in leaves])))
        parts, join, _ = flatten_tensors(as_tensors("scan", "what f returns", y))
        return init, join([empty(0, *t.shape, dtype=t.dtype, device=t.device) for t in parts])
    join = rows[0][1]
    return carry, join([stack(column[::-1] if reverse else column) for column in zip(*(row[0] for row in rows), strict=True)])


def _arguments(name: str, operands: Any) -> tuple[Any, ...]:
    if not isinstance(operands, (tuple, list)):
        raise ArgumentError(f"{name}: operands must be a tuple or list of arguments, came {type(operands).__name__}; write (x,)")
    return tuple(operands)


def condition(name: str, what: str, value: Any) -> Any:
    """The value if it is one bool: of Python, or as a tensor, which loses its dimensions.

    Raises:
        DTypeError, ShapeError: it is not.
    """
    if isinstance(value, bool):
        return value
    if not isinstance(value, Tensor) or value.dtype.kind != 0:
        came = f"a tensor of {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
        raise DTypeError(f"{name}: {what} must be one bool, came {came}; compare, for example x.sum() > 0")
    if value._data.size != 1:
        raise ShapeError(f"{name}: {what} must be one bool, came shape {tuple(value.shape)}; use .any() or .all()")
    return value if value._data.ndim == 0 else value.reshape(())


def as_tensors(name: str, what: str, value: Any) -> Any:
    """The same structure with numbers as tensors.

    Raises:
        ArgumentError: a leaf is neither a tensor nor a number.
    """
    leaves, rebuild, _ = flatten_tensors(value)
    return rebuild([_as_tensor(name, what, leaf) for leaf in leaves])


def _as_tensor(name: str, what: str, leaf: Any) -> Tensor:
    if isinstance(leaf, Tensor):
        return leaf
    if isinstance(leaf, SymInt) and mode.tracer is not None:
        return mode.tracer.scalar(leaf, tensor(0).dtype)
    if isinstance(leaf, (bool, int, float)):
        return tensor(leaf)
    raise ArgumentError(f"{name}: {what} must consist of tensors and numbers, came {type(leaf).__name__}")


def _length(leaves: Sequence[Tensor], length: int | None) -> int:
    if any(t.ndim == 0 for t in leaves):
        raise ShapeError("scan: each tensor of xs needs a first dimension to go over, came one without dimensions")
    sizes = [t.shape[0] for t in leaves] + ([] if length is None else [length])
    if not sizes:
        raise ArgumentError("scan: expected xs, or length for the number of steps, came neither")
    if len(set(sizes)) > 1:
        raise ShapeError(f"scan: the first sizes of xs, and length if given, must be equal, came {', '.join(map(str, sizes))}")
    return sizes[0]


def pair(f: Function, carry: Any, result: Any) -> tuple[Any, Any]:
    """What the function of a scan returns: the next carried value, checked against the one before, and an output."""
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        raise ControlFlowError(f"scan: f ({function_place(f)}) must return (carry, y), came {type(result).__name__}")
    return _checked("scan", f, "the carried value", carry, result[0]), result[1]


def next_values(name: str, body_fn: Function, values: tuple[Any, ...], result: Any) -> tuple[Any, ...]:
    """What a body returns, checked against what it took; one value may come without a tuple around it."""
    if len(values) == 1 and not isinstance(result, (tuple, list)):
        result = (result,)
    return _checked(name, body_fn, "its values", values, tuple(result) if isinstance(result, (tuple, list)) else result)


def _checked(name: str, function: Function, what: str, before: Any, after: Any) -> Any:
    after = as_tensors(name, f"what the function ({function_place(function)}) returns", after)
    difference = find_difference(before, after)
    if difference:
        raise ControlFlowError(
            f"{name}: {function_place(function)} must return {what} as it takes them, but {difference}; convert what it returns"
        )
    return after


def find_difference(a: Any, b: Any, names: tuple[str, str] = ("it takes", "it returns")) -> str | None:
    """In what two structures of tensors differ: structure, dtype or rank; None when they agree."""
    (left, _, text), (right, _, other) = flatten_tensors(a), flatten_tensors(b)
    if text != other:
        return f"{names[0]} {text} and {names[1]} {other}"
    for position, (x, y) in enumerate(zip(left, right, strict=True)):
        if x.dtype is not y.dtype or x.ndim != y.ndim:
            place = f" at position {position}" if len(left) > 1 else ""
            return f"{names[0]} {_described(x)}{place} and {names[1]} {_described(y)}"
    return None


def _described(t: Tensor) -> str:
    return f"{t.dtype} {tuple(map(int, t.shape))}"

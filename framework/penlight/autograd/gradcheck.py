# SPDX-License-Identifier: Apache-2.0
"""`gradcheck` and `gradgradcheck`: gradients against finite differences, with PyTorch's arguments and messages.

Absent: forward mode and batched gradients, which Penlight does not have.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from penlight.autograd.engine import grad
from penlight.autograd.mode import enable_grad
from penlight.backends.backend import backend_of
from penlight.dtype import float64
from penlight.errors import ArgumentError, GradcheckError
from penlight.ops.complex_parts import imag, real
from penlight.tensor import Tensor, from_array

Function = Callable[..., Any]


@dataclass(frozen=True)
class _Check:
    """The arguments of one check, which its parts share."""

    eps: float
    atol: float
    rtol: float
    nondet_tol: float
    check_undefined_grad: bool
    check_grad_dtypes: bool
    fast_mode: bool

    def close(self, a: np.ndarray, n: np.ndarray, scale: float = 1.0) -> bool:
        return a.shape == n.shape and bool(np.all(np.abs(a - n) <= self.atol * scale + self.rtol * np.abs(n)))


def gradcheck(
    func: Function,
    inputs: Tensor | Sequence[Any],
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    fast_mode: bool = False,
) -> bool:
    """Returns whether the gradients of `func` agree with central differences.

    Every input that requires a gradient should be float64: in float32 the differences themselves are too coarse. The
    check is `|analytical - numerical| <= atol + rtol * |numerical|` for each element of each Jacobian.

    Args:
        func: takes the inputs and returns a tensor or a sequence of them; complex results are checked by their parts.
        inputs: tensors of any shape, and other arguments, which are passed on.
        eps: the step of the differences.
        raise_exception: raises on a failure; with False the result tells.
        nondet_tol: how much two runs of the backward may differ.
        check_undefined_grad: also checks that leaving out the gradient of a result is the same as passing zeros.
        check_grad_dtypes: also checks that each gradient has the dtype of its input.
        fast_mode: compares one random projection of each Jacobian, which takes two calls per input instead of two per element.

    Raises:
        GradcheckError: a gradient is wrong; the message holds both Jacobians.
        ArgumentError: no input requires a gradient, or one repeats elements of its memory (stride 0).

    Example:
        >>> x = pl.tensor([0.5, 2.0], dtype=pl.float64, requires_grad=True)
        >>> pl.autograd.gradcheck(lambda x: x.exp().sum(), x)
        True
    """
    check = _Check(eps, atol, rtol, nondet_tol, check_undefined_grad, check_grad_dtypes, fast_mode)
    arguments = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    try:
        _check_inputs(arguments, eps)
        with enable_grad():
            _run(func, arguments, check)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(
    func: Function,
    inputs: Tensor | Sequence[Any],
    grad_outputs: Tensor | Sequence[Tensor] | None = None,
    *,
    gen_non_contig_grad_outputs: bool = False,
    **options: Any,
) -> bool:
    """Returns whether the gradients of the gradients of `func` agree with central differences.

    The function that is checked takes the inputs and `grad_outputs` and returns the gradients of the inputs.

    Args:
        grad_outputs: per differentiable result the gradient to start from; random ones where not given.
        gen_non_contig_grad_outputs: makes those random ones strided.
        options: the keyword arguments of `gradcheck`, which also says what is raised.
    """
    arguments = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    with enable_grad():
        results = _differentiable(func(*arguments))
    if grad_outputs is None:
        rng = np.random.default_rng(0)  # of its own: the user's stream of random numbers stays as it is
        cotangents = tuple(_cotangent(t, rng, gen_non_contig_grad_outputs) for t in results)
    else:
        cotangents = (grad_outputs,) if isinstance(grad_outputs, Tensor) else tuple(grad_outputs)
    count = len(arguments)

    def gradients(*both: Any) -> tuple[Tensor, ...]:
        outputs = _differentiable(func(*both[:count]))
        chosen = [t for t in both[:count] if _requires_grad(t)]
        found = grad(outputs, chosen, both[count:], create_graph=True, allow_unused=True)
        return tuple(g for g in found if g is not None)

    return gradcheck(gradients, (*arguments, *cotangents), **options)


def _requires_grad(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def _differentiable(results: Any) -> list[Tensor]:
    """The results that require a gradient; complex ones as their real and imaginary part."""
    found: list[Tensor] = []
    for t in results if isinstance(results, (tuple, list)) else (results,):
        if not isinstance(t, Tensor):
            raise ArgumentError(f"gradcheck: the function must return tensors, came {type(t).__name__}")
        if t.requires_grad:
            found += [real(t), imag(t)] if t._data.dtype.kind == "c" else [t]
    return found


def _cotangent(t: Tensor, rng: np.random.Generator, is_strided: bool) -> Tensor:
    values = rng.uniform(-1, 1, (*t._data.shape, 2) if is_strided else t._data.shape)
    array = _like(np.asarray(values, t._data.dtype), t)
    return from_array(array[..., 0] if is_strided else array).requires_grad_()


def _like(array: Any, t: Tensor) -> Any:
    """A NumPy array on the device of a tensor."""
    backend = backend_of(t._data)
    return backend.asarray(np.asarray(array), backend.device_of(t._data))


def _check_inputs(arguments: tuple[Any, ...], eps: float) -> None:
    if not any(map(_requires_grad, arguments)):
        raise ArgumentError(
            "gradcheck: expects at least one input tensor to require gradient, but none of them has requires_grad=True"
        )
    for position, t in enumerate(arguments):
        if not _requires_grad(t):
            continue
        if t.dtype is not float64 and eps < 1e-4:
            warnings.warn(
                f"gradcheck: input {position} requires a gradient and is {t.dtype}; the check will likely fail, "
                "since only float64 is fine enough for differences with this eps",
                stacklevel=3,
            )
        if t._data.size and any(size > 1 and step == 0 for size, step in zip(t._data.shape, t._data.strides, strict=True)):
            raise ArgumentError(
                f"gradcheck: input {position} has a dimension with stride 0, so its elements cannot be moved one by one; "
                "call .contiguous() on it first"
            )


def _run(func: Function, arguments: tuple[Any, ...], check: _Check) -> None:
    results = _differentiable(func(*arguments))
    leaves = [t for t in arguments if _requires_grad(t)]
    if not results:
        _check_constant(func, arguments, leaves, check)
        return
    if check.check_undefined_grad and len(results) > 1:
        _check_undefined(results, leaves, check)
    compare = _compare_fast if check.fast_mode else _compare_slow
    for number, output in enumerate(results):
        compare(func, arguments, leaves, number, output, check)
    _check_grad_times_zero(results, leaves, check)


def _arrays(func: Function, arguments: tuple[Any, ...]) -> list[np.ndarray]:
    """The differentiable results as arrays of their own."""
    return [np.array(backend_of(t._data).to_numpy(t._data)) for t in _differentiable(func(*arguments))]


def _numerical(func: Function, arguments: tuple[Any, ...], t: Tensor, number: int, eps: float) -> np.ndarray:
    """d output[number] / d t by central differences. (elements of t, elements of the output)"""
    rows = []
    for place in np.ndindex(tuple(t._data.shape)):
        kept = t._data[place].copy()
        moved = []
        for step in (eps, -eps):
            t._data[place] = kept + step
            moved.append(_arrays(func, arguments)[number].reshape(-1))
        t._data[place] = kept
        rows.append((moved[0] - moved[1]) / (2 * eps))
    return np.stack(rows) if rows else np.zeros((0, 0))


def _gradients(output: Tensor, leaves: Sequence[Tensor], seed: np.ndarray) -> list[np.ndarray | None]:
    start = from_array(_like(seed, output))
    found = grad(output, leaves, start, retain_graph=True, allow_unused=True)
    for position, (g, t) in enumerate(zip(found, leaves, strict=True)):
        if g is not None and tuple(g.shape) != tuple(t.shape):
            raise GradcheckError(f"grad is incorrect size: input {position} is {tuple(t.shape)}, its gradient {tuple(g.shape)}")
    return [None if g is None else np.array(backend_of(g._data).to_numpy(g._data)) for g in found]


def _unit_seeds(output: Tensor) -> Iterator[np.ndarray]:
    for place in np.ndindex(tuple(output._data.shape)):
        seed = np.zeros(output._data.shape, output._data.dtype)
        seed[place] = 1
        yield seed


def _analytical(output: Tensor, leaves: Sequence[Tensor]) -> list[np.ndarray]:
    """Per leaf d output / d leaf by backward, a column for each element of the output."""
    rows = [_gradients(output, leaves, seed) for seed in _unit_seeds(output)]
    return [
        np.stack([_flat(row[k], t) for row in rows], axis=1) if rows else np.zeros((t._data.size, 0)) for k, t in enumerate(leaves)
    ]


def _flat(gradient: np.ndarray | None, leaf: Tensor) -> np.ndarray:
    return np.zeros(leaf._data.size) if gradient is None else gradient.reshape(-1)


def _compare_slow(
    func: Function, arguments: tuple[Any, ...], leaves: list[Tensor], number: int, output: Tensor, check: _Check
) -> None:
    first, second = _analytical(output, leaves), _analytical(output, leaves)
    for position, t in enumerate(leaves):
        if not t._data.size or not output._data.size:
            continue
        numerical = _numerical(func, arguments, t, number, check.eps)
        _check_repeatable(first[position], second[position], check)
        if not check.close(first[position], numerical):
            raise _mismatch(number, position, numerical, first[position])


def _mismatch(number: int, position: int, numerical: np.ndarray, analytical: np.ndarray, note: str = "") -> GradcheckError:
    return GradcheckError(
        f"Jacobian mismatch for output {number} with respect to input {position},\n"
        f"numerical:{numerical}\nanalytical:{analytical}\n{note}"
    )


def _check_repeatable(a: np.ndarray, b: np.ndarray, check: _Check) -> None:
    if not np.all((np.abs(a - b) <= check.nondet_tol) | ((a != a) & (b != b))):
        raise GradcheckError(
            "Backward is not reentrant, i.e., running backward with same input and grad_output multiple times gives different "
            f"values, although analytical gradient matches numerical gradient. "
            f"The tolerance for nondeterminism was {check.nondet_tol}."
        )


def _compare_fast(
    func: Function, arguments: tuple[Any, ...], leaves: list[Tensor], number: int, output: Tensor, check: _Check
) -> None:
    """Compares v^T J u for one random v and u, as PyTorch's fast mode does."""
    rng = np.random.default_rng(number)
    v = _unit(rng, output._data)
    first, second = _gradients(output, leaves, v), _gradients(output, leaves, v)
    for position, t in enumerate(leaves):
        if not t._data.size or not output._data.size:
            continue
        u = _unit(rng, t._data)
        numerical = np.sum(v * _along(func, arguments, t, u, number, check.eps))
        a, b = first[position], second[position]
        analytical = np.zeros(()) if a is None else np.sum(a * u)
        if a is not None and b is not None:
            _check_repeatable(a, b, check)
        if not check.close(np.asarray(analytical), np.asarray(numerical), float(u.sum() * v.sum())):
            slow = _numerical(func, arguments, t, number, check.eps)
            exact = _analytical(output, [t])[0]
            raise _mismatch(number, position, slow, exact, f"The projections differ: {numerical} and {analytical}.")


def _unit(rng: np.random.Generator, array: Any) -> np.ndarray:
    values = rng.uniform(0, 1, array.shape)
    return np.asarray(values / max(float(np.linalg.norm(values)), 1e-300), array.dtype)


def _along(func: Function, arguments: tuple[Any, ...], t: Tensor, u: np.ndarray, number: int, eps: float) -> np.ndarray:
    kept = t._data.copy()
    direction = _like(u, t)
    moved = []
    for step in (eps, -eps):
        t._data[...] = kept + step * direction
        moved.append(_arrays(func, arguments)[number])
    t._data[...] = kept
    return (moved[0] - moved[1]) / (2 * eps)


def _check_constant(func: Function, arguments: tuple[Any, ...], leaves: list[Tensor], check: _Check) -> None:
    """A result without a gradient is right only if it does not change with the inputs."""
    before = _all_arrays(func, arguments)
    for position, leaf in enumerate(leaves):
        kept = leaf._data.copy()
        leaf._data[...] = kept + check.eps
        after = _all_arrays(func, arguments)
        leaf._data[...] = kept
        for number, (a, b) in enumerate(zip(before, after, strict=True)):
            if not np.allclose(a, b, rtol=0, atol=check.atol * check.eps, equal_nan=True):
                raise GradcheckError(
                    f"Numerical gradient for function expected to be zero: output {number}, which does not require a gradient, "
                    f"changes with input {position}"
                )


def _all_arrays(func: Function, arguments: tuple[Any, ...]) -> list[np.ndarray]:
    results = func(*arguments)
    tensors = results if isinstance(results, (tuple, list)) else (results,)
    return [np.array(backend_of(t._data).to_numpy(t._data)) for t in tensors if t.dtype.is_floating_point]


def _check_grad_times_zero(results: list[Tensor], leaves: list[Tensor], check: _Check) -> None:
    """Gradients are linear in what comes in, and have the shape and dtype of their input."""
    seeds = [from_array(backend_of(t._data).xp.zeros_like(t._data)) for t in results]
    found = grad(results, leaves, seeds, retain_graph=True, allow_unused=True)
    if all(g is None for g in found):
        raise GradcheckError("no grad received for any input: the results do not depend on the inputs that require a gradient")
    for position, (g, t) in enumerate(zip(found, leaves, strict=True)):
        if g is None:
            continue
        if check.check_grad_dtypes and g.dtype is not t.dtype:
            raise GradcheckError(f"grad is incorrect type: input {position} is {t.dtype}, its gradient {g.dtype}")
        if (backend_of(g._data).to_numpy(g._data) != 0).any():
            raise GradcheckError(f"backward not multiplied by grad_output: input {position} has a gradient for grad_output 0")


def _check_undefined(results: list[Tensor], leaves: list[Tensor], check: _Check) -> None:
    """Leaving out the gradient of one result equals passing zeros for it."""
    rng = np.random.default_rng(1)
    seeds = [from_array(_like(rng.uniform(-1, 1, t._data.shape).astype(t._data.dtype), t)) for t in results]
    for number in range(len(results)):
        zeros = [from_array(backend_of(s._data).xp.zeros_like(s._data)) if k == number else s for k, s in enumerate(seeds)]
        rest = [k for k in range(len(results)) if k != number]
        expected = grad(results, leaves, zeros, retain_graph=True, materialize_grads=True)
        try:
            found = grad([results[k] for k in rest], leaves, [seeds[k] for k in rest], retain_graph=True, materialize_grads=True)
        except (TypeError, AttributeError) as error:  # arithmetic on the None that came instead of a gradient
            raise _undefined(number) from error
        for a, b in zip(expected, found, strict=True):
            assert a is not None  # both are materialized
            assert b is not None
            left, right = (backend_of(g._data).to_numpy(g._data) for g in (a, b))
            if not np.allclose(left, right, rtol=check.rtol, atol=check.atol, equal_nan=True):
                raise _undefined(number)


def _undefined(number: int) -> GradcheckError:
    return GradcheckError(
        f"Expected backward function to handle undefined output grads: without a gradient for output {number} it fails, or gives "
        "another result than with zeros"
    )

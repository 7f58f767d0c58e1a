# SPDX-License-Identifier: Apache-2.0
"""Functions of functions (`penlight.func`, PyTorch's names): gradients, Jacobians, and modules as functions of their weights.

Tensors may be nested in tuples, lists and dicts. Transforms nest: `grad(grad(f))` is the second derivative. There is no
forward mode: `jvp` and `jacfwd` differentiate a backward, so every operator in between needs a second derivative. Absent:
`vmap`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from penlight.autograd import functional
from penlight.autograd.mode import enable_grad, is_grad_enabled
from penlight.errors import ArgumentError, GradientError, StateDictError
from penlight.nn.module import Module
from penlight.tensor import Tensor
from penlight.tree import flatten

Argnums = int | tuple[int, ...]


def functional_call(
    module: Module,
    parameter_and_buffer_dicts: Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]],
    args: Any = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Returns what the module gives with other tensors in place of its parameters and buffers; the module stays as it is.

    Args:
        parameter_and_buffer_dicts: names as in the state_dict to tensors; several dicts are joined.
        args: the positional arguments, a tuple or a single one.
        tie_weights: a tensor that the module has under several names is replaced under all of them.
        strict: every parameter and buffer must be given.

    Raises:
        StateDictError: a name is unknown, given twice, or missing with `strict`.

    Example:
        >>> functional_call(linear, {"weight": pl.zeros(3, 4)}, x)
    """
    given = _joined(parameter_and_buffer_dicts)
    held = {**dict(module.named_parameters(remove_duplicate=False)), **dict(module.named_buffers(remove_duplicate=False))}
    unknown, missing = sorted(set(given) - set(held)), sorted(set(held) - set(given))
    if unknown or (strict and missing):
        kind, names = ("unknown", unknown) if unknown else ("missing", missing)
        raise StateDictError(f"functional_call: {kind} in {type(module).__name__}: {', '.join(names[:20])}; see named_parameters()")
    if tie_weights:
        by_tensor = {id(held[name]): t for name, t in given.items()}
        given |= {name: by_tensor[id(t)] for name, t in held.items() if name not in given and id(t) in by_tensor}
    arguments = () if args is None else args if isinstance(args, tuple) else (args,)
    restore = [_swap(module, name, t) for name, t in given.items()]
    try:
        return module(*arguments, **(kwargs or {}))
    finally:
        for undo in restore:
            undo()


def _joined(dicts: Any) -> dict[str, Tensor]:
    given: dict[str, Tensor] = {}
    for part in (dicts,) if isinstance(dicts, Mapping) else dicts:
        twice = sorted(set(given) & set(part))
        if twice:
            raise StateDictError(f"functional_call: given in two dicts: {', '.join(twice[:20])}; each name may come once")
        given |= part
    return given


def _swap(module: Module, name: str, t: Tensor) -> Callable[[], None]:
    """Puts a tensor in the place of a parameter or buffer; returns what undoes it."""
    path, _, last = name.rpartition(".")
    owner = module.get_submodule(path)
    entries: dict[str, Any] = owner._parameters if last in owner._parameters else owner._buffers
    held = entries[last]

    def put(value: Any) -> None:
        entries[last] = value
        object.__setattr__(owner, last, value)  # past the check that a parameter stays a Parameter

    put(t)
    return lambda: put(held)


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """Returns `func(*primals)` and a function that takes vectors like the output and gives v^T J, a tuple like `primals`.

    With `has_aux`, func returns (output, aux) and aux comes as a third result.
    """
    run = _Run("vjp", func, primals, tuple(range(len(primals))), has_aux)

    def pull(cotangents: Any) -> tuple[Any, ...]:
        seeds = flatten(cotangents)[0]
        run.check_like("cotangents", seeds, run.outputs)
        return tuple(run.rebuild(run.pull(seeds, run.keeps_graph or any(s.requires_grad for s in seeds))))

    return (run.result(), pull, run.aux) if has_aux else (run.result(), pull)


def jvp(
    func: Callable[..., Any], primals: tuple[Any, ...], tangents: tuple[Any, ...], *, strict: bool = False, has_aux: bool = False
) -> tuple[Any, ...]:
    """Returns `func(*primals)` and its derivative along `tangents`, by two backwards.

    With `strict` an output that does not depend on the primals raises; with `has_aux` aux comes as a third result.
    """
    run = _Run("jvp", func, primals, tuple(range(len(primals))), has_aux)
    vectors = flatten(tangents)[0]
    run.check_like("tangents", vectors, run.inputs)
    if strict and not all(y.requires_grad for y in run.outputs):
        raise GradientError("jvp: an output does not depend on the primals, and strict=True was given")
    keeps_graph = run.keeps_graph or any(t.requires_grad for t in vectors)
    derivative = run.rebuild_output(functional.push(run.outputs, run.inputs, vectors, keeps_graph))
    return (run.result(), derivative, run.aux) if has_aux else (run.result(), derivative)


def grad(func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """Returns a function that gives the gradient of `func`, a single element, for its arguments `argnums`.

    Returns:
        The gradient, nested as the argument is; a tuple of them for a tuple of argnums; (gradient, aux) with `has_aux`,
        for which func returns (value, aux).

    Example:
        >>> grad(lambda w, x: (w * x).sum())(w, x)
    """
    both = grad_and_value(func, argnums, has_aux)

    def gradient(*args: Any, **kwargs: Any) -> Any:
        found, value = both(*args, **kwargs)
        return (found, value[1]) if has_aux else found

    return gradient


def grad_and_value(func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """Returns a function that gives (gradient, value) of `func`, or (gradient, (value, aux)) with `has_aux`; see `grad`."""

    def both(*args: Any, **kwargs: Any) -> Any:
        run = _Run("grad", func, args, argnums, has_aux, kwargs)
        if len(run.outputs) != 1 or run.outputs[0].numel() != 1:
            shapes = ", ".join(str(tuple(y.shape)) for y in run.outputs)
            raise ArgumentError(f"grad: the function must return a single element, came {shapes}; did you mean .sum()?")
        found = run.rebuild(run.pull(None, run.keeps_graph))
        return found, (run.result(), run.aux) if has_aux else run.result()

    return both


def jacrev(func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """Returns a function that gives the Jacobian of `func` for its arguments `argnums`, by reverse mode.

    Returns:
        Per tensor of the output and of the argument a tensor of shape (*output.shape, *input.shape), nested as the output
        is and within that as the argument is; (Jacobian, aux) with `has_aux`.
    """

    def jacobian(*args: Any, **kwargs: Any) -> Any:
        run = _Run("jacrev", func, args, argnums, has_aux, kwargs)
        blocks = [run.rebuild(functional.rows(y, run.inputs, run.keeps_graph)) for y in run.outputs]
        found = run.rebuild_output(blocks)
        return (found, run.aux) if has_aux else found

    return jacobian


def jacfwd(func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """Returns a function that gives the Jacobian of `func` by columns, as `jacrev` does by rows.

    There is no forward mode: v^T J is differentiated for v, once for each element of the inputs. So it is the faster of the
    two where the outputs have more elements than the inputs.

    Returns:
        As `jacrev`.
    """

    def jacobian(*args: Any, **kwargs: Any) -> Any:
        run = _Run("jacfwd", func, args, argnums, has_aux, kwargs)
        columns = functional.columns(run.outputs, run.inputs, run.keeps_graph)
        found = run.rebuild_output([run.rebuild(blocks) for blocks in columns])
        return (found, run.aux) if has_aux else found

    return jacobian


def hessian(func: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """Returns a function that gives the Hessian of `func`: the Jacobian of its Jacobian."""
    return jacrev(jacrev(func, argnums), argnums)


class _Run:
    """One run of a function on inputs of its own in the places `argnums`."""

    def __init__(
        self, name: str, func: Callable[..., Any], args: tuple[Any, ...], argnums: Argnums, has_aux: bool, kwargs: Any = None
    ) -> None:
        self.name = name
        places = (argnums,) if isinstance(argnums, int) else tuple(argnums)
        for place in places:
            if not -len(args) <= place < len(args):
                raise ArgumentError(f"{name}: argnums names argument {place}, and {len(args)} positional arguments were given")
        chosen = [args[place] for place in places]
        given, self.rebuild = flatten(chosen[0] if isinstance(argnums, int) else tuple(chosen))
        self.enabled = is_grad_enabled()
        with enable_grad():
            self.inputs = [self._fresh(t) for t in given]
            filled = self.rebuild(self.inputs)
            arguments = list(args)
            for place, value in zip(places, (filled,) if isinstance(argnums, int) else filled, strict=True):
                arguments[place] = value
            result = func(*arguments, **(kwargs or {}))
        self.aux: Any = None
        if has_aux:
            result, self.aux = self._split(result)
        self.outputs, self.rebuild_output = flatten(result)
        for y in self.outputs:
            if not isinstance(y, Tensor):
                raise ArgumentError(
                    f"{name}: the function must return tensors, came {type(y).__name__}; pass others with has_aux=True"
                )
        self.keeps_graph = self.enabled and leads_beyond(self.outputs, self.inputs)
        if has_aux and not self.keeps_graph:
            leaves, rebuild = flatten(self.aux)
            self.aux = rebuild([t.detach() if isinstance(t, Tensor) else t for t in leaves])

    def _fresh(self, t: Any) -> Tensor:
        if not isinstance(t, Tensor) or t.dtype.kind < 2:
            came = str(t.dtype) if isinstance(t, Tensor) else type(t).__name__
            raise ArgumentError(f"{self.name}: expected floating-point tensors to differentiate for, came {came}; see argnums")
        return functional.fresh(t, self.enabled)

    def _split(self, result: Any) -> tuple[Any, Any]:
        if not isinstance(result, tuple) or len(result) != 2:
            raise ArgumentError(
                f"{self.name}: with has_aux=True the function must return (output, aux), came {type(result).__name__}"
            )
        return result

    def check_like(self, what: str, vectors: Sequence[Any], likes: Sequence[Tensor]) -> None:
        """Refuses vectors of other shapes than the tensors they belong to."""
        came, wanted = [tuple(t.shape) for t in vectors], [tuple(t.shape) for t in likes]
        if came != wanted:
            raise ArgumentError(f"{self.name}: {what} have the shapes {came}, expected {wanted}")

    def pull(self, seeds: Sequence[Tensor] | None, keeps_graph: bool) -> tuple[Tensor, ...]:
        """The gradients of the inputs."""
        return functional.pull(self.outputs, self.inputs, seeds, keeps_graph)

    def result(self) -> Any:
        """The output, off the tape unless other tensors than the inputs lie behind it."""
        return self.rebuild_output([y if self.keeps_graph else y.detach() for y in self.outputs])


def leads_beyond(outputs: Sequence[Tensor], inputs: Sequence[Tensor]) -> bool:
    """Whether the tape behind the outputs leads to a leaf other than the inputs, so that results must stay on it."""
    if any(t.grad_fn is not None for t in inputs):
        return True
    own = {id(t) for t in inputs}
    pending = [t.grad_fn for t in outputs if t.grad_fn is not None]
    seen = set(pending)
    while pending:
        for edge in pending.pop().edges:
            if type(edge) is tuple:
                if edge[0] not in seen:
                    seen.add(edge[0])
                    pending.append(edge[0])
            elif edge is not None and id(edge) not in own:
                return True
    return any(t.grad_fn is None and t.requires_grad and id(t) not in own for t in outputs)

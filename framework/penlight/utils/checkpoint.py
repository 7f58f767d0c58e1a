# SPDX-License-Identifier: Apache-2.0
"""`checkpoint`: saves nothing inside of a part of the model and runs that part again for the backward.

It is PyTorch's form with `use_reentrant=False`: what the tape would save is replaced by places that are filled, in the
same order, when the backward first asks for one. The gradients have the same bits as without.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from penlight.autograd import packing
from penlight.autograd.engine import queue_callback
from penlight.autograd.mode import enable_grad
from penlight.errors import ArgumentError, RecomputeError
from penlight.random import fork_rng, get_rng_state, set_rng_state
from penlight.tape import mode
from penlight.tensor import Tensor


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool = False,
    preserve_rng_state: bool = True,
    determinism_check: str = "default",
    **kwargs: Any,
) -> Any:
    """Returns `function(*args, **kwargs)`, whose inside is computed again in the backward instead of being saved.

    Memory falls to the arguments and the result of the function; the time of its forward is paid twice. Parameters that
    it uses get their gradients; `autograd.grad`, higher derivatives and checkpoints inside of checkpoints work.

    Args:
        function: does the same when it runs again: no state of its own but random numbers of Penlight.
        use_reentrant: only False; PyTorch's older form, which True names, can do less.
        preserve_rng_state: starts the second run with the random state of the first, so that dropout has the same mask.
        determinism_check: "default" compares shape and dtype of what is saved in both runs; "none" does not.

    Raises:
        RecomputeError: in the backward, when the second run does not save the same as the first.

    Example:
        >>> y = checkpoint(block, x)
    """
    if use_reentrant:
        raise ArgumentError("checkpoint: use_reentrant=True is not there; leave it out, the other form does all that it can")
    if determinism_check not in ("default", "none"):
        raise ArgumentError(f'checkpoint: determinism_check must be "default" or "none", came {determinism_check!r}')
    if not mode.enabled or mode.tracer is not None:
        return function(*args, **kwargs)
    frame = _Frame(function, args, kwargs, preserve_rng_state, determinism_check == "default")
    packing.push(frame.pack, frame.unpack)
    try:
        return function(*args, **kwargs)
    finally:
        packing.pop()


def checkpoint_sequential(
    functions: Any,
    segments: int,
    input: Any,
    use_reentrant: bool = False,
    preserve_rng_state: bool = True,
) -> Any:
    """Returns the result of functions called one after the other, with all but the last of `segments` parts checkpointed.

    Args:
        functions: a Sequential, or a list of modules or functions.
        segments: into how many parts they are divided; memory falls to about 1 / segments.

    Raises:
        ArgumentError: there are more segments than functions, or none.
    """
    steps = list(functions.children()) if hasattr(functions, "children") else list(functions)
    if not 1 <= segments <= len(steps):
        raise ArgumentError(f"checkpoint_sequential: segments must be between 1 and {len(steps)}, the functions, came {segments}")
    size = len(steps) // segments
    for start in range(0, size * (segments - 1), size):
        part = _chain(steps[start : start + size])
        input = checkpoint(part, input, use_reentrant=use_reentrant, preserve_rng_state=preserve_rng_state)
    return _chain(steps[size * (segments - 1) :])(input)


def _chain(steps: Sequence[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    def run(x: Any) -> Any:
        for step in steps:
            x = step(x)
        return x

    return run


class _Place:
    """Stands for one tensor that was not saved; `value` is there between the second run and its use."""

    __slots__ = ("dtype", "shape", "value")

    def __init__(self, t: Tensor) -> None:
        self.shape, self.dtype = tuple(t._data.shape), t.dtype
        self.value: Tensor | None = None


class _Frame:
    """One checkpointed call: how to run it again, and the places that the tape holds instead of tensors."""

    def __init__(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], keeps_rng: bool, compares: bool) -> None:
        self.function, self.compares = function, compares
        # Where a checkpoint surrounds this one, its places stand for our arguments too.
        self.args = [packing.pack_tensor(a) if isinstance(a, Tensor) else a for a in args]
        self.kwargs = {name: packing.pack_tensor(a) if isinstance(a, Tensor) else a for name, a in kwargs.items()}
        self.rng_state = get_rng_state() if keeps_rng else None
        self.autocast = mode.autocast
        self.places: list[_Place] = []

    def pack(self, t: Tensor) -> _Place:
        """Notes that a tensor would be saved, and keeps its shape and dtype."""
        self.places.append(_Place(t))
        return self.places[-1]

    def unpack(self, place: _Place) -> Tensor:
        """The tensor of a place, from a second run if it is not there; it is let go at once."""
        if place.value is None:
            self.run_again()
        value, place.value = place.value, None
        assert value is not None
        return value

    def run_again(self) -> None:
        """Fills all places.

        Raises:
            RecomputeError: the second run saves more, fewer or other tensors.
        """
        queue_callback(self.forget)
        found: list[Tensor] = []
        autocast = mode.autocast
        packing.push(lambda t: found.append(t), lambda _: _nothing())
        try:
            with enable_grad(), fork_rng():
                mode.autocast = self.autocast
                if self.rng_state is not None:
                    set_rng_state(self.rng_state)
                self.function(*map(_argument, self.args), **{name: _argument(a) for name, a in self.kwargs.items()})
        finally:
            mode.autocast = autocast
            packing.pop()
        self._fill(found)

    def _fill(self, found: list[Tensor]) -> None:
        if len(found) != len(self.places):
            raise RecomputeError(
                f"checkpoint: the function saved {len(self.places)} tensors for the backward when it ran first, and {len(found)} "
                "when it ran again; it must do the same each time"
            )
        for position, (place, t) in enumerate(zip(self.places, found, strict=True)):
            if self.compares and (place.shape != tuple(t._data.shape) or place.dtype is not t.dtype):
                raise RecomputeError(
                    f"checkpoint: saved tensor {position} was {place.shape} {place.dtype} when the function ran first, and is "
                    f"{tuple(t._data.shape)} {t.dtype} when it ran again; it must do the same each time"
                )
            place.value = t

    def forget(self) -> None:
        """Drops what a backward that took another way did not use."""
        for place in self.places:
            place.value = None


def _argument(value: Any) -> Any:
    """An argument for the second run, off the tape of the first."""
    if not isinstance(value, packing.Record):
        return value
    t = value.restore().detach()
    return t.requires_grad_() if value.edge is not None else t


def _nothing() -> Tensor:
    raise RecomputeError("checkpoint: a backward runs inside of the function; use autograd.grad outside of the checkpoint")

# SPDX-License-Identifier: Apache-2.0
"""If, Loop and Scan: Python's control flow; `pl.cond`, `pl.while_loop` and `pl.scan` where a trace must record it."""

from __future__ import annotations

from typing import Any

import numpy as np

import penlight as pl
from penlight_export.imported.registry import operator
from penlight_export.imported.values import Sizes, as_known, as_tensor, is_traced

Tensor = pl.Tensor


def _is_decided(value: Any) -> bool:
    """Whether a branch may be taken now: the value is known, or nothing is being recorded."""
    return not isinstance(value, Tensor) or value._traced is None


def _truth(value: Any) -> bool:
    return bool(np.asarray(as_known(value)).reshape(()))


def _unwrap(results: list[Any]) -> Any:
    return tuple(results)


@operator("If", raw=True)
def branch(condition: Any, *, then_branch: Any, else_branch: Any, node: Any) -> Any:
    """One of two bodies."""
    scope = node.scope
    if _is_decided(condition):
        return _unwrap((then_branch if _truth(condition) else else_branch).run((), scope))

    def body(block: Any) -> Any:
        return lambda: tuple(map(as_tensor, block.run((), scope)))

    return pl.cond(condition.reshape(()), body(then_branch), body(else_branch))


@operator("Loop", raw=True)
def loop(count: Any, condition: Any, *carried: Any, body: Any, node: Any) -> Any:
    """Runs a body again and again, with what it gave before; outputs of each run are stacked."""
    kept = len(carried)
    if not is_traced() or (_is_decided(count) and not isinstance(count, Sizes) and _stays_true(body, condition)):
        return _unrolled(count, condition, carried, body, node.scope)
    if len(body.outputs) == 1 + kept:
        return _recorded(count, condition, carried, body, node.scope)
    if not _stays_true(body, condition):
        raise NotImplementedError("a loop that stops by its data and stacks outputs has no form under a trace")
    return _recorded_rows(count, carried, body, node.scope)


def _stays_true(body: Any, condition: Any) -> bool:
    """Whether only the count ends the loop: the body hands its condition on, or gives a constant."""
    if condition is not None and (not _is_decided(condition) or not _truth(condition)):
        return False
    name, sources = body.outputs[0], {step.outputs[0]: step for step in body.steps if step.operator == "Identity"}
    while name in sources:
        name = sources[name].inputs[0]
    if name in body.constants:
        return _truth(body.constants[name])
    return bool(name == body.inputs[1])


def _unrolled(count: Any, condition: Any, carried: tuple[Any, ...], body: Any, scope: Any) -> Any:
    limit = None if count is None else int(np.asarray(as_known(count)).reshape(()))
    values, rows = list(carried), []
    going, step = condition is None or _truth(condition), 0
    while going and (limit is None or step < limit):
        results = body.run([np.asarray(step, np.int64), np.asarray(True), *values], scope)
        going, values = _truth(results[0]), results[1 : 1 + len(carried)]
        rows.append(results[1 + len(carried) :])
        step += 1
    return tuple(values) + _stacked(rows, len(body.outputs) - 1 - len(carried))


def _stacked(rows: list[list[Any]], count: int) -> tuple[Any, ...]:
    if rows:
        return tuple(pl.stack([as_tensor(value) for value in column]) for column in zip(*rows, strict=True))
    return tuple(pl.zeros(0) for _ in range(count))


def _recorded(count: Any, condition: Any, carried: tuple[Any, ...], body: Any, scope: Any) -> Any:
    first = pl.tensor(True) if condition is None else as_tensor(condition).reshape(())
    limit = None if count is None else as_tensor(count).reshape(())

    def test(step: Tensor, going: Tensor, *values: Tensor) -> Tensor:
        return going if limit is None else pl.logical_and(going, step < limit)

    def run(step: Tensor, going: Tensor, *values: Tensor) -> Any:
        going, *after = map(as_tensor, body.run([step, going, *values], scope))
        return (step + 1, going.reshape(()), *after)

    return pl.while_loop(test, run, (pl.tensor(0), first, *map(as_tensor, carried)))[2:]


def _recorded_rows(count: Any, carried: tuple[Any, ...], body: Any, scope: Any) -> Any:
    kept = len(carried)

    def run(values: Any, step: Any) -> Any:
        results = list(map(as_tensor, body.run([step, np.asarray(True), *values], scope)))
        return tuple(results[1 : 1 + kept]), tuple(results[1 + kept :])

    if not isinstance(count, Sizes):
        raise NotImplementedError("a loop whose count is computed from data and that stacks outputs has no form under a trace")
    last, rows = pl.scan(run, tuple(map(as_tensor, carried)), pl.arange(count.array.reshape(-1)[0]))
    return *last, *rows


@operator("Scan", raw=True)
def scan(
    *inputs: Any,
    body: Any,
    num_scan_inputs: int,
    scan_input_axes: Any = None,
    scan_input_directions: Any = None,
    scan_output_axes: Any = None,
    scan_output_directions: Any = None,
    node: Any,
) -> Any:
    """Carries values over slices."""
    kept = len(inputs) - num_scan_inputs
    tensors = list(map(as_tensor, inputs))
    sources = [
        _turned(pl.movedim(t, _at(scan_input_axes, k), 0) if _at(scan_input_axes, k) else t, _at(scan_input_directions, k))
        for k, t in enumerate(tensors[kept:])
    ]

    def run(values: Any, slices: Any) -> Any:
        results = list(map(as_tensor, body.run([*values, *slices], node.scope)))
        return tuple(results[:kept]), tuple(results[kept:])

    last, rows = pl.scan(run, tuple(tensors[:kept]), tuple(sources))
    turned = [_turned(t, _at(scan_output_directions, k)) for k, t in enumerate(rows)]
    axes = [_at(scan_output_axes, k) for k in range(len(turned))]
    return *last, *(pl.movedim(t, 0, axis) if axis else t for t, axis in zip(turned, axes, strict=True))


def _at(values: Any, place: int) -> int:
    return values[place] if values else 0


def _turned(t: Tensor, backward: int) -> Tensor:
    return pl.flip(t, dims=[0]) if backward else t

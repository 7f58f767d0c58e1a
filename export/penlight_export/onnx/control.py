# SPDX-License-Identifier: Apache-2.0
"""Lowers cond, while_loop and scan to If, Loop and Scan.

What a body reads of the graph around it stays a value of that graph; constants are initializers of the main graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from penlight_export.graph import DataType, Graph, Shape, TensorType, Value

if TYPE_CHECKING:
    from penlight_export.onnx.lower import TraceLowering


def lower_cond(lowering: TraceLowering, node: Any) -> tuple[Value, ...]:
    """If; the branches have no inputs."""
    branches = [_branch(lowering, body, name) for body, name in zip(node.bodies, ("then", "else"), strict=True)]
    return _node(lowering, node, "If", [lowering.value(node.inputs[0])], then_branch=branches[0], else_branch=branches[1])


def lower_while(lowering: TraceLowering, node: Any) -> tuple[Value, ...]:
    """Loop without a limit: the condition is computed in front of it, and at the end of its body for the next iteration."""
    test, step = node.bodies
    b, first = lowering.builder, [lowering.value(traced) for traced in node.inputs]
    with b.scope():
        (go_on,) = lowering.inline(test, first)
    with b.subgraph(f"{b.name}.body") as body:
        _counter(lowering, body)
        inputs = [b.input(traced.name, traced.spec) for traced in step.inputs]
        after = lowering.inline(step, inputs)
        (condition,) = lowering.inline(test, after)
        _finish(lowering, body, [condition, *after])
    return _node(lowering, node, "Loop", [None, go_on, *first], body=body)


def lower_scan(lowering: TraceLowering, node: Any) -> tuple[Value, ...]:
    """Scan, or Loop where there is nothing to cut."""
    operator, (step,) = node.operator, node.bodies
    b, first = lowering.builder, [lowering.value(traced) for traced in node.inputs]
    cut = len(first) - operator.carried
    with b.subgraph(f"{b.name}.body") as body:
        condition = [] if cut else [_counter(lowering, body)]
        inputs = [b.input(traced.name, traced.spec) for traced in step.inputs]
        _finish(lowering, body, [*condition, *lowering.inline(step, inputs)])
    if not cut:
        outputs = _node(lowering, node, "Loop", [b.size(operator.length), None, *first], body=body)
        return _in_order(lowering, node, outputs) if operator.reverse else outputs
    stacked = len(step.outputs) - operator.carried
    directions = {"scan_input_directions": [1] * cut, "scan_output_directions": [1] * stacked} if operator.reverse else {}
    return _node(lowering, node, "Scan", first, body=body, num_scan_inputs=cut, **{n: d for n, d in directions.items() if d})


def _in_order(lowering: TraceLowering, node: Any, outputs: tuple[Value, ...]) -> tuple[Value, ...]:
    """Loop stacks in the order of its iterations."""
    b, carried = lowering.builder, node.operator.carried
    end, start, zero, back = (b.integers([number]) for number in (-(2**63), 2**63 - 1, 0, -1))
    return *outputs[:carried], *(b.op("Slice", value, start, end, zero, back) for value in outputs[carried:])


def _branch(lowering: TraceLowering, body: Any, name: str) -> Graph:
    with lowering.builder.subgraph(f"{lowering.builder.name}.{name}") as graph:
        _finish(lowering, graph, lowering.inline(body, []))
    return graph


def _counter(lowering: TraceLowering, body: Graph) -> Value:
    """Declares the two inputs that every body of a Loop has: the number of the iteration and the condition. Returns the latter."""
    for name, dtype in (("iteration", DataType.INT64), ("condition", DataType.BOOL)):
        body.inputs.append(Value(name=lowering.builder.fresh(name), shape=Shape([]), type=TensorType(dtype)))
    return body.inputs[1]


def _finish(lowering: TraceLowering, body: Graph, outputs: Sequence[Value]) -> None:
    """Sets the outputs; each must be computed inside, and once."""
    b = lowering.builder
    for value in outputs:
        producer = value.producer()
        if producer is None or producer.graph is not body or value in body.outputs:
            source, value = value, b.op("Identity", value)
            value.type, value.shape = source.type, source.shape
        body.outputs.append(value)


def _node(
    lowering: TraceLowering, node: Any, operator: str, inputs: Sequence[Value | None], **attributes: Any
) -> tuple[Value, ...]:
    outputs = lowering.builder.op(operator, *inputs, count=len(node.outputs), **attributes)
    return outputs if isinstance(outputs, tuple) else (outputs,)


CONTROL: dict[str, Callable[[Any, Any], tuple[Value, ...]]] = {
    "cond": lower_cond,
    "while_loop": lower_while,
    "scan": lower_scan,
}

# SPDX-License-Identifier: Apache-2.0
"""Gated activations."""

from __future__ import annotations

from penlight.errors import ShapeError
from penlight.ops.activation import sigmoid, sigmoid_array
from penlight.ops.broadcast import same_dtype
from penlight.ops.dispatch import apply
from penlight.ops.operator import Operator, Spec
from penlight.ops.registry import register
from penlight.ops.samples import of, sample
from penlight.tensor import Tensor


@register
class Swiglu(Operator):
    """gate * sigmoid(gate) * up (Shazeer 2020); one pass over memory where silu and a product take two"""

    name = "swiglu"
    samples = (
        sample(of(3, 4), of(3, 4)),
        sample(of(5, 3, strided=True), of(5, 3)),
        sample(of(17, low=-6, high=6), of(17)),
        sample(of(0), of(0)),
        sample(of(), of()),
    )

    def infer(self, gate: Spec, up: Spec) -> Spec:
        if tuple(gate.shape) != tuple(up.shape):
            sizes = f"{tuple(map(int, gate.shape))} and {tuple(map(int, up.shape))}"
            raise ShapeError(f"swiglu: gate and up must have one shape, came {sizes}")
        return Spec(gate.shape, same_dtype("swiglu", gate, up))

    def forward(self, xp, gate, up):
        result = sigmoid_array(xp, gate)
        result *= gate
        result *= up
        return result

    def backward(self, xp, needs, grad, output, gate, up):
        slope = sigmoid_array(xp, gate)
        silu = gate * slope
        g_up = grad * silu if needs[1] else None
        if not needs[0]:
            return None, g_up
        slope += silu * (1 - slope)
        slope *= up
        return grad * slope, g_up

    def vjp(self, grad, output, gate, up):
        slope = sigmoid(gate)
        silu = gate * slope
        return grad * up * (slope + silu * (1.0 - slope)), grad * silu


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """Returns silu(gate) * up, the gated half of a feed-forward layer as in Llama.

    Args:
        gate: any shape, floating point.
        up: the same shape and dtype.

    Raises:
        ShapeError: the shapes differ.
    """
    return apply(Swiglu(), gate, up)

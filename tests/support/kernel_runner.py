# SPDX-License-Identifier: Apache-2.0
"""One node as a program: runs a kernel of the edge runtime on arrays, and keeps every program for other builds to run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pen_builder import DTYPES, PenBuilder

import penlight_runtime


def node_program(
    name: str,
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    *,
    domain: str = "",
    version: int | None = None,
    known: Sequence[int] = (),
    tolerance: float = 0.0,
    **attributes: Any,
) -> bytes:
    """A program of one node with one golden sample.

    Args:
        inputs: arrays; None is an operand that is left out, equal objects are one value.
        outputs: what is expected; None is an output that is left out.
        known: positions of inputs that are constants of the program.
    """
    builder = PenBuilder()
    operands: list[int] = []
    fed: list[Any] = []
    for position, array in enumerate(inputs):
        if array is None:
            operands.append(-1)
        elif position in known:
            operands.append(builder.constant(f"x{position}", array))
        else:
            operands.append(builder.input(f"x{position}", array.dtype.name, array.shape))
            fed.append(array)
    names = [f"y{i}" for i in range(len(outputs))]
    builder.node(name, operands, names, domain=domain, version=version, **attributes)
    node = builder.method.nodes[0]
    for value, expected in zip(node.outputs, outputs, strict=True):
        if expected is not None:
            builder.output(value, expected.dtype.name, [None] * expected.ndim)
    node.outputs = [-1 if e is None else v for v, e in zip(node.outputs, outputs, strict=True)]
    builder.golden(fed, [e for e in outputs if e is not None], atol=tolerance, rtol=tolerance)
    return builder.build()


def run_node(name: str, inputs: Sequence[Any], outputs: Sequence[Any], *, threads: int = 1, **options: Any) -> list[np.ndarray]:
    """The results of a node whose outputs have the dtypes and ranks of `outputs`; other options as `node_program`."""
    program = penlight_runtime.Program(node_program(name, inputs, outputs, **options))
    known = options.get("known", ())
    feeds = {f"x{i}": a for i, a in enumerate(inputs) if a is not None and i not in known}
    results = program.session(threads=threads).run(feeds)
    return [results[f"y{i}"] for i, expected in enumerate(outputs) if expected is not None]


def has_dtypes(arrays: Sequence[Any]) -> bool:
    """Whether the runtime has all the element types."""
    return all(a is None or (isinstance(a, np.ndarray) and a.dtype.name in DTYPES) for a in arrays)


def rand(*shape, low=-4.0, high=4.0, dtype=np.float32, seed=0):
    rng = np.random.default_rng([seed, *shape])
    if np.dtype(dtype).kind in "iu":
        return rng.integers(0 if np.dtype(dtype).kind == "u" else int(low), int(high) + 1, shape).astype(dtype)
    return rng.uniform(low, high, shape).astype(dtype)


def one(name, inputs, reference, **options):
    """Runs a node of one output; the reference gives dtype and rank."""
    (result,) = run_node(name, inputs, [np.asarray(reference)], **options)
    return result


def check(name, inputs, reference, rtol=1e-6, atol=1e-6, **options):
    reference = np.asarray(reference)
    result = one(name, inputs, reference, **options)
    assert result.shape == reference.shape and result.dtype == reference.dtype
    if reference.dtype.kind in "biu":
        np.testing.assert_array_equal(result, reference)
    else:
        np.testing.assert_allclose(result.astype(np.float64), reference.astype(np.float64), rtol=rtol, atol=atol)
    return result

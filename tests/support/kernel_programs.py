# SPDX-License-Identifier: Apache-2.0
"""Programs of one node each that say what they must compute, for other builds of the kernels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from kernel_runner import node_program, rand
from nbits_panels import nbits_inputs, nbits_product
from onnx_nodes import node_cases

import penlight_runtime


def tolerance_of(outputs) -> float:
    """16-bit floats have 8 to 11 bits of fraction; float32 sums are in another order in another build."""
    return 2e-2 if any(o is not None and o.dtype.itemsize == 2 and o.dtype.kind in "fV" for o in outputs) else 1e-3


def node_programs() -> Iterator[tuple[str, bytes]]:
    """A program for every case of the onnx package that runs, its expected outputs as golden sample."""
    for case in node_cases():
        options = {"domain": case.domain, "version": case.version, "tolerance": tolerance_of(case.outputs), **case.attributes}
        for known in ((), range(1, len(case.inputs)), range(len(case.inputs))):
            data = node_program(case.operator, case.inputs, case.outputs, known=known, **options)
            try:
                penlight_runtime.Program(data).self_test()
            except penlight_runtime.RuntimeFailure:
                continue
            yield case.name, data
            break


def large_programs() -> Iterator[tuple[str, bytes]]:
    """Products and convolutions that need whole tiles, partial ones, several blocks and several passes."""
    for m, n, k in [(7, 65, 31), (13, 40, 800), (1, 200, 33), (100, 3, 1)]:
        a, b, c = rand(m, k), rand(k, n, seed=1), rand(n, seed=2)
        wanted = (a.astype(np.float64) @ b + c).astype(np.float32)
        yield f"gemm {m}x{n}x{k}", node_program("Gemm", [a, b, c], [wanted], tolerance=1e-3)
    block = {"columns": 70, "block_size": 64, "domain": "ai.penlight"}
    for bits, rows in [(4, 1), (8, 1), (4, 7), (8, 7)]:
        given = nbits_inputs(rows, 700, 70, bits, 64, "uint8", True)
        wanted = nbits_product(given, 70, bits, 64)
        yield f"nbits {bits} {rows}", node_program("MatMulNBits", given, [wanted], tolerance=1e-3, **block)
    for x, weight, attributes in [
        ((2, 16, 20, 21), (50, 16, 3, 3), {"pads": [1, 1, 1, 1]}),
        ((1, 8, 40, 21), (16, 1, 3, 3), {"strides": [2, 2], "group": 8}),
        ((1, 70, 9, 9), (9, 70, 1, 1), {}),
    ]:
        images, filters = rand(*x), rand(*weight, seed=1)
        program = node_program("Conv", [images, filters], [np.empty((x[0], weight[0], 1, 1), np.float32)], **attributes)
        (wanted,) = penlight_runtime.Program(program).session().run({"x0": images, "x1": filters}).values()
        yield f"conv {x}", node_program("Conv", [images, filters], [wanted], tolerance=1e-3, **attributes)


def all_programs() -> list[tuple[str, bytes]]:
    """Names and programs."""
    return [*node_programs(), *large_programs()]

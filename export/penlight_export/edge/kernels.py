# SPDX-License-Identifier: Apache-2.0
"""What the edge runtime can run: the kernel table of the installed runtime is the only list."""

from __future__ import annotations

import functools

import penlight_runtime
from penlight_export.errors import UnsupportedOperatorsError
from penlight_export.graph import Model, all_nodes, describe
from penlight_export.onnx.importer import list_operators
from penlight_export.onnx.opsets import since_version


@functools.lru_cache(maxsize=1)
def kernel_table() -> dict[tuple[str, str], list[tuple[int, int]]]:
    """Version ranges by (domain, operator name)."""
    table: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for domain, name, minimum, maximum in penlight_runtime.operators():
        table.setdefault((domain, name), []).append((minimum, maximum))
    return table


def has_kernel(domain: str, name: str, version: int | None = None) -> bool:
    """Whether the runtime runs this operator, in this version when one is given."""
    ranges = kernel_table().get((domain, name), [])
    return any(version is None or minimum <= version <= maximum for minimum, maximum in ranges)


def find_missing(model: Model) -> dict[str, list[str]]:
    """Nodes without a kernel by operator, as messages name them."""
    missing: dict[str, list[str]] = {}
    labels: dict[tuple[str, str], str | None] = {}
    for node in all_nodes(model.graph):
        operator = node.domain, node.op_type
        if operator not in labels:
            labels[operator] = _label_if_missing(*operator, since_version(model, node))
        label = labels[operator]
        if label is not None:
            missing.setdefault(label, []).append(describe(node))
    return missing


def _label_if_missing(domain: str, name: str, version: int) -> str | None:
    if has_kernel(domain, name, version):
        return None
    known = " (other versions only)" if has_kernel(domain, name) else ""
    return f"{domain}.{name}-{version}{known}" if domain else f"{name}-{version}{known}"


def refuse_missing(model: Model, where: str) -> None:
    """Raises UnsupportedOperatorsError with every operator that the runtime lacks."""
    missing = find_missing(model)
    if missing:
        raise UnsupportedOperatorsError(
            f"{where}: the edge runtime has no kernel for {list_operators(missing)}; "
            "replace them in the model, or run the .onnx file with onnxruntime"
        )

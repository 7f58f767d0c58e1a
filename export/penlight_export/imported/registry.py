# SPDX-License-Identifier: Apache-2.0
"""The table of ONNX operators that an imported model computes with operators of the framework.

A handler takes the inputs of a node in order, as tensors except where `known` says otherwise, and its attributes by name; the
defaults of its arguments are ONNX's. One version of each operator is known, that of operator set 21 to 24: older models are lifted
first, see `penlight_export.onnx.upgrade`. One with an argument `node` gets the `Step` itself, for what it needs of the module.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

FAMILIES = (
    "attention",
    "control",
    "convolution",
    "elementwise",
    "index",
    "linear",
    "normalization",
    "pooling",
    "quantized",
    "random",
    "rearrange",
    "recurrent",
    "reduction",
    "resize",
    "sequence",
    "shape",
    "spectral",
    "vision",
)


@dataclass(frozen=True)
class Handler:
    """How one operator is computed.

    Attributes:
        known: places of inputs whose entries decide what is computed, such as the shape of Reshape; they come as arrays.
        raw: inputs come as they are.
        random: the result is not known where the inputs are.
        wants_node: whether it takes `node`.
        attributes: the names that it takes; None for any.
    """

    function: Callable[..., Any]
    known: frozenset[int]
    raw: bool
    random: bool
    wants_node: bool
    attributes: frozenset[str] | None


_table: dict[tuple[str, str], Handler] = {}


def operator(*names: str, known: tuple[int, ...] = (), raw: bool = False, random: bool = False, domain: str = "") -> Any:
    """Decorator: the function computes these operators of ai.onnx, or of another domain."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        parameters = inspect.signature(function).parameters.values()
        keywords = frozenset(p.name for p in parameters if p.kind == p.KEYWORD_ONLY)
        anything = any(p.kind == p.VAR_KEYWORD for p in parameters)
        handler = Handler(function, frozenset(known), raw, random, "node" in keywords, None if anything else keywords - {"node"})
        for name in names:
            _table[domain, name] = handler
        return function

    return register


def find_handler(domain: str, name: str) -> Handler | None:
    """How an operator is computed, None when no family has it."""
    for family in FAMILIES:
        importlib.import_module(f"penlight_export.imported.operators.{family}")
    return _table.get((domain, name))


def has_handler(domain: str, name: str, version: int = 0) -> bool:
    """Whether the operator is known; of the version that `upgrade` lifts to."""
    return find_handler(domain, name) is not None


def operator_names() -> list[str]:
    """All known operators, those of other domains with the domain in front."""
    find_handler("", "")
    return sorted(name if not domain else f"{domain}.{name}" for domain, name in _table)

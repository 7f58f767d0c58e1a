# SPDX-License-Identifier: Apache-2.0
"""The compiled training kernels, see framework/native; arrays are checked there, not by the type checker."""

from typing import Any

from typing_extensions import dataclass_transform

def num_threads() -> int: ...
def set_num_threads(count: int) -> None: ...
def instruction_set() -> str: ...
def crc32c(data: Any, crc: int = 0) -> int: ...

class TensorBase:
    """The fields of a Tensor, which declares them for the type checker."""

@dataclass_transform(frozen_default=True)
class OperatorType(type):
    @property
    def field_names(cls) -> tuple[str, ...]: ...
    @property
    def field_defaults(cls) -> tuple[Any, ...]: ...
    def declare(cls, field_names: tuple[str, ...], defaults: tuple[Any, ...]) -> None: ...

class OperatorBase:
    """Equality, hash and text by the fields."""

class Saved:
    shape: tuple[int, ...]
    requires_grad: bool
    dtype: Any
    ndim: int

class Node:
    operator: Any
    inputs: Any
    outputs: Any
    output_version: Any
    hooks: dict[int, list[Any]] | None
    versions: dict[int, int] | None
    origin: Any
    on_release: Any
    edges: list[Any]
    sequence: int
    count: int
    name: str
    def __init__(self, operator: Any, inputs: Any, outputs: Any) -> None: ...
    def check_versions(self) -> None: ...
    def release(self) -> None: ...
    def add_hook(self, index: int, hook: Any) -> None: ...
    # written in Python, see penlight.autograd.node_hooks
    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]: ...
    def register_hook(self, hook: Any) -> Any: ...
    def register_prehook(self, hook: Any) -> Any: ...

class Mode:
    enabled: bool
    tracer: Any
    autocast: Any
    on_node: Any
    anomaly: bool
    inference: bool
    after_backward: tuple[Any, ...]

mode: Mode

def apply(operator: Any, *tensors: Any) -> Any: ...
def from_array(array: Any) -> Any: ...
def run_forward(operator: Any, arrays: Any, on_cpu: bool = ...) -> Any: ...
def run_backward(node: Any, grads: Any) -> list[Any]: ...
def run_pass(outputs: Any, seeds: Any, wanted: Any, plan: Any, retains: bool, on_tape: bool) -> dict[Any, Any]: ...
def add_to_grad(tensor: Any, gradient: Any, on_tape: bool) -> None: ...
def configure(**callbacks: Any) -> None: ...
def __getattr__(name: str) -> Any: ...

# SPDX-License-Identifier: Apache-2.0
"""What nodes save, kept in another form: the base of `saved_tensors_hooks` and of `checkpoint`.

The operator of a packed node is replaced by one that unpacks and then calls the original, so that the pass over the tape
knows nothing of packing and pays nothing for it.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from penlight.errors import GradientError, VersionError
from penlight.ops.dispatch import run_backward
from penlight.ops.operator import Operator
from penlight.tape import Node, mode
from penlight.tensor import Tensor, from_array

Pack = Callable[[Tensor], Any]
Unpack = Callable[[Any], Tensor]


class _Stack(threading.local):
    """Per thread the pairs of hooks in force; the innermost one is used. A text in place of a pair forbids hooks."""

    def __init__(self) -> None:
        self.pairs: list[tuple[Pack, Unpack]] = []
        self.refusal: str | None = None


stack = _Stack()


def push(pack: Pack, unpack: Unpack) -> None:
    """Puts a pair of hooks in force for the nodes that this thread makes."""
    if stack.refusal is not None:
        raise GradientError(stack.refusal)
    stack.pairs.append((pack, unpack))
    _install()


def pop() -> None:
    """Takes the innermost pair of hooks out of force."""
    stack.pairs.pop()
    _install()


def _install() -> None:
    if stack.pairs:
        register("packing", pack_node)
    else:
        unregister("packing")


class _Watchers(threading.local):
    """Per thread who wants to see each new node, by name."""

    def __init__(self) -> None:
        self.by_name: dict[str, Callable[[Node], None]] = {}


_watchers = _Watchers()


def register(name: str, watcher: Callable[[Node], None]) -> None:
    """Calls `watcher(node)` for each node that this thread makes, until `unregister(name)`."""
    _watchers.by_name[name] = watcher
    mode.on_node = _see


def unregister(name: str) -> None:
    """Ends `register(name, ...)`."""
    _watchers.by_name.pop(name, None)
    mode.on_node = _see if _watchers.by_name else None


def _see(node: Node) -> None:
    for watcher in list(_watchers.by_name.values()):
        watcher(node)


@dataclass
class Record:
    """One packed tensor: what the hook made of it, how to undo that, and where it hangs on the tape."""

    packed: Any
    unpack: Unpack
    edge: Any  # (node, output index), a leaf, or None
    version: int | None

    def restore(self) -> Tensor:
        """The tensor again, in its place on the tape."""
        if self.version is not None and self.packed.version != self.version:
            raise VersionError(
                f"a tensor {tuple(self.packed.shape)} that was kept for the backward was changed in place "
                f"(version {self.version} then, {self.packed.version} now), and the gradient needs its old value; clone it first"
            )
        t = self.unpack(self.packed)
        if not isinstance(t, Tensor):
            raise GradientError(f"saved_tensors_hooks: the unpack hook must return a tensor, came {type(t).__name__}")
        result = from_array(t._data)
        if self.edge is not None:
            _link(result, self.edge)
        return result


def pack_tensor(t: Tensor) -> Record:
    """Packs a tensor with the hooks in force; as it is where there are none."""
    edge: Any = None
    if t.requires_grad:
        edge = t if t._node is None else (t._node, t._index)
    if not stack.pairs:
        return Record(t, lambda same: same, edge, t.version)
    pack, unpack = stack.pairs[-1]
    packed = _without_hooks(pack, t.detach())
    return Record(packed, unpack, edge, packed.version if isinstance(packed, Tensor) else None)


def _without_hooks(function: Callable[..., Any], *args: Any) -> Any:
    """Calls a hook with the tape off, so that it does not meet itself."""
    before, mode.enabled = mode.enabled, False
    try:
        return function(*args)
    finally:
        mode.enabled = before


def _link(t: Tensor, edge: Any) -> None:
    t.requires_grad = True
    if not mode.enabled:
        return
    if type(edge) is tuple:
        t._node, t._index = edge
    else:  # a leaf, whose array the unpacked one replaces: its gradient goes on to the leaf
        t._node = _node_without_hooks(Onward(), (edge,), (t._data,))


def _node_without_hooks(operator: Operator, inputs: tuple[Tensor, ...], arrays: tuple[Any, ...]) -> Node:
    on_node, mode.on_node = mode.on_node, None
    try:
        return Node(operator, inputs, arrays)
    finally:
        mode.on_node = on_node


class Onward(Operator):
    """Passes the gradient on as it is."""

    name = "onward"
    saves_inputs = False

    def vjp(self, grad: Any, output: Any, *inputs: Any) -> Sequence[Any]:
        return (grad,)


def pack_node(node: Node) -> None:
    """Packs what a new node saved; a node that saved nothing stays as it is."""
    if not any(isinstance(t, Tensor) for t in node.inputs) and node.outputs is None:
        return
    operator = Packed(node=node)
    node.operator = operator
    node.inputs, node.outputs, node.versions = operator.stand_ins, None, None
    node.on_release = operator.release


class Around(Operator):
    """Stands in for the operator of one node, and looks like it; `vjp` does something more than the original."""

    def __init__(self, node: Node) -> None:
        original = node.operator
        self.original, self.node = original, weakref.ref(node)
        vars(self).update({name: getattr(original, name) for name in ("name", "outputs", "gradient", "second_derivative")})


class Packed(Around):
    """An operator whose saved tensors are packed: `vjp` unpacks them and calls the original."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.stand_ins = [None if isinstance(t, Tensor) else t for t in node.inputs]
        self.records: list[Record | None] = [pack_tensor(t) if isinstance(t, Tensor) else None for t in node.inputs]
        arrays = node.outputs
        self.saved: list[Record] | None = None if arrays is None else [pack_tensor(from_array(a)) for a in arrays]

    def vjp(self, grad: Any, output: Any, *inputs: Any) -> Sequence[Any]:
        node = self.node()
        assert node is not None
        tensors = [s if r is None else r.restore() for r, s in zip(self.records, inputs, strict=True)]
        outputs = None if self.saved is None else tuple(record.restore() for record in self.saved)
        for index, t in enumerate(outputs or ()):
            t.requires_grad, t._node, t._index = True, node, index
        if mode.enabled:
            single = self.outputs == 1
            return self.original.vjp(grad, outputs[0] if single and outputs else outputs, *tensors)
        return self._plain(node, grad, tensors, outputs)

    def release(self) -> None:
        """Lets go of what is packed; the node refuses another backward by itself."""
        self.records, self.saved = [], None

    def _plain(self, node: Node, grad: Any, tensors: list[Any], outputs: Any) -> list[Any]:
        """The gradients by the route of an ordinary backward, so that they have the same bits."""
        grads = [grad] if self.outputs == 1 else list(grad)
        arrays = [None if g is None else g._data for g in grads]
        unpacked = Unpacked(self.original, tensors, None if outputs is None else tuple(t._data for t in outputs), node.edges)
        kept = [t._data for t in tensors if isinstance(t, Tensor)]
        results = run_backward(unpacked, arrays)
        return [None if r is None else from_array(r.copy() if any(r is a for a in kept) else r) for r in results]


@dataclass
class Unpacked:
    """What `run_backward` reads of a node."""

    operator: Operator
    inputs: list[Any]
    outputs: tuple[Any, ...] | None
    edges: list[Any]

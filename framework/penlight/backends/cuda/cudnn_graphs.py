# SPDX-License-Identifier: Apache-2.0
"""Graphs of cuDNN through nvidia-cudnn-frontend: built once for shapes and strides, run on addresses.

Engines that are not deterministic are left out, so that a captured step gives the bits of an eager one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from penlight.backends.cuda.wrapper import Launcher

_ALIGNMENT = 16  # bytes; what plans are made for
_SMALLEST_WORKSPACE = 1 << 20

# (frontend, graph) -> nothing; numbers the tensors from 1 by `set_uid` in the order of the arrays that `run` gets
Build = Callable[[Any, Any], None]


class Plan:
    """A built graph and the bytes that it works in."""

    def __init__(self, graph: Any) -> None:
        self.graph, self.workspace_bytes = graph, graph.get_workspace_size()


class Graphs:
    """Plans of one process by what they compute; None under a key that cuDNN has no engine for."""

    def __init__(self, xp: Any, launcher: Launcher) -> None:
        self._xp, self._launcher = xp, launcher
        self._plans: dict[Hashable, Plan | None] = {}
        self._handles: dict[int, Any] = {}
        self._streams: dict[int, int] = {}
        self._workspaces: dict[tuple[int, int, int], Any] = {}
        self._frontend: Any = None
        self._is_there: bool | None = None

    def is_there(self) -> bool:
        """Whether the frontend and the library can be loaded."""
        if self._is_there is None:
            try:
                import cudnn  # optional dependency: nvidia-cudnn-frontend, in the extra cuda13

                self._frontend = cudnn
                self._handle(int(self._xp.cuda.runtime.getDevice()))
                self._is_there = True
            except (ImportError, OSError, RuntimeError):  # the frontend without libcudnn raises RuntimeError
                self._is_there = False
        return self._is_there

    @property
    def plan_count(self) -> int:
        """How many problems were planned so far, with or without success."""
        return len(self._plans)

    def run(self, key: Hashable, build: Build, arrays: Sequence[Any]) -> bool:
        """Runs the graph of `key` on arrays, on the current stream; False where there is no engine or an address is odd."""
        pointers = [self._launcher.pointer(array) for array in arrays]
        if any(pointer % _ALIGNMENT for pointer in pointers):
            return False
        device = int(self._xp.cuda.runtime.getDevice())
        handle = self._handle(device)
        key = (device, key)
        if key not in self._plans:
            self._plans[key] = self._made(build, handle)
        plan = self._plans[key]
        if plan is None:
            return False
        stream = int(self._xp.cuda.get_current_stream().ptr)
        if self._streams.get(device) != stream:  # telling cuDNN costs microseconds
            self._frontend.set_stream(handle, stream)
            self._streams[device] = stream
        workspace = self._launcher.pointer(self._workspace(device, stream, plan.workspace_bytes))
        plan.graph.execute(dict(enumerate(pointers, 1)), workspace, handle)
        return True

    def data_type(self, array: Any) -> Any:
        """The frontend's name of an array's dtype."""
        kinds = self._frontend.data_type
        return {"float16": kinds.HALF, "bfloat16": kinds.BFLOAT16, "float32": kinds.FLOAT}[str(array.dtype)]

    def tensor(self, graph: Any, uid: int, array: Any) -> Any:
        """A tensor of a graph with the shape, strides and dtype of an array."""
        steps = [stride // array.itemsize for stride in array.strides]
        tensor = graph.tensor(dim=list(array.shape), stride=steps, data_type=self.data_type(array))
        return tensor.set_uid(uid)

    def output(self, tensor: Any, uid: int, array: Any) -> None:
        """Lets a result of a graph go into an array."""
        steps = [stride // array.itemsize for stride in array.strides]
        tensor.set_output(True).set_uid(uid).set_dim(list(array.shape)).set_stride(steps).set_data_type(self.data_type(array))

    def _made(self, build: Build, handle: Any) -> Plan | None:
        frontend = self._frontend
        real = frontend.data_type.FLOAT
        graph = frontend.pygraph(intermediate_data_type=real, compute_data_type=real, handle=handle)
        try:
            build(frontend, graph)
            graph.validate()
            graph.build_operation_graph()
            graph.create_execution_plans([frontend.heur_mode.A, frontend.heur_mode.FALLBACK])
            graph.deselect_numeric_notes([frontend.numerical_note.NONDETERMINISTIC])
            graph.check_support()
            graph.build_plans()
        except (frontend.cudnnGraphNotSupportedError, RuntimeError):  # no engine for this problem: own kernels take it
            return None
        return Plan(graph)

    def _handle(self, device: int) -> Any:
        handle = self._handles.get(device)
        if handle is None:
            handle = self._handles[device] = self._frontend.create_handle()
        return handle

    def _workspace(self, device: int, stream: int, size: int) -> Any:
        """Memory of at least `size` bytes; older ones are kept, since captured graphs may work in them."""
        size = max(_SMALLEST_WORKSPACE, 1 << max(size - 1, 0).bit_length())
        key = device, stream, size
        workspace = self._workspaces.get(key)
        if workspace is None:
            workspace = self._workspaces[key] = self._xp.empty(size, self._xp.uint8)
        return workspace

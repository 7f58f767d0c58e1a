# SPDX-License-Identifier: Apache-2.0
"""The Tensor: an array, its place on the tape, and conversion to and from the outside.

Operators are attached as methods by `penlight.ops.methods`, so that this module knows none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from penlight import _native, dlpack
from penlight._native import TensorBase
from penlight._native import from_array as from_array
from penlight.backends.backend import backend_of, get_backend, visiting
from penlight.backends.cuda import recording
from penlight.device import cpu as CPU_DEVICE
from penlight.device import device as Device
from penlight.dtype import FROM_NUMPY, as_dtype, default_dtype, from_numpy_dtype
from penlight.dtype import dtype as DType
from penlight.errors import ArgumentError, DTypeError, GradientError, InPlaceError, ShapeError
from penlight.hook import HookHandle
from penlight.layout import contiguous_format, is_in_format, memory_format
from penlight.tape import mode

if TYPE_CHECKING:
    from penlight.tape import Node


PRINTING: dict[str, Any] = {"precision": 4, "threshold": 1000}  # what `set_printoptions` changes


class Tensor(TensorBase):
    """A multi-dimensional array that can take part in a gradient.

    Views share memory with their base and with each other; a write through one is seen by all. `shape` and `dtype` are
    those of PyTorch; make tensors with `penlight.tensor`, `zeros`, `randn`, `from_numpy` and the like.

    Attributes:
        requires_grad: whether the tape records what happens to it.
        grad: the accumulated gradient of a leaf after `backward()`, or None.
    """

    if TYPE_CHECKING:  # the fields of TensorBase, see framework/native/call_tensor.cpp
        requires_grad: bool
        grad: Tensor | None
        _data: Any
        _node: Node | None
        _index: int
        _version: list[int] | None  # shared between views; None until a view or a write needs it
        _base: Tensor | None  # of a differentiable view: the tensor whose memory it shows
        _views: tuple[Any, ...]  # operators that lead from _base to this view
        _stamp: int  # of a view: _rebased of the base when its node was made
        _rebased: int  # of a base: how often an in-place operation replaced its node
        _hooks: list[Callable[..., Any]] | None
        _accumulate_hooks: list[Callable[..., Any]] | None
        _owns_grad: Tensor | None
        _traced: Any  # the TraceValue while a trace is active

    _frozen: str | None = None  # why it may not be written to in place

    __array_ufunc__ = None  # makes `numpy_array + tensor` call our __radd__
    __hash__ = object.__hash__

    if TYPE_CHECKING:  # attached by penlight.ops.methods
        __add__: Any
        __radd__: Any
        __sub__: Any
        __rsub__: Any
        __mul__: Any
        __rmul__: Any
        __truediv__: Any
        __rtruediv__: Any
        __floordiv__: Any
        __mod__: Any
        __pow__: Any
        __rpow__: Any
        __matmul__: Any
        __neg__: Any
        __and__: Any
        __or__: Any
        __xor__: Any
        __invert__: Any
        __lt__: Any
        __le__: Any
        __gt__: Any
        __ge__: Any
        __eq__: Any
        __ne__: Any
        __getitem__: Any
        __setitem__: Any
        __iadd__: Any
        __isub__: Any
        __imul__: Any
        __itruediv__: Any

        def __getattr__(self, name: str) -> Any: ...

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        """Wraps an array without a copy (anything that is not one is converted first)."""
        if type(data) is int and type(requires_grad) is int:
            raise ArgumentError(f"Tensor: sizes make no tensor; use penlight.empty({data}, {requires_grad}, ...) or tensor(data)")
        array = data._data if isinstance(data, Tensor) else _as_array(data, None)
        from_numpy_dtype(array.dtype)
        self._data = array
        if requires_grad:
            self.requires_grad_()

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes; under a trace the dynamic ones are `SymInt`."""
        return self._data.shape if self._traced is None else self._traced.spec.shape

    @property
    def dtype(self) -> DType:
        return FROM_NUMPY[self._data.dtype]

    @property
    def device(self) -> Device:
        data = self._data
        return CPU_DEVICE if type(data) is np.ndarray else backend_of(data).device_of(data)

    @property
    def ndim(self) -> int:
        return self._data.ndim

    @property
    def is_leaf(self) -> bool:
        return self._node is None

    @property
    def grad_fn(self) -> Node | None:
        """The node of the tape that made this tensor; None for a leaf."""
        if self._base is not None:
            self._sync_view()
        return self._node

    @property
    def data(self) -> Tensor:
        """The same memory outside the tape. Writes through it are not noticed by the version check."""
        result = from_array(self._data)
        if self._traced is not None:
            result._traced = self._traced
        return result

    @data.setter
    def data(self, value: Tensor) -> None:
        self._data = value._data
        self.bump_version()

    @property
    def itemsize(self) -> int:
        return self._data.itemsize

    @property
    def nbytes(self) -> int:
        return self._data.nbytes

    @property
    def is_floating_point(self) -> Any:
        return _Predicate(self.dtype.is_floating_point)

    def size(self, dim: int | None = None) -> Any:
        """The shape, or one size of it."""
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        """The number of dimensions."""
        return self._data.ndim

    def numel(self) -> int:
        """The number of elements."""
        count = 1
        for size in self.shape:
            count = count * size
        return count

    def stride(self, dim: int | None = None) -> Any:
        """Steps in elements per dimension."""
        steps = tuple(s // self._data.itemsize for s in self._data.strides)
        return steps if dim is None else steps[dim]

    def is_contiguous(self, memory_format: memory_format = contiguous_format) -> bool:
        """Whether the elements lie without gaps in row-major order, or in the order of `memory_format`."""
        return is_in_format(self._data, memory_format)

    def data_ptr(self) -> int:
        """The address of the first element."""
        return self._data.ctypes.data if isinstance(self._data, np.ndarray) else self._data.data.ptr

    @property
    def version(self) -> int:
        """How often the memory was written to in place."""
        return 0 if self._version is None else self._version[0]

    def bump_version(self) -> None:
        """Notes a write to the memory; call it after writing into `.numpy()` of a tensor that a gradient may need."""
        if self._version is None:
            self._version = [0]
        self._version[0] += 1

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Switches recording on or off for a leaf, in place.

        Raises:
            DTypeError: the dtype is not floating point.
            GradientError: the tensor is a result, and recording is to be switched off.
        """
        if requires_grad and not self.dtype.is_floating_point:
            raise DTypeError(
                f"requires_grad_: only floating-point tensors have gradients, came {self.dtype}; convert with .to(penlight.float32)"
            )
        if not requires_grad and self._node is not None:
            raise GradientError("requires_grad_(False): the tensor is a result of the tape; use .detach()")
        self.requires_grad = bool(requires_grad)
        return self

    def detach(self) -> Tensor:
        """The same memory as a new tensor outside the tape."""
        if self._version is None:
            self._version = [0]
        result = from_array(self._data)
        result._version = self._version
        if self._traced is not None:
            result._traced = self._traced
        return result

    def detach_(self) -> Tensor:
        """Leaves the tape, in place."""
        self._node, self.requires_grad, self._base, self._views = None, False, None, ()
        return self

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> HookHandle:
        """Calls `hook(gradient)` when the gradient of this tensor is known; a returned tensor replaces it.

        Returns: a handle, whose `remove()` takes the hook out again.
        """
        if not self.requires_grad:
            raise GradientError("register_hook: the tensor does not require a gradient")
        if self._node is not None:
            self._node.add_hook(self._index, hook)
            hooks = self._node.hooks[self._index]  # type: ignore[index]  # add_hook made the lists
        else:
            hooks = self._hooks = self._hooks or []
            hooks.append(hook)
        return HookHandle(hooks, hook)

    def register_post_accumulate_grad_hook(self, hook: Callable[[Tensor], None]) -> HookHandle:
        """Calls `hook(self)` each time backward has added to `.grad` of this leaf.

        Raises:
            GradientError: the tensor does not require a gradient, or is no leaf and so keeps none.
        """
        if not self.requires_grad or self._node is not None:
            raise GradientError(
                "register_post_accumulate_grad_hook: expected a leaf that requires a gradient; use register_hook on a result"
            )
        hooks = self._accumulate_hooks = self._accumulate_hooks or []
        hooks.append(hook)
        return HookHandle(hooks, hook)

    def numpy(self, *, force: bool = False) -> np.ndarray:
        """The storage as a NumPy array, without a copy.

        Raises:
            GradientError: the tensor requires a gradient (writes would bypass the tape); use `.detach().numpy()`.
            TypeError: it lives on another device; use `.cpu().numpy()`.
        """
        self._refuse_under_trace(".numpy()")
        if self.requires_grad and not force:
            raise GradientError("numpy: the tensor requires a gradient; use tensor.detach().numpy()")
        if not isinstance(self._data, np.ndarray):
            if not force:
                raise DTypeError(f"numpy: the tensor lives on {self.device}; use tensor.cpu().numpy()")
            return backend_of(self._data).to_numpy(self._data)
        return self._data

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.numpy()
        return array if dtype is None and not copy else np.array(array, dtype=dtype, copy=copy)

    def __dlpack__(self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None) -> Any:
        """The memory as a DLPack capsule, for `from_dlpack` of other libraries; arguments as in the array API standard."""
        self._refuse_under_trace("__dlpack__")
        if self.requires_grad:
            raise GradientError("__dlpack__: the tensor requires a gradient; use tensor.detach()")
        options = {"stream": stream, "max_version": max_version, "dl_device": dl_device, "copy": copy}
        return dlpack.capsule(self._data, **{name: value for name, value in options.items() if value is not None})

    def __dlpack_device__(self) -> Any:
        return self._data.__dlpack_device__()

    def item(self) -> Any:
        """The value of a tensor with one element as a Python number.

        Raises:
            ShapeError: it has more or fewer elements.
            TraceError: a trace is active and the value depends on an input.
        """
        self._refuse_under_trace(".item()")
        if self._data.size != 1:
            raise ShapeError(f"item: expected one element, came shape {tuple(self._data.shape)}; use .tolist()")
        value = self._data.reshape(()).item()
        return value if isinstance(value, (bool, int, float, complex)) else float(value)

    def tolist(self) -> Any:
        """The values as nested lists of Python numbers."""
        self._refuse_under_trace(".tolist()")
        return backend_of(self._data).to_numpy(self._data).tolist()

    def __bool__(self) -> bool:
        self._refuse_under_trace("bool()")
        if self._data.size != 1:
            raise ShapeError(f"bool: the truth of shape {tuple(self._data.shape)} is ambiguous; use .any() or .all()")
        return bool(self._data)

    def __int__(self) -> int:
        self._refuse_under_trace("int()")
        return int(self.item())

    def __index__(self) -> int:
        self._refuse_under_trace("int()")
        if self.dtype.is_floating_point:
            raise DTypeError(f"index: expected an integer tensor, came {self.dtype}")
        return int(self.item())

    def __float__(self) -> float:
        self._refuse_under_trace("float()")
        return float(self.item())

    def __format__(self, form: str) -> str:
        return format(self.item(), form) if form and not self._data.ndim else format(str(self), form)

    def __len__(self) -> int:
        if not self._data.ndim:
            raise DTypeError("len: a 0-dim tensor has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if not self._data.ndim:
            raise DTypeError("iteration over a 0-dim tensor")
        if self._traced is not None:
            mode.tracer.check_iteration(self)
        return (self[i] for i in range(self._data.shape[0]))

    def __contains__(self, value: Any) -> bool:
        return bool((self == value).any())

    def __repr__(self) -> str:
        body = np.array2string(
            backend_of(self._data).to_numpy(self._data),
            separator=", ",
            prefix="tensor(",
            **PRINTING,
        )
        extras = [body]
        if self.dtype not in (default_dtype, as_dtype(int), as_dtype(bool)):
            extras.append(f"dtype={self.dtype}")
        if self.device.type != "cpu":
            extras.append(f"device='{self.device}'")
        if self.requires_grad:
            extras.append(f"grad_fn={self._node!r}" if self._node is not None else "requires_grad=True")
        return f"tensor({', '.join(extras)})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if self._node is not None:
            raise GradientError("deepcopy: only leaves can be copied; use .detach().clone()")
        result = TensorBase.__new__(type(self))
        memo[id(self)] = result
        result.requires_grad = self.requires_grad
        if "persistent" in self.__dict__:
            result.__dict__["persistent"] = self.__dict__["persistent"]
        with visiting(self._data):
            result._data = self._data.copy()
            if self.grad is not None:
                result.grad = from_array(self.grad._data.copy())
        return result

    def __reduce__(self) -> tuple[Any, ...]:
        """For passing between processes (worker processes of a loader): the array and whether it requires a gradient."""
        return (_rebuild, (type(self), backend_of(self._data).to_numpy(self._data), self.requires_grad))

    def _refuse_under_trace(self, what: str) -> None:
        if self._traced is not None:
            mode.tracer.refuse_value(what, self)
        if recording.active is not None and type(self._data) is not np.ndarray:
            recording.refuse_value(what)

    def _sync_view(self) -> None:
        """Makes the node of a view anew when an in-place operation has replaced the one of its base."""
        base = self._base
        if base is None or base._rebased == self._stamp:
            return
        replay = base
        self._stamp = base._rebased
        for operator in self._views:
            replay = APPLY[0](operator, replay)
        if replay._data.strides != self._data.strides or replay.data_ptr() != self.data_ptr():
            raise InPlaceError("a view is used whose base changed its shape in place (t_, squeeze_, ...); take the view anew")
        self._node, self._index, self.requires_grad = replay._node, replay._index, replay.requires_grad


APPLY: list[Callable[..., Any]] = []  # holds dispatch.apply, which builds on this module


class _Predicate(int):
    """A truth value that may be called: PyTorch has `t.is_floating_point()`, the property reads better."""

    def __call__(self) -> bool:
        return bool(self)


_native.configure(tensor_type=Tensor, dtypes=FROM_NUMPY)


def _rebuild(cls: type[Tensor], array: np.ndarray, requires_grad: bool) -> Tensor:
    t = TensorBase.__new__(cls)
    t._data = array
    t.requires_grad = requires_grad
    return t


def _as_array(data: Any, dtype: Any) -> Any:
    if dtype is not None:
        return np.asarray(data, dtype=as_dtype(dtype).numpy)
    if hasattr(data, "__cuda_array_interface__"):
        return data
    array = data if isinstance(data, np.ndarray) else np.asarray(data)
    if not isinstance(data, (np.ndarray, np.generic)) and array.dtype == np.float64:
        array = array.astype(default_dtype.numpy)  # Python floats, in any nesting
    elif not isinstance(data, (np.ndarray, np.generic)) and array.dtype == np.complex128:
        array = array.astype(np.complex64)
    return np.asarray(array)


def tensor(data: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Returns a new tensor with a copy of `data`: a number, nested lists, a NumPy array or a tensor.

    Python floats become float32, Python integers int64; arrays keep their dtype.

    Raises:
        ShapeError: nested lists are ragged.
        DTypeError: the elements are not numbers.
    """
    if isinstance(data, Tensor):
        data = data._data
    elif isinstance(data, (list, tuple)):
        data = _plain(data)
    try:
        with np.errstate(all="ignore"):  # 1e300 is infinite in float32
            array = _as_array(data, dtype)
    except (ValueError, TypeError) as error:
        raise ShapeError(f"tensor: expected numbers or evenly nested lists of numbers ({error})") from error
    from_numpy_dtype(array.dtype)
    result = (
        from_array(array.copy() if np.may_share_memory(array, data) or array is data else array)
        if isinstance(data, np.ndarray)
        else from_array(array)
    )
    if device is not None:
        result._data = get_backend(Device(device)).asarray(result._data, Device(device))
    return result.requires_grad_() if requires_grad else result


def _plain(data: Any) -> Any:
    if isinstance(data, (list, tuple)):
        return [_plain(item) for item in data]
    return (
        data._data.item() if isinstance(data, Tensor) and data._data.ndim == 0 else data._data if isinstance(data, Tensor) else data
    )


def from_numpy(array: np.ndarray) -> Tensor:
    """Returns a tensor that shares the memory of a NumPy array, without a copy.

    Raises:
        DTypeError: the dtype is not one of ours (native byte order).
    """
    if not isinstance(array, np.ndarray):
        raise DTypeError(f"from_numpy: expected a NumPy array, came {type(array).__name__}; use penlight.tensor")
    from_numpy_dtype(array.dtype)
    return from_array(np.asarray(array))


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """Returns `data` as a tensor, without a copy where that is possible."""
    result = data if isinstance(data, Tensor) else from_array(_as_array(data, dtype))
    from_numpy_dtype(result._data.dtype)
    if dtype is not None and result.dtype is not as_dtype(dtype):
        result = result.to(as_dtype(dtype))
    return result if device is None else result.to(device)

# SPDX-License-Identifier: Apache-2.0
"""A CuPy of NumPy arrays: streams, graphs, pools and the strictness of a device, where there is no GPU.

Each operation on an array is a launch. A capturing stream records launches and runs none: what they would write holds NaN until
the graph is launched, and reading a value or copying from the host then is the error that CUDA gives. Memory is counted by pool.
"""

from __future__ import annotations

import contextlib
import itertools
import operator
import sys
import types
import weakref

import numpy as np


class CUDARuntimeError(RuntimeError):
    """As cupy.cuda.runtime.CUDARuntimeError."""


class OutOfMemoryError(MemoryError):
    """As cupy.cuda.memory.OutOfMemoryError."""


class Block:
    """Memory of a pool; given back when nothing refers to it."""


class MemoryPool:
    """Counts bytes; a device has one limit for all its pools."""

    def __init__(self, device=None):
        self.device, self.used, self.cached = device or Device.current, 0, 0

    def malloc(self, size):
        size = -(-size // 512) * 512
        if size > self.cached:
            if self.device.reserved + size - self.cached > self.device.total:
                self.free_all_blocks()
            if self.device.reserved + size - self.cached > self.device.total:
                raise OutOfMemoryError(f"Out of memory allocating {size:,} bytes (allocated so far: {self.used:,} bytes).")
            self.device.reserved += size - self.cached
            self.cached = size
        self.cached -= size
        self.used += size
        for hook in MemoryHook.active:
            hook.malloc_postprocess(device_id=0, size=size, mem_size=size, mem_ptr=0, pmem_id=0)
        block = Block()
        weakref.finalize(block, self._free, size)
        return block

    def _free(self, size):
        self.used -= size
        self.cached += size
        for hook in MemoryHook.active:
            hook.free_postprocess(device_id=0, mem_size=size, mem_ptr=0, pmem_id=0)

    def used_bytes(self):
        return self.used

    def total_bytes(self):
        return self.used + self.cached

    def free_bytes(self):
        return self.cached

    def free_all_blocks(self):
        self.device.reserved -= self.cached
        self.cached = 0

    def get_limit(self):
        return 0


class MemoryHook:
    """Is told of every allocation while it is entered."""

    active: list = []

    def __enter__(self):
        MemoryHook.active.append(self)
        return self

    def __exit__(self, *_):
        MemoryHook.active.remove(self)


class PinnedMemoryPointer:
    """Memory of the host with an address."""

    def __init__(self, size):
        self._bytes = np.zeros(size, np.uint8)
        self.ptr = self._bytes.ctypes.data


class Device:
    """A device of this machine; they share the counts and the memory of one `Machine`."""

    current: Machine
    number = 0  # of the one in use

    def __init__(self, number=None):
        self.id = Device.number if number is None else int(number)
        self._outer: list = []

    def use(self):
        Device.number = self.id

    def __enter__(self):
        self._outer.append(Device.number)
        self.use()
        return self

    def __exit__(self, *_):
        Device.number = self._outer.pop()

    def synchronize(self):
        _refuse_while_capturing()
        Device.current.synchronisations += 1


class Machine:
    """State of the whole stand-in; made anew by `cupy()`."""

    def __init__(self, total):
        self.total, self.reserved, self.synchronisations, self.launches = total, 0, 0, 0
        self.copies: list[str] = []  # "H2D" and "D2H", in order


class Event:
    """A mark in a stream."""

    def __init__(self, block=False, disable_timing=False):
        self.block, self.timing, self.at, self.device = block, not disable_timing, None, Device.number

    @property
    def done(self):
        return self.at is not None

    def record(self, stream=None):
        if stream is not None and stream.device_id not in (-1, self.device):
            raise CUDARuntimeError("cudaErrorInvalidResourceHandle: invalid resource handle")
        self.at = next(Stream.ticks)

    def synchronize(self):
        _refuse_while_capturing()


class Graph:
    """Recorded launches."""

    def __init__(self, launches):
        self.launches = launches

    def launch(self, stream=None):
        Device.current.launches += 1
        for launch in self.launches:
            launch()

    def upload(self, stream=None):
        pass


class Stream:
    """An ordered queue; here work is done when it is queued."""

    ticks = itertools.count()
    current: dict = {}  # those entered, by device
    capturing: Stream | None = None

    def __init__(self, null=False, non_blocking=False, priority=0):
        self.ptr = 0 if null else next(Stream.ticks) + 1000
        self.device_id = -1 if null else Device.number
        self.is_non_blocking, self.priority, self.launches, self.waits = non_blocking, priority, None, []

    def __enter__(self):
        self.entered().append(self)
        return self

    def __exit__(self, *_):
        self.entered().pop()

    def use(self):
        self.entered()[-1] = self
        return self

    def entered(self):
        return Stream.current.setdefault(Device.number if self.device_id < 0 else self.device_id, [Stream.null])

    @property
    def done(self):
        return True

    def begin_capture(self, mode=None):
        if self.ptr == 0 or not self.is_non_blocking:
            raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing")
        Stream.capturing, self.launches = self, []

    def end_capture(self):
        Stream.capturing, launches, self.launches = None, self.launches, None
        if launches is None or any(launch is None for launch in launches):
            raise CUDARuntimeError("cudaErrorStreamCaptureInvalidated: operation failed due to a previous error during capture")
        return Graph(launches)

    def is_capturing(self):
        return Stream.capturing is self

    def synchronize(self):
        _refuse_while_capturing()
        Device.current.synchronisations += 1

    def record(self, event=None):
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event):
        self.waits.append(event)


def _refuse_while_capturing():
    if Stream.capturing is not None:
        Stream.capturing.launches.append(None)
        raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing")


class Array:
    """An array of the device."""

    __array_priority__ = 100

    def __init__(self, host, block=None, device=None):
        self._host, self._block = host, block
        self._device = Device.number if device is None else device

    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    itemsize = property(lambda self: self._host.itemsize)
    nbytes = property(lambda self: self._host.nbytes)
    strides = property(lambda self: self._host.strides)
    base = property(lambda self: self._host.base)
    T = property(lambda self: self.transpose())
    real = property(lambda self: launched(operator.attrgetter("real"), self))
    imag = property(lambda self: launched(operator.attrgetter("imag"), self))
    device = property(lambda self: Device(self._device))

    @property
    def flags(self):
        flags = self._host.flags
        return types.SimpleNamespace(c_contiguous=flags.c_contiguous, f_contiguous=flags.f_contiguous, owndata=flags.owndata)

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self._host.ctypes.data, device_id=self._device)

    @property
    def __cuda_array_interface__(self):
        return {**self._host.__array_interface__, "version": 3, "stream": 1}

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array.")

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        return launched(getattr(ufunc, method), *inputs, **options)

    def __array_function__(self, function, kinds, args, options):
        return launched(function, *args, **options)

    def get(self, stream=None, order="C", out=None, blocking=True):
        _refuse_while_capturing()
        Device.current.copies.append("D2H")
        if out is not None:
            out[...] = self._host
            return out
        return self._host.copy(order)

    def set(self, host, stream=None):
        if not isinstance(host, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if host.dtype != self.dtype or host.shape != self.shape:
            raise ValueError("Shape or dtype mismatch")
        _refuse_while_capturing()
        Device.current.copies.append("H2D" if stream is None else "H2D async")
        self._host[...] = host

    def item(self):
        return self.get().item()

    def tolist(self):
        return self.get().tolist()

    def __bool__(self):
        return bool(self.get())

    def __int__(self):
        return int(self.get())

    def __float__(self):
        return float(self.get())

    def __complex__(self):
        return complex(self.get())

    def __index__(self):
        return operator.index(self.get())

    def __len__(self):
        return len(self._host)

    def __iter__(self):
        return (self[i] for i in range(len(self._host)))

    def __repr__(self):
        return repr(self.get())

    def __getitem__(self, key):
        if _has_mask(key):  # the size of the result depends on values
            _refuse_while_capturing()
        return launched(operator.getitem, self, key)

    def __setitem__(self, key, value):
        if isinstance(value, np.ndarray):
            raise TypeError("Unsupported type <class 'numpy.ndarray'>")
        launched(_set, self, key, value)

    def __getattr__(self, name):
        if name.startswith("_") or not callable(getattr(np.ndarray, name, None)):
            raise AttributeError(f"'cupy.ndarray' object has no attribute {name!r}")
        if name == "nonzero":
            _refuse_while_capturing()
        return lambda *args, **options: launched(operator.methodcaller(name), self, method=name, args=args, options=options)


def _set(array, key, value):
    array[key] = value


def _has_mask(key):
    keys = key if isinstance(key, tuple) else (key,)
    return any(isinstance(k, Array) and k.dtype == bool for k in keys)


def _binary(name):
    function = getattr(operator, name)

    def forward(self, other):
        return launched(function, self, other)

    def reflected(self, other):
        return launched(function, other, self)

    return forward, reflected


_NAMES = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_", "xor", "lshift", "rshift"]
for _name in _NAMES:
    _forward, _reflected = _binary(_name)
    setattr(Array, f"__{_name.strip('_')}__", _forward)
    setattr(Array, f"__r{_name.strip('_')}__", _reflected)
    setattr(Array, f"__i{_name.strip('_')}__", _binary(f"i{_name.strip('_')}")[0])
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(Array, f"__{_name}__", _binary(_name)[0])


def _unary(name):
    return lambda self: launched(getattr(operator, name), self)


for _name in ("neg", "pos", "abs", "invert"):
    setattr(Array, f"__{_name}__", _unary(_name))


def host(value):
    """The NumPy arrays inside of arguments; NumPy arrays themselves are refused, as CuPy does."""
    if isinstance(value, Array):
        return value._host
    if isinstance(value, np.ndarray) and value.ndim:
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(value, (tuple, list)):
        return type(value)(host(v) for v in value)
    return {k: host(v) for k, v in value.items()} if isinstance(value, dict) else value


def _arrays(value):
    if isinstance(value, Array):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _arrays(item)
    elif isinstance(value, dict):
        yield from _arrays(list(value.values()))


def launched(function, *values, method=None, args=(), options=None, **named):
    """Calls a function of NumPy on arrays of the device: now, or when the graph that is being captured is launched."""
    options = {**(options or {}), **named}
    given = list(_arrays((values, args, options)))

    def call():
        first = host(values)
        with np.errstate(all="ignore"):
            if method is not None:
                return getattr(first[0], method)(*host(args), **host(options))
            return function(*first, **host(options))

    if Stream.capturing is None:
        result = _wrapped(call(), given)
        if not hasattr(result, "_owner"):  # a view is no launch
            _check_device(given)
        return result
    before = [(a, a._host.copy()) for a in given]
    plain = call()
    for array, old in before:  # a capture runs nothing
        if array._host.flags.writeable:
            array._host[...] = old
    result = _wrapped(plain, given)
    made = [a for a in _arrays(result) if a._block is not None and not any(a is g for g in given)]
    for array in made:
        array._host[...] = np.nan if array.dtype.kind in "fcV" else 0
    kept = (given, result)  # what a launch reads stays where it is

    def launch(kept=kept):
        for old, new in zip(_arrays(result), _arrays(_wrapped(call(), given)), strict=True):
            if any(old is array for array in made):
                old._host[...] = new._host

    Stream.capturing.launches.append(launch)
    return result


def _check_device(given):
    """CuPy would read over the bus, in the order of the wrong stream: here it is an error."""
    devices = {array._device for array in given} | {Device.number}
    assert len(devices) == 1, f"arrays of devices {sorted(a._device for a in given)} while {Device.number} is the current one"


def _wrapped(value, given):
    if isinstance(value, (tuple, list)):
        parts = [_wrapped(v, given) for v in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if not isinstance(value, np.ndarray):
        return value
    for array in given:
        if value is array._host:
            return array
        if value.size and np.may_share_memory(value, array._host):
            view = Array(value, device=array._device)
            view._owner = array
            return view
    return fresh(value)


def fresh(value):
    """A new array of the device in the memory of the allocator in use."""
    return Array(value if value.flags.owndata else value.copy(order="K"), _allocator[-1](value.nbytes))


_allocator: list = []


@contextlib.contextmanager
def using_allocator(allocator):
    _allocator.append(allocator)
    try:
        yield
    finally:
        _allocator.pop()


def _asarray(value, dtype=None, **options):
    if isinstance(value, Array):
        if value._device != Device.number:
            Device.current.copies.append("D2D")
            return fresh(value._host.copy(order="K"))
        return value if dtype in (None, value.dtype) else value.astype(dtype)
    plain = np.array(value, dtype)
    if plain.dtype == object:
        raise TypeError("Unsupported dtype object")
    _refuse_while_capturing()
    Device.current.copies.append("H2D")
    return fresh(plain)


class Module(types.ModuleType):
    """The functions of a module of NumPy, on arrays of the device."""

    def __getattr__(self, name):
        found = getattr(sys.modules[self.__name__.replace("cupy", "numpy")], name)
        if isinstance(found, types.ModuleType):
            return Module(found.__name__)
        if name == "ogrid":
            return Grid()
        if isinstance(found, type) or not callable(found):
            return found
        if name in ("nonzero", "unique", "argwhere", "flatnonzero", "where", "extract"):
            return lambda *values, **options: _sized(name, found, values, options)
        return Function(found)


class Grid:
    """numpy.ogrid with arrays of the device."""

    def __getitem__(self, key):
        return launched(lambda: np.ogrid[key])


class Function:
    """A function of the module; ufuncs have methods."""

    def __init__(self, function):
        self._function = function

    def __call__(self, *values, **options):
        return launched(self._function, *values, **options)

    def __getattr__(self, name):
        if name not in ("at", "accumulate", "outer", "reduce"):
            raise AttributeError(f"a function of cupy has no attribute {name!r}")
        return Function(getattr(self._function, name))


def _sized(name, function, values, options):
    if name != "where" or len(values) == 1:
        _refuse_while_capturing()
    return launched(function, *values, **options)


def cupy(total=1 << 32, kernels=None, devices=1):
    """A fresh stand-in for the module, to be put into `sys.modules["cupy"]`; `kernels` runs what RawModule compiles."""
    Device.current = machine = Machine(total)
    Device.number = 0
    Stream.null = Stream(null=True)
    Stream.current.clear()
    Stream.capturing = None
    MemoryHook.active.clear()
    pool = MemoryPool(machine)
    _allocator[:] = [pool.malloc]
    xp = Module("cupy")
    runtime = types.SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError,
        getDeviceCount=lambda: devices,
        getDevice=lambda: Device.number,
        memGetInfo=lambda: (machine.total - machine.reserved, machine.total),
        getDeviceProperties=lambda number: {
            "name": b"Stand-in GPU",
            "major": 9,
            "minor": 0,
            "totalGlobalMem": machine.total,
            "multiProcessorCount": 132,
            "warpSize": 32,
            "maxThreadsPerMultiProcessor": 2048,
            "sharedMemPerBlockOptin": 232448,
            "l2CacheSize": 50 << 20,
        },
    )
    xp.ndarray, xp.asarray, xp.array, xp.machine = Array, _asarray, _asarray, machine
    xp.get_default_memory_pool = lambda: pool
    xp.get_default_pinned_memory_pool = lambda: types.SimpleNamespace(free_all_blocks=lambda: None)
    xp.empty_like = lambda a, dtype=None, order="K": launched(np.full_like, a, 0, dtype=dtype, order=order)
    xp.empty = lambda shape, dtype=np.float64, order="C": launched(np.zeros, shape, dtype, order=order)
    xp.cuda = types.SimpleNamespace(
        is_available=lambda: True,
        runtime=runtime,
        Device=Device,
        Stream=Stream,
        Event=Event,
        MemoryPool=MemoryPool,
        using_allocator=using_allocator,
        get_current_stream=lambda device=-1: Stream.current.get(Device.number if device < 0 else device, [Stream.null])[-1],
        get_elapsed_time=lambda a, b: float(b.at - a.at),
        alloc_pinned_memory=PinnedMemoryPointer,
        MemoryHook=MemoryHook,
        get_allocator=lambda: _allocator[-1],
        set_allocator=lambda allocator: _allocator.__setitem__(-1, allocator),
        memory=types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
    )
    xp.RawModule = kernels or _no_kernels
    return xp


def _no_kernels(*_, **__):
    raise AssertionError("the stand-in runs no kernels here")

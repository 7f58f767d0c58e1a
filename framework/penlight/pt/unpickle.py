# SPDX-License-Identifier: Apache-2.0
"""An interpreter of the pickle opcodes that a `.pt` file needs, which can build nothing but tensors and containers.

It is no wrapper around Python's pickle: globals are names in a table given by the caller, attributes are never set and
nothing is imported. Opcodes: https://docs.python.org/3/library/pickletools.html, protocols 2 to 5.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from penlight.errors import PenlightError

MAX_DEPTH = 100  # of nested containers
MAX_MARKS = 1000
MAX_INTEGER_BYTES = 64

_SCALARS = (str, bytes, int, float, bool, type(None))


class UnpickleError(ValueError):
    """The program is malformed or asks for something that is not allowed."""


class Global:
    """A function that the program may call, under the name the file uses."""

    __slots__ = ("function", "name")

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name = name
        self.function = function


def unpickle(program: bytes, find: Callable[[str, str], Any], persistent: Callable[[Any], Any], extra: tuple[type, ...]) -> Any:
    """Runs a pickle program.

    Args:
        program: the opcodes.
        find: value of a global by module and name: a `Global`, which may be called, or a plain value. It raises for others.
        persistent: value of a persistent id.
        extra: the types, beside containers and scalars, that the result may hold.

    Raises:
        UnpickleError: the program is damaged, nested too deeply or contains itself, or uses what is not allowed.
    """
    machine = _Machine(program, find, persistent)
    result = machine.run()
    _check_result(result, extra)
    return result


class _Machine:
    def __init__(self, program: bytes, find: Callable[[str, str], Any], persistent: Callable[[Any], Any]) -> None:
        self.program = program
        self.position = 0
        self.find = find
        self.persistent = persistent
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []  # the stacks below the open marks
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        operations = _OPERATIONS
        while True:
            start = self.position
            code = self.take(1)[0]
            if code == 0x2E:  # STOP
                break
            operation = operations.get(code)
            if operation is None:
                raise UnpickleError(f"opcode {bytes([code])!r} at {start} is not one that tensors and containers need")
            try:
                operation(self)
            except IndexError:
                raise UnpickleError(f"opcode {bytes([code])!r} at {start} finds an empty stack") from None
        if len(self.stack) != 1 or self.marks:
            raise UnpickleError("the program ends with other than one value")
        return self.stack[0]

    def take(self, count: int) -> bytes:
        end = self.position + count
        if end > len(self.program):
            raise UnpickleError(f"it ends in the middle of an instruction, at {len(self.program)}")
        part = self.program[self.position : end]
        self.position = end
        return part

    def skip(self, count: int) -> None:
        self.take(count)

    def drop_mark(self) -> None:
        self.since_mark()

    def line(self) -> str:
        end = self.program.find(b"\n", self.position, self.position + 256)
        if end < 0:
            raise UnpickleError(f"a name at {self.position} does not end")
        part = self.program[self.position : end]
        self.position = end + 1
        return _text(part)

    def unsigned(self, width: int) -> int:
        return int.from_bytes(self.take(width), "little")

    def mark(self) -> None:
        if len(self.marks) >= MAX_MARKS:
            raise UnpickleError(f"more than {MAX_MARKS} marks are open")
        self.marks.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def push_global(self, module: str, name: str) -> None:
        self.stack.append(self.find(module, name))

    def stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if type(name) is not str or type(module) is not str:
            raise UnpickleError("the name of a global is not text")
        self.push_global(module, name)

    def reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if type(function) is not Global or type(arguments) is not tuple:
            raise UnpickleError(f"it calls a {type(function).__name__}, which is not a function of the table")
        try:
            self.stack.append(function.function(*arguments))
        except (UnpickleError, PenlightError):
            raise
        except (TypeError, ValueError, OverflowError) as error:
            raise UnpickleError(f"{function.name}: {error}") from None

    def append(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise UnpickleError(f"it appends to a {type(self.stack[-1]).__name__}, expected a list")
        self.stack[-1].extend(items)

    def add(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not set:
            raise UnpickleError(f"it adds to a {type(target).__name__}, expected a set")
        target.update(map(_key, items))

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict and type(target) is not OrderedDict:
            raise UnpickleError(f"it sets an item of a {type(target).__name__}, expected a dict")
        if len(items) % 2:
            raise UnpickleError("a dict gets a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_key(key)] = value

    def dictionary(self) -> None:
        items = self.since_mark()
        self.stack.append({})
        self.set_items(items)

    def build(self) -> None:
        """The state of an object: only the `_metadata` of a state_dict, which becomes an attribute as in PyTorch."""
        state = self.stack.pop()
        target = self.stack[-1]
        if type(target) is not OrderedDict or type(state) is not dict or set(state) != {"_metadata"}:
            raise UnpickleError(f"it sets the state of a {type(target).__name__}; only state_dicts have one")
        target._metadata = state["_metadata"]  # type: ignore[attr-defined]  # where PyTorch keeps it

    def put(self, number: int) -> None:
        self.memo[number] = self.stack[-1]

    def get(self, number: int) -> None:
        if number not in self.memo:
            raise UnpickleError(f"it reads memo {number}, which was never written")
        self.stack.append(self.memo[number])

    def integer(self, width: int) -> None:
        if width > MAX_INTEGER_BYTES:
            raise UnpickleError(f"an integer of {width} bytes; at most {MAX_INTEGER_BYTES} are read")
        self.stack.append(int.from_bytes(self.take(width), "little", signed=True))

    def protocol(self) -> None:
        version = self.take(1)[0]
        if not 2 <= version <= 5:
            raise UnpickleError(f"pickle protocol {version}; expected 2 to 5")

    def pop(self) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.drop_mark()

    def new_object(self) -> None:
        arguments, cls = self.stack.pop(), self.stack.pop()
        if arguments != () or type(cls) is not Global:
            raise UnpickleError("it makes an object of a class that is not in the table")
        self.stack.append(cls.function())

    def collect(self, make: Callable[[list[Any]], Any]) -> None:
        items = self.since_mark()
        self.stack.append(make(items))

    def tuple_of(self, count: int) -> None:
        if len(self.stack) < count:
            raise IndexError
        self.stack[-count:] = [tuple(self.stack[-count:])]


def _key(value: Any) -> Any:
    """A dict key or set member: a scalar or a flat tuple of them, for hashing a nested one may take forever."""
    if type(value) in _SCALARS or (type(value) is tuple and len(value) <= 64 and all(type(v) in _SCALARS for v in value)):
        return value
    raise UnpickleError(f"a {type(value).__name__} as the key of a dict or member of a set; expected text or a number")


def as_key(value: Any) -> Any:
    """`value` if it may be a dict key or set member, else raises."""
    return _key(value)


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise UnpickleError(f"text is not UTF-8 ({error.reason})") from None


def _check_result(result: Any, extra: tuple[type, ...]) -> None:
    """Refuses cycles, depth, and values of the table that are no data, such as a function that was never called."""
    finished: dict[int, int] = {}  # height of each container
    waiting: list[tuple[Any, bool]] = [(result, False)]
    path: set[int] = set()
    while waiting:
        value, leaving = waiting.pop()
        if leaving:
            path.discard(id(value))
            finished[id(value)] = 1 + max((finished.get(id(child), 0) for child in _children(value)), default=0)
            if finished[id(value)] > MAX_DEPTH:
                raise UnpickleError(f"containers are nested more than {MAX_DEPTH} deep")
        elif isinstance(value, (dict, list, tuple, set, frozenset)):
            if id(value) in path:
                raise UnpickleError("a container contains itself")
            if id(value) not in finished:
                path.add(id(value))
                waiting.append((value, True))
                waiting.extend((child, False) for child in _children(value))
        elif type(value) not in (*_SCALARS, complex, bytearray) and not isinstance(value, extra):
            raise UnpickleError(f"the result holds a {getattr(value, 'name', type(value).__name__)}, which is no data")


def _children(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value


def _counted(width: int, decode: Callable[[bytes], Any]) -> Callable[[_Machine], None]:
    return lambda m: m.stack.append(decode(m.take(m.unsigned(width))))


def _push(make: Callable[[], Any]) -> Callable[[_Machine], None]:
    return lambda m: m.stack.append(make())


def _popped(method: Callable[[_Machine, list[Any]], None], count: int) -> Callable[[_Machine], None]:
    def operation(m: _Machine) -> None:
        items = m.stack[-count:]
        if len(items) < count:
            raise IndexError
        del m.stack[-count:]
        method(m, items)

    return operation


_OPERATIONS: Mapping[int, Callable[[_Machine], None]] = {
    ord("\x80"): _Machine.protocol,
    ord("\x95"): lambda m: m.skip(8),  # FRAME: a hint for readers of streams
    ord("("): _Machine.mark,
    ord("0"): _Machine.pop,
    ord("1"): _Machine.drop_mark,
    ord("N"): _push(lambda: None),
    ord("\x88"): _push(lambda: True),
    ord("\x89"): _push(lambda: False),
    ord("K"): lambda m: m.stack.append(m.unsigned(1)),
    ord("M"): lambda m: m.stack.append(m.unsigned(2)),
    ord("J"): lambda m: m.integer(4),
    ord("\x8a"): lambda m: m.integer(m.unsigned(1)),
    ord("\x8b"): lambda m: m.integer(m.unsigned(4)),
    ord("G"): lambda m: m.stack.append(struct.unpack(">d", m.take(8))[0]),
    ord("X"): _counted(4, _text),
    ord("\x8c"): _counted(1, _text),
    ord("\x8d"): _counted(8, _text),
    ord("B"): _counted(4, bytes),
    ord("C"): _counted(1, bytes),
    ord("\x8e"): _counted(8, bytes),
    ord("\x96"): _counted(8, bytearray),
    ord("U"): _counted(1, _text),  # text of Python 2
    ord("T"): _counted(4, _text),
    ord("}"): _push(dict),
    ord("]"): _push(list),
    ord(")"): _push(tuple),
    ord("\x8f"): _push(set),
    ord("d"): _Machine.dictionary,
    ord("l"): lambda m: m.collect(list),
    ord("t"): lambda m: m.collect(tuple),
    ord("\x85"): lambda m: m.tuple_of(1),
    ord("\x86"): lambda m: m.tuple_of(2),
    ord("\x87"): lambda m: m.tuple_of(3),
    ord("\x91"): lambda m: m.collect(lambda items: frozenset(map(_key, items))),
    ord("a"): _popped(_Machine.append, 1),
    ord("e"): lambda m: m.append(m.since_mark()),
    ord("s"): _popped(_Machine.set_items, 2),
    ord("u"): lambda m: m.set_items(m.since_mark()),
    ord("\x90"): lambda m: m.add(m.since_mark()),
    ord("b"): _Machine.build,
    ord("c"): lambda m: m.push_global(m.line(), m.line()),
    ord("\x93"): _Machine.stack_global,
    ord("R"): _Machine.reduce,
    ord("\x81"): _Machine.new_object,
    ord("Q"): lambda m: m.stack.append(m.persistent(m.stack.pop())),
    ord("q"): lambda m: m.put(m.unsigned(1)),
    ord("r"): lambda m: m.put(m.unsigned(4)),
    ord("\x94"): lambda m: m.put(len(m.memo)),
    ord("h"): lambda m: m.get(m.unsigned(1)),
    ord("j"): lambda m: m.get(m.unsigned(4)),
}

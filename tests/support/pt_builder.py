# SPDX-License-Identifier: Apache-2.0
"""Builds `.pt` archives member by member, whole or damaged, and pickle programs opcode by opcode."""

import struct
import zipfile

TWO_BY_TWO = ((0, (2, 2), (2, 1)),)


def global_(name):
    module, attribute = name.split(" ")
    return f"c{module}\n{attribute}\n".encode()


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def integer(value):
    data = value.to_bytes(16, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def tuple_(*parts):
    return b"(" + b"".join(parts) + b"t"


def storage(count, key="0", kind="torch FloatStorage"):
    return tuple_(text("storage"), global_(kind), text(key), text("cpu"), integer(count)) + b"Q"


def tensor(count=4, offset=0, size=(2, 2), stride=(2, 1), key="0", kind="torch FloatStorage"):
    arguments = (storage(count, key, kind), integer(offset), tuple_(*map(integer, size)), tuple_(*map(integer, stride)), b"\x89")
    return global_("torch._utils _rebuild_tensor_v2") + tuple_(*arguments, global_("collections OrderedDict") + b")R") + b"R"


def program(body, protocol=2):
    return b"\x80" + bytes([protocol]) + body + b"."


def write(path, body, data=b"\0" * 16, compression=zipfile.ZIP_STORED, **changes):
    """An archive with the program `body`; `changes` replaces members by name, None leaves one out."""
    members = {"data.pkl": program(body), "byteorder": b"little", "data/0": data, "version": b"3\n"} | changes
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            if content is not None:
                archive.writestr(f"archive/{name}", content)
    return path

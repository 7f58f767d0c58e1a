# SPDX-License-Identifier: Apache-2.0
"""The zip archive of a `.pt` file, with every size checked before it is believed.

PyTorch stores all members uncompressed, so that no member can be larger than the file: compressed ones are refused, and
with them every decompression bomb.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np

from penlight.errors import FileFormatError

MAX_PROGRAM_BYTES = 256 << 20  # of data.pkl: a million tensors take less
MAX_MEMBERS = 1 << 20
_BLOCK = 1 << 22
_VERSIONS = (1, 2, 3)


class Archive:
    """An open `.pt` file.

    Attributes:
        swapped: whether the storages are in big-endian order.

    Raises:
        FileFormatError: it is no zip archive, no `.pt` file, damaged, or built to mislead.
    """

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, OverflowError) as error:
            raise self.error(f"it is not a whole zip archive ({error}); it was cut off or damaged: copy it again") from error
        size_bytes = file.seek(0, 2)
        self._members = self._checked_members(size_bytes)
        self._prefix = self._find_prefix()
        self._check_version()
        self.swapped = self._byte_order() == "big"

    def error(self, text: str) -> FileFormatError:
        """An error about this file."""
        return FileFormatError(f"load {self.path}: {text}")

    def program(self) -> bytes:
        """The content of data.pkl."""
        return self._read("data.pkl", MAX_PROGRAM_BYTES).tobytes()

    def storage(self, key: str, size_bytes: int) -> np.ndarray:
        """The bytes of a storage, which must be `size_bytes` long.

        Raises:
            FileFormatError: there is no such storage, or it has another size.
        """
        name = f"data/{key}"
        member = self._members.get(self._prefix + name)
        if member is None:
            raise self.error(f"storage {key!r} is not in the archive; the file is incomplete: copy or save it again")
        if member.file_size != size_bytes:
            raise self.error(f"storage {key!r} should have {size_bytes:,} bytes and has {member.file_size:,}; save it again")
        return self._read(name, size_bytes)

    def _checked_members(self, size_bytes: int) -> dict[str, zipfile.ZipInfo]:
        members: dict[str, zipfile.ZipInfo] = {}
        infos = self._zip.infolist()
        if len(infos) > MAX_MEMBERS:
            raise self.error(f"it has {len(infos):,} members, more than {MAX_MEMBERS:,}")
        for info in infos:
            if info.filename in members:
                raise self.error(f"member {info.filename!r} is there twice; it is not clear which one counts")
            if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
                raise self.error(f"member {info.filename!r} is compressed, and PyTorch stores all members as they are")
            if info.flag_bits & 1:
                raise self.error(f"member {info.filename!r} is encrypted")
            members[info.filename] = info
        if sum(info.file_size for info in infos) > size_bytes:
            raise self.error(f"its members claim more bytes than the {size_bytes:,} of the file; they overlap")
        return members

    def _find_prefix(self) -> str:
        programs = [name for name in self._members if name == "data.pkl" or name.endswith("/data.pkl")]
        prefix = programs[0][: -len("data.pkl")] if programs else ""
        if any(name.startswith(f"{prefix}code/") or name == f"{prefix}constants.pkl" for name in self._members):
            raise self.error("it is a TorchScript archive, which holds code; load it in PyTorch and save its state_dict()")
        if len(programs) != 1:
            hint = (
                "; it looks like an .npz file: use penlight.data.read_npz" if any(n.endswith(".npy") for n in self._members) else ""
            )
            raise self.error(f"expected one member data.pkl in the archive, found {len(programs)}{hint}")
        return prefix

    def _check_version(self) -> None:
        if self._prefix + "version" not in self._members:
            raise self.error("member 'version' is missing; it was not written by torch.save")
        text = self._read("version", 16).tobytes().strip()
        if text not in [str(version).encode() for version in _VERSIONS]:
            raise self.error(f"its format version is {text[:16]!r}, known are {_VERSIONS}; save it with an older PyTorch")

    def _byte_order(self) -> str:
        if self._prefix + "byteorder" not in self._members:
            return "little"  # PyTorch before 2.1 wrote none
        text = self._read("byteorder", 16).tobytes()
        if text not in (b"little", b"big"):
            raise self.error(f"its byte order is {text!r}, expected b'little' or b'big'")
        return text.decode()

    def _read(self, name: str, limit: int) -> np.ndarray:
        info = self._members[self._prefix + name]
        if info.file_size > limit:
            raise self.error(f"member {name!r} has {info.file_size:,} bytes, more than {limit:,}")
        content = np.empty(info.file_size, np.uint8)
        position = 0
        try:
            with self._zip.open(info) as source:
                while block := source.read(_BLOCK):
                    content[position : position + len(block)] = np.frombuffer(block, np.uint8)
                    position += len(block)
        except (zipfile.BadZipFile, EOFError, ValueError, OSError, NotImplementedError) as error:
            raise self.error(f"member {name!r} is damaged ({error}); copy the file again") from error
        if position != info.file_size:
            raise self.error(f"member {name!r} ends after {position:,} of {info.file_size:,} bytes; copy the file again")
        return content

# SPDX-License-Identifier: Apache-2.0
"""Files: the one atomic durable save, and weights in safetensors.

Every file this project writes goes through `atomic_write`: a reader, a crash or a power loss sees the old file or the new
one, never a mixture. Nothing here (or anywhere) unpickles: a file holds numbers and text.
"""

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from penlight.errors import FileFormatError, FileMissingError, SaveError
from penlight.tensor import Tensor, from_numpy

try:
    import fcntl
except ImportError:  # Windows: leftovers stay until the user removes them
    fcntl = None  # type: ignore[assignment]  # stands for the missing module

Writer = Callable[[BinaryIO], object]

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

# safetensors' names of the dtypes; https://github.com/huggingface/safetensors#format
SAFETENSORS_DTYPES: dict[str, np.dtype] = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U64": np.dtype(np.uint64),
    "U32": np.dtype(np.uint32),
    "U16": np.dtype(np.uint16),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
    "C64": np.dtype(np.complex64),
}


def atomic_write(path: str | os.PathLike[str], data: bytes | bytearray | memoryview | Writer) -> Path:
    """Writes a file so that it is either wholly there or unchanged, and durable on return.

    A temporary file in the same folder is written, flushed to the disk and renamed over `path`; then the folder is flushed.
    On any failure the old file stays whole and the temporary file is removed. Temporary files left by killed writers of the
    same path are removed too. A symbolic link is followed; an existing file keeps its permissions.

    Args:
        path: the file; its folder must exist.
        data: the bytes, or a function that writes them to the open binary file it is given.

    Returns:
        The path.

    Raises:
        SaveError: the disk is full, the folder is missing or not writable, or `path` is not a regular file.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise SaveError(f"save {path}: expected a file or a free name, found a folder or device; choose another name")
    needed = memoryview(data).nbytes if not callable(data) else 0
    try:
        remove_leftovers(target.parent, f"{target.name}.")
        with _temporary_beside(target) as (file, temporary):
            if callable(data):
                data(file)
            else:
                file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.replace(temporary, target)
        _flush_folder(target.parent)
    except OSError as error:
        if isinstance(error, SaveError) or error.errno is None:
            raise
        raise _save_error(path, error, needed) from error
    return Path(path)


def remove_leftovers(folder: Path, prefix: str) -> int:
    """Removes temporary files of killed writers of files whose names start with `prefix`; returns how many."""
    removed = 0
    for path in folder.glob(f".{_glob_escape(prefix)}*.tmp"):
        with contextlib.suppress(OSError):  # another process may clean at the same moment
            if _is_abandoned(path):
                path.unlink()
                removed += 1
    return removed


def _glob_escape(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def _is_abandoned(path: Path) -> bool:
    """A living writer holds a lock on its temporary file; the kernel drops it with the process.

    A file of this very second may be one whose writer is just about to lock it.
    """
    if fcntl is None or time.time() - path.stat().st_mtime < 1:
        return False
    with open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


@contextlib.contextmanager
def _temporary_beside(target: Path) -> Iterator[tuple[BinaryIO, str]]:
    descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)
            os.chmod(temporary, _permissions(target))
            yield file, temporary
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _permissions(target: Path) -> int:
    """The old file's, else what `open` would give; mkstemp alone would make the file private."""
    if target.exists():
        return target.stat().st_mode & 0o777
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


def _flush_folder(folder: Path) -> None:
    """Makes the rename itself durable; some file systems refuse to flush a folder, which is their promise to make."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _save_error(path: str | os.PathLike[str], error: OSError, needed: int) -> SaveError:
    folder = Path(path).parent
    if error.errno in _DISK_FULL:
        free = shutil.disk_usage(folder).free
        size = f"{needed:,} bytes are needed and " if needed else ""
        return SaveError(
            f"save {path}: the disk is full or a quota is reached: {size}{free:,} bytes are free; "
            "the old file is unchanged; free some space or choose another folder"
        )
    if not folder.exists():
        return SaveError(f"save {path}: the folder {folder} does not exist; create it first")
    return SaveError(f"save {path}: {error.strerror}; the old file is unchanged; check the folder's permissions and the disk")


def read_file(path: str | os.PathLike[str], what: str = "file") -> bytes:
    """Returns the bytes of a file.

    Raises:
        FileMissingError: there is no such file, or it cannot be read.
        FileFormatError: it is empty.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise FileMissingError(f"{what} {path}: {error.strerror}; expected a readable file, check the path") from error
    if not data:
        raise FileFormatError(f"{what} {path}: the file is empty; it was probably cut off while being written or copied")
    return data


def file_sha256(path: str | os.PathLike[str]) -> str:
    """Returns the SHA-256 of a file's content as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def save_arrays(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> Path:
    """Saves named arrays as safetensors, atomically; shapes and dtypes are kept, bfloat16 and float8 included."""
    return atomic_write(path, arrays_to_bytes(arrays, metadata))


def arrays_to_bytes(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> bytes:
    """Returns the content of a safetensors file with these arrays.

    Raises:
        TypeError: an array has a dtype that safetensors does not have.
    """
    from safetensors.numpy import save  # 20 ms that importing penlight need not pay

    dense = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    for name, array in dense.items():
        if array.dtype not in SAFETENSORS_DTYPES.values():
            raise TypeError(
                f"safetensors: tensor {name!r} has dtype {array.dtype}, which the format does not have; convert it first"
            )
    return save(dense, dict(metadata) if metadata else None)


def load_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Loads named arrays from safetensors; they are writable and share nothing with the file.

    Raises:
        FileMissingError: there is no such file.
        FileFormatError: the file is empty, truncated, or not safetensors.
    """
    from safetensors import SafetensorError, deserialize

    data = read_file(path, "weights")
    try:
        entries = deserialize(data)
    except SafetensorError as error:
        hint = _foreign_hint(data)
        raise FileFormatError(f"weights {path}: not a whole safetensors file ({error}){hint}") from error
    return {name: _as_array(entry) for name, entry in entries}


def _as_array(entry: Mapping[str, Any]) -> np.ndarray:
    dtype = SAFETENSORS_DTYPES.get(entry["dtype"])
    if dtype is None:
        raise FileFormatError(f"weights: dtype {entry['dtype']} is not supported; expected one of {', '.join(SAFETENSORS_DTYPES)}")
    array = np.empty(entry["shape"], dtype)
    array.reshape(-1).view(np.uint8)[:] = np.frombuffer(entry["data"], np.uint8)
    return array


def _foreign_hint(data: bytes) -> str:
    """What the first bytes say the file is, for the files people mix up."""
    if data.startswith(b"PK\x03\x04"):
        return "; it is a zip archive, such as a .pt or .npz file: convert it to safetensors first"
    if data.startswith(b"version https://git-lfs"):
        return "; it is a Git LFS pointer: run 'git lfs pull'"
    return "; it was cut off or is of another format: copy it again or save it anew"


def save_safetensors(path: str | os.PathLike[str], tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> Path:
    """Saves named Tensors (or arrays), such as a `state_dict()`, as safetensors; the save is atomic and durable.

    Args:
        path: the file.
        tensors: values by name, of any device; shapes and dtypes are kept.
        metadata: text by name, stored in the file's header.

    Raises:
        SaveError: the file cannot be written; an old one stays whole.
    """
    return save_arrays(path, {name: as_array(value) for name, value in tensors.items()}, metadata)


def load_safetensors(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Returns the tensors of a safetensors file by name, on the CPU.

    Raises:
        FileMissingError: there is no such file.
        FileFormatError: the file is empty, truncated, or not safetensors.
    """
    return {name: from_numpy(array) for name, array in load_arrays(path).items()}


def as_array(value: Any) -> np.ndarray:
    """Returns a Tensor's or sequence's numbers as a NumPy array, without a copy where possible."""
    return value.detach().numpy(force=True) if isinstance(value, Tensor) else np.asarray(value)

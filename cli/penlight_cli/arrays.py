# SPDX-License-Identifier: Apache-2.0
"""Inputs and results as files: .npy, .npz and pictures in; .npz, .npy and JSON out. Numbers are never cast silently."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from penlight_cli.errors import InputFormat, InputValue, UsageProblem
from penlight_cli.files import existing_file
from penlight_cli.output import did_you_mean

PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".pgm", ".ppm"}


@dataclass(frozen=True)
class InputInfo:
    """What a model declares of an input: a dimension is a number, or a name where it is dynamic."""

    name: str
    dtype: np.dtype
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{'string' if self.is_text else self.dtype}[{', '.join(map(str, self.shape))}]"

    @property
    def is_text(self) -> bool:
        """Whether it takes strings."""
        return self.dtype.kind in "OS"


@dataclass(frozen=True)
class Reading:
    """What the user allows while inputs are read."""

    cast: bool = False
    allow_nan: bool = False
    scale: float = 1 / 255


def read_inputs(sources: Sequence[str], declared: Sequence[InputInfo], reading: Reading) -> dict[str, np.ndarray]:
    """Reads `path` or `name=path` for each input of a model and checks name, dtype, shape and values."""
    arrays: dict[str, np.ndarray] = {}
    names = [info.name for info in declared]
    for source in sources:
        name, path = _split(source, names)
        arrays.update(_read(path, name, declared, reading))
    missing = [name for name in names if name not in arrays]
    if missing:
        raise UsageProblem(
            f"the model has the inputs {', '.join(names)}; nothing was given for {', '.join(missing)}: add {missing[0]}=FILE"
        )
    return {info.name: _checked(arrays[info.name], info, reading) for info in declared}


def _split(source: str, names: Sequence[str]) -> tuple[str | None, Path]:
    head, equals, tail = source.partition("=")
    if equals and not Path(source).exists():
        if head not in names:
            raise UsageProblem(f"the model has no input {head!r}{did_you_mean(head, names)}; it has {', '.join(names)}")
        return head, Path(tail)
    return None, Path(source)


def _read(path: Path, name: str | None, declared: Sequence[InputInfo], reading: Reading) -> dict[str, np.ndarray]:
    existing_file(path, "input")
    by_name = {info.name: info for info in declared}
    if name is None and path.suffix != ".npz" and len(declared) != 1:
        raise UsageProblem(
            f"input {path}: the model has {len(declared)} inputs; write NAME={path} with one of {', '.join(by_name)}"
        )
    if path.suffix == ".npz":
        return _read_npz(path, name, by_name)
    target = by_name[name] if name else declared[0]
    if path.suffix == ".npy":
        return {target.name: read_npy(path)}
    if path.suffix.lower() in PICTURES:
        return {target.name: read_picture(path, target, reading.scale)}
    raise InputFormat(
        f"input {path}: {path.suffix or 'no suffix'} is not a format of inputs; expected .npy, .npz or a picture such as .png"
    )


def read_npy(path: Path) -> np.ndarray:
    """One array of numbers or strings; files with Python objects are refused."""
    try:
        with open(path, "rb") as file:  # NumPy leaves it open when it fails
            array = np.load(file, allow_pickle=False)
    except (ValueError, EOFError, OSError, SyntaxError, zipfile.BadZipFile) as error:
        raise InputFormat(f"input {path}: not a whole .npy file of numbers ({_short(error)}); write it with numpy.save") from error
    if not isinstance(array, np.ndarray):
        raise InputFormat(f"input {path}: the content is an .npz archive; rename it to .npz")
    return array


def _read_npz(path: Path, name: str | None, declared: Mapping[str, InputInfo]) -> dict[str, np.ndarray]:
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (ValueError, EOFError, OSError, KeyError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        raise InputFormat(f"input {path}: not a whole .npz file of numbers ({_short(error)}); write it with numpy.savez") from error
    if len(arrays) == 1 and (name or len(declared) == 1):
        return {name or next(iter(declared)): next(iter(arrays.values()))}
    unknown = [key for key in arrays if key not in declared]
    if unknown:
        raise InputValue(
            f"input {path}: it holds {', '.join(arrays)}; the model has {', '.join(declared)}: rename or drop {unknown[0]!r}"
        )
    return arrays


def read_picture(path: Path, info: InputInfo, scale: float) -> np.ndarray:
    """A picture as (1, C, H, W): grey or RGB and the size as the model declares, values multiplied by `scale`."""
    from PIL import Image

    shape = info.shape[-4:]
    if len(shape) not in {3, 4}:
        raise InputValue(f"input {path}: input {info.name!r} is {info}, which no picture fits; expected (N, C, H, W)")
    channels, height, width = shape[-3:]
    try:
        with Image.open(path) as picture:
            image = picture.convert("L" if channels == 1 else "RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputFormat(f"input {path}: not a whole picture ({_short(error)})") from error
    if isinstance(height, int) and isinstance(width, int) and image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(image).reshape(image.height, image.width, -1).transpose(2, 0, 1)[None]
    return np.ascontiguousarray(pixels * np.asarray(scale, info.dtype), dtype=info.dtype)


def _checked(array: np.ndarray, info: InputInfo, reading: Reading) -> np.ndarray:
    if array.ndim == len(info.shape) - 1:
        array = array[None]  # one sample without its batch dimension
    came = f"{array.dtype}[{', '.join(map(str, array.shape))}]"
    if info.is_text and array.dtype.kind in "US":
        array = texts_of(array)
    elif array.dtype != info.dtype:
        if not reading.cast:
            raise InputValue(f"input {info.name!r}: expected {info}, came {came}; convert the file, or add --cast")
        array = _cast(array, info)
    fits = len(array.shape) == len(info.shape) and all(
        isinstance(w, str) or w == h for h, w in zip(array.shape, info.shape, strict=True)
    )
    if not fits:
        raise InputValue(f"input {info.name!r}: expected {info}, came {came}; reshape the file")
    if array.dtype.kind == "f" and not reading.allow_nan and not np.isfinite(array).all():
        position = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise InputValue(f"input {info.name!r}: NaN or infinity at {list(position)}; clean the data, or add --allow-nan")
    return np.ascontiguousarray(array)


def texts_of(array: np.ndarray) -> np.ndarray:
    """An object array of str, which every engine takes, from np.str_ or UTF-8 in np.bytes_."""
    try:
        return (np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array).astype(object)
    except UnicodeDecodeError as error:
        raise InputValue(f"input: strings must be UTF-8 ({error.reason}); write them with numpy.save as str") from error


def _cast(array: np.ndarray, info: InputInfo) -> np.ndarray:
    with np.errstate(all="ignore"):
        cast = array.astype(info.dtype)
    if info.dtype.kind in "iub" and not np.array_equal(cast, array):
        raise InputValue(f"input {info.name!r}: --cast from {array.dtype} to {info.dtype} would change values")
    return cast


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


def save_outputs(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes outputs as .npz, .npy (one output) or JSON, whole or not at all."""
    from penlight.serialize import atomic_write

    buffer = io.BytesIO()
    if path.suffix == ".npz":
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, array in arrays.items():
                archive.writestr(f"{name.replace('/', '_')}.npy", npy_bytes(array))
    elif path.suffix == ".npy" and len(arrays) == 1:
        buffer.write(npy_bytes(next(iter(arrays.values()))))
    elif path.suffix == ".json":
        buffer.write(json.dumps({name: array.tolist() for name, array in arrays.items()}).encode())
    else:
        raise UsageProblem(f"output {path}: expected .npz, .json, or .npy for a single output")
    atomic_write(path, buffer.getvalue())


def npy_bytes(array: np.ndarray) -> bytes:
    """The array as the bytes of a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array.astype(np.str_) if array.dtype.kind == "O" else array, allow_pickle=False)
    return buffer.getvalue()

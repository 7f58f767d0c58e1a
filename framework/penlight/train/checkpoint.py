# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: everything a run needs to go on bit for bit, in a folder that is whole at every moment.

    FOLDER/checkpoint-00000120-5d41402a.safetensors    weights and the optimizer's tensors
    FOLDER/checkpoint.json                             the rest; names the file above and its SHA-256

The JSON file is the switch: it is written last and atomically, and only then are older weights removed. A crash at any point
leaves the old checkpoint or the new one. Numbers in JSON are exact: Python writes floats so that they read back the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penlight.errors import CheckpointError, FileFormatError, FileMissingError, NumericalError
from penlight.random import get_rng_state, set_rng_state
from penlight.serialize import arrays_to_bytes, as_array, atomic_write, file_sha256, load_arrays, read_file, remove_leftovers
from penlight.tensor import Tensor, from_numpy

SCHEMA = "penlight.checkpoint/1"
NAME = "checkpoint.json"


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds besides the state of the objects that took theirs back."""

    step: int
    extra: dict[str, Any]


def save_checkpoint(
    folder: str | os.PathLike[str],
    model: Any,
    optimizer: Any = None,
    scheduler: Any = None,
    loader: Any = None,
    *,
    step: int = 0,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Saves a run so that it can go on exactly; atomic and durable as a whole.

    Args:
        folder: where; it is created.
        model: its `state_dict()` is saved. The optimizer, the schedule and the loader (for the position in the data) likewise.
        optimizer: or None; scheduler, loader: or None.
        step: number of steps done.
        extra: more to keep: text, numbers, lists, dicts, arrays and Tensors.

    Returns:
        The path of the JSON file.

    Raises:
        SaveError: the disk is full or not writable; the old checkpoint stays whole.
        NumericalError: a weight is NaN or infinite; the old checkpoint is kept, since nothing could go on from the new one.
    """
    folder = Path(folder)
    weights = model.state_dict()
    check_weights(weights, step)
    arrays = {f"model.{name}": as_array(value) for name, value in weights.items()}
    parts = {"optimizer": optimizer, "scheduler": scheduler, "loader": loader}
    states = {name: part.state_dict() for name, part in parts.items() if part is not None}
    states |= {"random": get_rng_state(), "extra": dict(extra or {})}
    trees = {name: _encode(state, name, arrays) for name, state in states.items()}
    data = arrays_to_bytes(arrays)
    digest = hashlib.sha256(data).hexdigest()
    # The digest in the name: saving the same step again never overwrites the file that the old JSON names.
    file = f"checkpoint-{step:08d}-{digest[:8]}.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write(folder / file, data)
    document = {"schema": SCHEMA, "step": step, "weights": {"file": file, "sha256": digest, "size_bytes": len(data)}, **trees}
    path = atomic_write(folder / NAME, json.dumps(document, indent=1, allow_nan=False).encode())
    remove_leftovers(folder, "checkpoint")
    for old in folder.glob("checkpoint-*.safetensors"):
        if old.name != file:
            with contextlib.suppress(OSError):
                old.unlink()
    return path


def check_weights(weights: Mapping[str, Tensor], step: int) -> None:
    """Raises NumericalError if a floating-point weight is NaN or infinite, naming it."""
    for name, value in weights.items():
        # The sum is NaN or infinite if any element is, and needs no temporary.
        if value.dtype.is_floating_point and not math.isfinite(float(value._data.sum(dtype="float64"))):
            raise NumericalError(
                f"step {step}: weight {name} {tuple(value.shape)} holds NaN or infinity; the last good checkpoint is kept; "
                "lower the learning rate or clip gradients, and look for NaN in the data"
            )


def has_checkpoint(folder: str | os.PathLike[str]) -> bool:
    """Returns whether a folder holds a checkpoint."""
    return (Path(folder) / NAME).exists()


def load_checkpoint(
    folder: str | os.PathLike[str], model: Any = None, optimizer: Any = None, scheduler: Any = None, loader: Any = None
) -> Checkpoint:
    """Gives each object its state back, and the random generator of Penlight its own.

    Without an optimizer (for evaluation or export) only the model is read and the random state is left alone.

    Returns:
        The step and the extra data.

    Raises:
        FileMissingError: there is no checkpoint.
        FileFormatError: its JSON is damaged.
        CheckpointError: the weights are missing or not those the JSON names, or a part that is asked for is not in it.
        StateDictError: the model or the optimizer is another than the saved one.
    """
    folder = Path(folder)
    document = _read_document(folder)
    arrays = _read_weights(folder, document["weights"])
    parts = {"optimizer": optimizer, "scheduler": scheduler, "loader": loader}
    states = {name: _decode(document[name], arrays) for name in parts if name in document}
    for name, part in parts.items():
        if part is not None and name not in states:
            raise CheckpointError(f"checkpoint {folder}: it holds no {name} state; it was saved without one")
    if model is not None:
        model.load_state_dict({name.removeprefix("model."): array for name, array in arrays.items() if name.startswith("model.")})
    for name, part in parts.items():
        if part is not None:
            part.load_state_dict(states[name])
    if optimizer is not None:
        set_rng_state(_decode(document["random"], arrays))
    return Checkpoint(document["step"], _decode(document["extra"], arrays))


def _read_document(folder: Path) -> dict[str, Any]:
    path = folder / NAME
    if not path.exists():
        raise FileMissingError(f"checkpoint {folder}: there is no {NAME} in it; check the folder")
    try:
        document = json.loads(read_file(path, "checkpoint"))
        if document["schema"] != SCHEMA:
            raise FileFormatError(
                f"checkpoint {path}: schema {document['schema']!r} is not {SCHEMA!r}; it is of another version of Penlight"
            )
        missing = {"step", "weights", "random", "extra"} - document.keys()
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"checkpoint {path}: not a checkpoint ({error}); copy it again or start anew") from error
    if missing:
        raise FileFormatError(f"checkpoint {path}: {', '.join(sorted(missing))} missing; copy it again or start anew")
    return document


def _read_weights(folder: Path, entry: Mapping[str, Any]) -> dict[str, Any]:
    path = folder / Path(entry["file"]).name  # never outside the folder, whatever the JSON says
    if not path.exists():
        raise CheckpointError(f"checkpoint {folder}: {path.name} is missing; copy the whole folder")
    if file_sha256(path) != entry["sha256"]:
        raise CheckpointError(f"checkpoint {folder}: {path.name} has changed since it was saved (SHA-256 differs); copy it again")
    return load_arrays(path)


def _encode(value: Any, path: str, arrays: dict[str, Any]) -> Any:
    """Returns a JSON tree; arrays go into `arrays` under their path, and what JSON lacks becomes a dict with one "$" key."""
    if isinstance(value, Tensor) or hasattr(value, "__array_interface__"):
        arrays[path] = as_array(value)
        return {"$tensor" if isinstance(value, Tensor) else "$array": path}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: _encode(item, f"{path}.{key}", arrays) for key, item in value.items()}
        return {"$items": [[key, _encode(item, f"{path}.{key}", arrays)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        items = [_encode(item, f"{path}.{index}", arrays) for index, item in enumerate(value)]
        return {"$tuple": items} if isinstance(value, tuple) else items
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": repr(value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise CheckpointError(
        f"checkpoint: {path} is a {type(value).__name__}; expected numbers, text, lists, dicts, arrays or Tensors"
    )


def _decode(value: Any, arrays: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return [_decode(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        (key, content), *_ = value.items()
        if key in {"$tensor", "$array"}:
            if content not in arrays:
                raise CheckpointError(f"checkpoint: tensor {content!r} is missing from the weights file; copy the whole folder")
            return from_numpy(arrays[content]) if key == "$tensor" else arrays[content]
        if key == "$items":
            return {name: _decode(item, arrays) for name, item in content}
        if key == "$tuple":
            return tuple(_decode(item, arrays) for item in content)
        if key == "$float":
            return float(content)
    return {name: _decode(item, arrays) for name, item in value.items()}

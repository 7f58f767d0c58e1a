# SPDX-License-Identifier: Apache-2.0
"""Finding model files: a file, a folder of files, or Triton's layout `<name>/<version>/model.onnx|model.pen`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from penlight_serving.errors import ModelInvalidError, RepositoryError

SUFFIXES = (".onnx", ".pen")
NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")
_VERSION = re.compile(r"[1-9][0-9]{0,17}")  # Triton ignores folders that start with a zero, and so do we


@dataclass(frozen=True)
class ModelFile:
    """A model file and the name and version under which it is served."""

    name: str
    version: str
    path: Path


def find_models(paths: Iterable[str | Path]) -> list[ModelFile]:
    """Returns the model files that the paths stand for, sorted by name.

    Raises:
        ModelInvalidError: A path does not exist or has another suffix.
        RepositoryError: No model, a name that is not allowed, or a name twice.
    """
    found: dict[str, ModelFile] = {}
    for path in map(Path, paths):
        for model in _models_at(path):
            _check_name(model)
            if model.name in found:
                raise RepositoryError(
                    f"two models are called {model.name!r}: {found[model.name].path} and {model.path}; rename one of the files"
                )
            found[model.name] = model
    if not found:
        raise RepositoryError("no model to serve: give at least one .onnx or .pen file, or a folder that holds some")
    return [found[name] for name in sorted(found)]


def _models_at(path: Path) -> list[ModelFile]:
    if path.is_dir():
        return _models_in(path)
    if not path.exists():
        raise ModelInvalidError(f"{path}: no such file or folder; give a .onnx file, a .pen file or a folder of models")
    if path.suffix not in SUFFIXES:
        raise ModelInvalidError(f"{path}: expected a .onnx or .pen file, got the suffix {path.suffix!r}; convert the model first")
    return [ModelFile(path.stem, "1", path)]


def _models_in(folder: Path) -> list[ModelFile]:
    single = _newest_version(folder, folder.resolve().name)
    if single is not None:
        return [single]
    models = []
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            model = _newest_version(entry, entry.name)
            if model is not None:
                models.append(model)
        elif entry.suffix in SUFFIXES:
            models.append(ModelFile(entry.stem, "1", entry))
    if not models:
        raise RepositoryError(f"{folder}: holds no model; expected NAME.onnx, NAME.pen, NAME/1/model.onnx or NAME/1/model.pen")
    return models


def _newest_version(folder: Path, name: str) -> ModelFile | None:
    versions = sorted(
        (int(entry.name) for entry in folder.iterdir() if entry.is_dir() and _VERSION.fullmatch(entry.name)), reverse=True
    )
    for version in versions:
        files = [file for suffix in SUFFIXES if (file := folder / str(version) / f"model{suffix}").is_file()]
        if len(files) > 1:
            raise RepositoryError(f"{folder / str(version)}: holds both model.onnx and model.pen; remove one of them")
        if files:
            return ModelFile(name, str(version), files[0])
    return None


def _check_name(model: ModelFile) -> None:
    if NAME.fullmatch(model.name) is None or model.name in (".", ".."):
        raise RepositoryError(
            f"{model.path}: {model.name!r} is no model name; rename it to 1 to 128 letters, digits, dots, dashes or underscores"
        )

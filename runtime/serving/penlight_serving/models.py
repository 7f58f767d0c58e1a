# SPDX-License-Identifier: Apache-2.0
"""The models of one server, by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from penlight_serving.engine import open_engine
from penlight_serving.errors import ModelNotFoundError
from penlight_serving.model import Pace, ServedModel
from penlight_serving.options import Options
from penlight_serving.repository import NAME, ModelFile, find_models


class Models:
    """Loaded models, looked up by name and version."""

    def __init__(self, models: Iterable[ServedModel]) -> None:
        self._by_name = {model.name: model for model in models}

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def get(self, name: str, version: str | None = None) -> ServedModel:
        """Returns a model. Raises ModelNotFoundError, with the name in its words only if it could be one."""
        model = self._by_name.get(name)
        if model is None:
            shown = f"named {name}" if NAME.fullmatch(name) else "of this name"
            raise ModelNotFoundError(f"no model {shown} is served here; POST /v2/repository/index lists those that are")
        if version is not None and version != model.version:
            raise ModelNotFoundError(f"model {name} is served in version {model.version} only; ask for that, or for none")
        return model


def load_models(paths: str | Path | Iterable[str | Path], options: Options | None = None) -> Models:
    """Loads every model that the paths stand for and runs each a few times.

    Args:
        paths: A `.onnx` or `.pen` file, a folder, or several of them (see `find_models`).
        options: For the threads.

    Raises:
        ModelInvalidError: A file cannot be served. A server that starts serves everything it was given.
        RepositoryError: No model, or names that clash.
    """
    return open_models(find_models([paths] if isinstance(paths, str | Path) else paths), options or Options())


def open_models(files: list[ModelFile], options: Options) -> Models:
    """Loads model files that were found before."""
    models = []
    for file in files:
        engine = open_engine(file.path, options, spinning=len(files) == 1 and options.run_concurrency == 1)
        models.append(ServedModel(file.name, file.version, engine, Pace(options.inline_below_us)))
        models[-1].warm_up()
    return Models(models)

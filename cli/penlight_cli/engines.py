# SPDX-License-Identifier: Apache-2.0
"""The three engines behind one face: eager (a training run), onnxruntime (.onnx) and the edge runtime (.pen)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from penlight_cli.arrays import InputInfo
from penlight_cli.errors import InputFormat, UsageProblem
from penlight_cli.files import existing_file, named

# https://onnxruntime.ai/docs/api/python/: the type strings of NodeArg
_INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "bool")
_ORT_DTYPES = {"float": "float32", "double": "float64", "float16": "float16", **{name: name for name in _INTEGERS}}
_ORT_DTYPES["string"] = "object"


class Engine(Protocol):
    """A loaded model: runs a dict of arrays to a dict of arrays."""

    name: str
    inputs: list[InputInfo]

    @property
    def arena_bytes(self) -> int | None: ...

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]: ...


def open_model(path: Path, threads: int = 1, method: str | None = None, deterministic: bool = False) -> Engine:
    """Opens a model file or a run folder with the engine that its suffix says; `method` is one of a .pen file's."""
    if method is not None and path.suffix != ".pen":
        raise UsageProblem(f"--method {method}: only .pen files have methods, came {path}")
    if deterministic and path.suffix != ".pen":
        raise UsageProblem(f"--deterministic: only .pen files run so, came {path}; penlight convert writes one")
    if path.is_dir() and (path / "run.json").exists():
        return EagerEngine.open(path)
    existing_file(path, "model")
    if path.suffix == ".pen":
        return EdgeEngine(path, threads, method=method, deterministic=deterministic)
    if path.suffix == ".onnx":
        return OnnxEngine(path, threads)
    raise UsageProblem(f"model {path}: expected a .pen or .onnx file, or the folder of a training run")


class OnnxEngine:
    """onnxruntime on the CPU."""

    name = "onnxruntime"
    arena_bytes = None

    def __init__(self, path: Path, threads: int = 1) -> None:
        import onnxruntime  # half a second that other engines need not pay

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 4  # its errors come as exceptions; the log would repeat them on stderr
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions share no public base class
            raise InputFormat(f"model {path}: onnxruntime cannot load it, copy or export it again: {_short(error)}") from error
        self.inputs = [InputInfo(i.name, _ort_dtype(i), _shape(i.shape)) for i in self._session.get_inputs()]
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            values = self._session.run(self._outputs, dict(inputs))
        except Exception as error:
            raise InputFormat(f"onnxruntime failed to run the model: {_short(error)}") from error
        return dict(zip(self._outputs, values, strict=True))


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _ort_dtype(value: Any) -> np.dtype:
    inner = value.type.removeprefix("tensor(").removesuffix(")")
    if inner not in _ORT_DTYPES:
        raise InputFormat(f"model input {value.name!r} has the type {value.type}; expected a tensor of numbers or strings")
    return np.dtype(_ORT_DTYPES[inner])


def _shape(dims: Any) -> tuple[int | str, ...]:
    return tuple(d if isinstance(d, int) else str(d) if d else f"dim{i}" for i, d in enumerate(dims))


class EdgeEngine:
    """The edge runtime."""

    name = "edge"

    def __init__(
        self, path: Path, threads: int = 1, profile: bool = False, method: str | None = None, deterministic: bool = False
    ) -> None:
        """`method`: the file's first by default."""
        import penlight_runtime

        with named(path):
            self.program = penlight_runtime.Program.open(path, check_segments=True)
            name = self.program.methods[0] if method is None else method
            self.session = self.program.session(name, threads=threads, profile=profile, deterministic=deterministic)
        self.inputs = [InputInfo(i.name, np.dtype(i.dtype), tuple(i.shape)) for i in self.program.inputs(name)]

    @property
    def arena_bytes(self) -> int | None:
        return int(self.session.arena_bytes)

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(self.session.run(dict(inputs)))


class EagerEngine:
    """A model of a run as it was trained, run by the framework without a tape."""

    name = "eager"
    arena_bytes = None

    def __init__(self, model: Any, run: Any) -> None:
        self.model, self._outputs = model, run.recipe.output_names
        self.inputs = [
            InputInfo(name, tensor.numpy().dtype, _dynamic_shape(run.recipe.dynamic.get(name, {}), tensor.shape))
            for name, tensor in run.recipe.example_inputs(run.config).items()
        ]

    @classmethod
    def open(cls, folder: Path) -> EagerEngine:
        """Loads the checkpoint of a run."""
        from penlight_cli.runs import load_run
        from penlight_cli.training import trained_model

        run = load_run(folder)
        return cls(trained_model(run), run)

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        import penlight as pl

        with pl.no_grad():
            result = self.model(*[pl.from_numpy(np.ascontiguousarray(inputs[info.name])) for info in self.inputs])
        values = result if isinstance(result, tuple) else (result,)
        return {name: value.numpy() for name, value in zip(self._outputs, values, strict=True)}


def _dynamic_shape(names: Mapping[int, str], shape: tuple[int, ...]) -> tuple[int | str, ...]:
    return tuple(names.get(place, size) for place, size in enumerate(shape))

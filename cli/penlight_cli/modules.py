# SPDX-License-Identifier: Apache-2.0
"""Modules of the framework given on the command line: the folder of a training run, or a class in a Python file."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from penlight_cli.errors import InputFormat, UsageProblem
from penlight_cli.files import existing_file


def is_module(text: str) -> bool:
    """Whether `text` names a run's folder or `FILE.py:CLASS`, and not a model file."""
    return Path(text).is_dir() or ".py:" in text


def open_module(text: str, weights: Path | None = None) -> Any:
    """The module in evaluation mode, with the weights of its checkpoint.

    Args:
        text: the folder of a training run, or `FILE.py:NAME` of a class or function that makes a module without arguments. The
            file is run, as `python FILE.py` would.
        weights: a .safetensors file for the latter; without it the weights are those that the class makes.
    """
    path, _, name = text.rpartition(":")
    if ".py:" not in text:
        from penlight_cli.runs import load_run
        from penlight_cli.training import trained_model

        if weights is not None:
            raise UsageProblem("--weights: a training run has its own checkpoint; leave the option out")
        return trained_model(load_run(Path(text)))
    module = _made(existing_file(Path(path), "module"), name)
    if weights is not None:
        from penlight import load_safetensors

        module.load_state_dict(load_safetensors(existing_file(weights, "weights")))
    return module.eval()


def _made(path: Path, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputFormat(f"module {path}: expected a Python file")
    namespace = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(namespace)
    make = getattr(namespace, name, None)
    if not callable(make):
        found = ", ".join(
            key for key, value in vars(namespace).items() if isinstance(value, type) and value.__module__ == path.stem
        )
        raise UsageProblem(f"module {path}: there is no class or function {name!r} in it; its classes are {found or 'none'}")
    try:
        module = make()
    except TypeError as error:
        raise UsageProblem(f"module {path}:{name}: expected to be made without arguments ({error}); write a function") from error
    if not hasattr(module, "state_dict"):
        raise UsageProblem(f"module {path}:{name}: expected a penlight.nn.Module, came {type(module).__name__}")
    return module

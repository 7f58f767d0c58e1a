# SPDX-License-Identifier: Apache-2.0
"""The runtime's sources: in a checkout at the top, in an installation inside of this package."""

from __future__ import annotations

import functools
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from penlight_mobile.errors import MissingSourcesError

_SCRIPT = "tools/amalgamate.py"


@functools.cache
def runtime_folder() -> Path:
    """The folder that holds include/, core/, kernels/ and tools/.

    Raises:
        MissingSourcesError: neither place has them.
    """
    here = Path(__file__).resolve().parent
    # The wheel's copy stands first: a checkout two levels up may then be anybody's folder named runtime.
    for folder in (here / "runtime", here.parents[1] / "runtime"):
        if (folder / _SCRIPT).is_file():
            return folder
    raise MissingSourcesError(f"package: the runtime's sources are missing beside {here}; install Penlight again")


def license_text() -> bytes:
    """The licence that goes with every copy of the runtime: beside its sources in a wheel, above them in a checkout."""
    runtime = runtime_folder()
    for path in (runtime / "LICENSE", runtime.parent / "LICENSE"):
        if path.is_file():
            return path.read_bytes()
    raise MissingSourcesError(f"package: the licence is missing beside {runtime}; install Penlight again")


@functools.cache
def amalgamate() -> ModuleType:
    """The module of runtime/tools/amalgamate.py, which is a script of its own and belongs to no package."""
    path = runtime_folder() / _SCRIPT
    spec = importlib.util.spec_from_file_location("penlight_amalgamate", path)
    if spec is None or spec.loader is None:
        raise MissingSourcesError(f"package: {path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module

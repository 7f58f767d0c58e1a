# SPDX-License-Identifier: Apache-2.0
"""`penlight doctor`: what is installed, what the processor and the GPU can do, and the line that installs what is missing."""

import importlib
import importlib.util
import os
import platform
import shutil
import sys
from typing import Any

from penlight_cli.failure import sentence
from penlight_cli.output import Result, table
from penlight_cli.versions import version_of

REQUIRED = (
    "numpy",
    "ml_dtypes",
    "safetensors",
    "onnx",
    "onnx-ir",
    "onnxruntime",
    "flatbuffers",
    "typer",
    "pillow",
    "uvicorn",
    "starlette",
)
# Import name: (distribution, what it is for, how to get it).
EXTRAS = {
    "cupy": ("cupy-cuda13x", "training on an NVIDIA GPU", "pip install 'penlight[cuda13]'"),
    "cudnn": ("nvidia-cudnn-frontend", "faster convolutions on an NVIDIA GPU", "pip install 'penlight[cuda13]'"),
    "mpi4py": ("mpi4py", "training in several processes", "pip install 'penlight[mpi]'"),
    "tritonclient": ("tritonclient", "a client for the server's tests", "pip install 'penlight[test]'"),
    "onnxscript": ("onnxscript", "torch.onnx as a source of .onnx files", "pip install onnxscript"),
}
CPU_FLAGS = ("sse2", "sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_vnni", "amx_int8", "asimd", "asimddp", "sve")


def doctor() -> Result:
    """Nothing is changed and nothing is sent anywhere. A missing extra or GPU is a line here, not an error.

    Example: penlight doctor --json
    """
    data: dict[str, Any] = {
        "penlight": version_of("penlight"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu(),
        "packages": {name: version_of(name) for name in REQUIRED},
        "native": {name: probe(name) for name in ("penlight._native", "penlight_runtime")},
        "edge_operators": edge_operators(),
        "onnxruntime_providers": onnxruntime_providers(),
        "gpu": gpu(),
        "compilers": {name: path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))},
        "extras": {name: extra(name) for name in EXTRAS},
    }
    return Result(data, _text(data))


def cpu() -> dict[str, Any]:
    """Model name, usable cores and the vector extensions that kernels can use."""
    text = ""
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            text = file.read()
    fields = {
        name.strip(): value.strip() for name, _, value in (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    }
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    name = fields.get("model name") or platform.processor() or platform.machine()
    return {
        "name": name,
        "architecture": platform.machine(),
        "cores": cores,
        "features": [flag for flag in CPU_FLAGS if flag in flags],
    }


def probe(module: str) -> str:
    """ "ok", or why a native module does not load."""
    try:
        importlib.import_module(module)
    except Exception as error:
        return f"missing: {sentence(error)}"
    return "ok"


def edge_operators() -> int:
    """How many operators the edge runtime has kernels for; 0 when it does not load."""
    try:
        import penlight_runtime

        return len({(domain, name) for domain, name, *_ in penlight_runtime.operators()})
    except Exception:
        return 0


def onnxruntime_providers() -> list[str]:
    """The execution providers of onnxruntime."""
    try:
        import onnxruntime

        return list(onnxruntime.get_available_providers())
    except Exception:
        return []


def gpu() -> dict[str, Any]:
    """The state of the CUDA device as one sentence and, where there is one, its name and memory."""
    if importlib.util.find_spec("cupy") is None:
        return {"available": False, "state": f"cupy is not installed; {EXTRAS['cupy'][2]}"}
    try:
        from penlight.backends import cuda

        cupy = cuda.backend().xp
        properties = cupy.cuda.runtime.getDeviceProperties(0)
    except Exception as error:  # no driver, no device, a driver too old: all are answers, none is a failure
        return {"available": False, "state": " ".join(sentence(error).split())}
    name = properties["name"].decode()
    capability = f"{properties['major']}.{properties['minor']}"
    return {
        "available": True,
        "state": "ready",
        "name": name,
        "capability": capability,
        "memory_bytes": properties["totalGlobalMem"],
    }


def extra(name: str) -> dict[str, Any]:
    """Whether an optional package is there, what for, and the line that installs it."""
    distribution, purpose, command = EXTRAS[name]
    installed = importlib.util.find_spec(name) is not None
    return {
        "installed": installed,
        "version": version_of(distribution) if installed else None,
        "purpose": purpose,
        "install": command,
    }


def _text(data: dict[str, Any]) -> str:
    machine, graphics = data["cpu"], data["gpu"]
    rows = [
        ("penlight", f"{data['penlight']} on Python {data['python']} ({sys.executable})"),
        ("platform", data["platform"]),
        ("processor", f"{machine['name']}, {machine['cores']} cores: {' '.join(machine['features'])}"),
        ("gpu", graphics.get("name", "none") + f" ({graphics['state']})"),
        ("compilers", " ".join(data["compilers"].values()) or "none found; 'penlight package' needs one only to build"),
        *[(name, state) for name, state in data["native"].items()],
        ("edge operators", str(data["edge_operators"])),
        ("onnxruntime", ", ".join(data["onnxruntime_providers"]) or "does not load"),
        *[(name, version) for name, version in data["packages"].items()],
        *[
            (
                f"extra: {name}",
                (e["version"] or "installed") if e["installed"] else f"not installed ({e['purpose']}): {e['install']}",
            )
            for name, e in data["extras"].items()
        ],
    ]
    return table(["What", "State"], rows, indent="")

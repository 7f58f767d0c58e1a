# SPDX-License-Identifier: Apache-2.0
"""The CUDA backend where there is no GPU: clear errors, lazy compilation, and only functions that CuPy has."""

import ast
import subprocess
import sys
import types
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import penlight
from penlight.backends import cuda, get_backend
from penlight.backends.cuda import cupy_backend, launch, source
from penlight.backends.cuda.loader import Loader
from penlight.device import device
from penlight.errors import DeviceError


@pytest.fixture(autouse=True)
def forget():
    cuda.backend.cache_clear()
    yield
    cuda.backend.cache_clear()


def fake_cupy(available=True):
    """What the backend asks of CuPy, without a GPU."""
    compiled = []

    class RawModule:
        def __init__(self, code, options, name_expressions):
            compiled.append((code, options, name_expressions))
            self.names = name_expressions
            self.calls = []

        def get_function(self, name):
            assert name in self.names
            return lambda *arguments: self.calls.append((name, *arguments))

    runtime = types.SimpleNamespace(getDeviceCount=lambda: 1, getDevice=lambda: 0, memGetInfo=lambda: (1, 2))
    gpu = types.SimpleNamespace(is_available=lambda: available, runtime=runtime)
    gpu.memory = types.SimpleNamespace(OutOfMemoryError=MemoryError)
    gpu.get_allocator, gpu.set_allocator = lambda: None, lambda allocator: None
    return types.SimpleNamespace(cuda=gpu, RawModule=RawModule, compiled=compiled)


def test_without_cupy_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    for call in (cuda.backend, lambda: get_backend(device("cuda")), lambda: penlight.ones(2).to("cuda")):
        with pytest.raises(DeviceError, match=r"cuda: .*pip install 'penlight\[cuda13\]'") as caught:
            call()
        assert (caught.value.code, caught.value.exit_code) == ("PL-E1003", 4)
    assert cuda.is_available() is False


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        (0, "no NVIDIA driver is installed, or this container does not see it"),
        (12040, r"the NVIDIA driver is for CUDA 12\.4, and CUDA 13 is needed"),
        (13000, r"the NVIDIA driver sees no GPU \(CUDA_VISIBLE_DEVICES is -1\)"),
        (None, r"the NVIDIA driver does not answer \(torn\)"),
    ],
)
def test_without_a_driver_the_error_says_so(monkeypatch, version, reason):
    def answer():
        if version is None:
            raise RuntimeError("torn")
        return version

    cupy = fake_cupy(available=False)
    cupy.cuda.runtime.driverGetVersion = answer
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    with pytest.raises(DeviceError, match=rf"no usable device: {reason}; check with nvidia-smi, or use the device cpu"):
        cuda.backend()
    assert cuda.is_available() is False


def test_importing_costs_no_cupy():
    code = "import sys, penlight.backends.cuda.cupy_backend, penlight.backends.cuda.loader; sys.exit('cupy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=600).returncode == 0


def test_a_device_number_that_is_not_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy())
    with pytest.raises(DeviceError, match=r"cuda:3: this machine has 1 CUDA device\(s\), numbered from cuda:0"):
        cuda.backend().asarray(np.zeros(2), device("cuda:3"))


def test_kernels_compile_when_first_used_and_once():
    cupy = fake_cupy()
    loader = Loader(cupy)
    assert cupy_backend.CudaBackend(cupy, loader).kernels and cupy.compiled == []
    kernels = source.kernels("softmax")
    x = np.zeros((2, 3), np.float32)
    for _ in range(2):
        loader.launch(kernels["softmax_forward"], "float32", launch.rows(2, 3), x, x, 2, 3)
    loader.launch(kernels["log_softmax_forward"], "float32", launch.rows(2, 3), x, x, 2, 3)
    assert len(cupy.compiled) == 1
    loader.launch(kernels["softmax_forward"], "bfloat16", launch.rows(2, 3), x, x, 2, 3)
    assert len(cupy.compiled) == 2
    code, options, names = cupy.compiled[0]
    assert code == source.text("softmax") and set(names) == {f"{name}<float>" for name in kernels}
    assert f"-I{source.FOLDER}" in options and any(source.headers_digest() in option for option in options)


def test_an_empty_launch_compiles_nothing():
    cupy = fake_cupy()
    kernel = source.kernels("softmax")["softmax_forward"]
    Loader(cupy).launch(kernel, "float32", launch.rows(0, 3), np.zeros((0, 3)), np.zeros((0, 3)), 0, 3)
    assert cupy.compiled == []


def test_scalars_go_in_the_width_that_the_kernel_reads():
    parameters = {parameter.name: parameter for parameter in source.kernels("loss")["cross_entropy_forward"].parameters}
    assert parameters["ignore_index"].pack(-100).dtype == np.int64
    assert parameters["rows"].pack(2**40).dtype == np.uint64
    assert parameters["label_smoothing"].pack(0.1).dtype == np.float32
    assert parameters["x"].pack(None).dtype == np.uint64 and parameters["losses"].written and not parameters["target"].written


def attributes_of_xp(path):
    """Dotted names of what a module takes from `xp`, such as "add.at"."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        while isinstance(node, ast.Attribute):
            names.append(node.attr)
            node = node.value
        if names and isinstance(node, ast.Name) and node.id == "xp":
            yield ".".join(reversed(names))


def test_operators_use_only_what_cupy_has():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed (penlight[cuda13])")
    missing = []
    folder = Path(penlight.__file__).parent
    for path in [*(folder / "ops").glob("*.py"), *(folder / "optim").glob("*.py")]:
        for name in attributes_of_xp(path):
            found = cupy
            for part in name.split("."):
                found = getattr(found, part, None)
            if found is None:
                missing.append(f"{path.name}: xp.{name}")
    assert sorted(set(missing)) == []


def test_element_types_are_those_of_the_framework():
    assert np.dtype(ml_dtypes.bfloat16).name in source.ELEMENTS
    assert set(source.ELEMENTS) == {"float32", "float16", "bfloat16"}

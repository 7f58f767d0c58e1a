# SPDX-License-Identifier: Apache-2.0
"""The packaged runtime on other processors: the same program passes the same self-test on each, or says why it does not run."""

import re
import subprocess

import cross_builds
import numpy as np
import onnx_text
import pytest

import penlight as pl
import penlight_mobile
import penlight_runtime
from penlight import nn
from penlight_export import export, graph
from penlight_export.edge.writer import GoldenSample, write_program
from penlight_mobile import c_target, cortex_target, linux_target
from penlight_mobile import model as packaged

INTEGER_GRAPH = """
g (uint8[N, 1, 8, 8] x) => (uint8[N, 10] y, int64[N] best) {
  c = QLinearConv <pads = [1, 1, 1, 1]> (x, xs, xz, w, ws, wz, cs, cz, b)
  p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (c)
  f = Flatten (p)
  y = QLinearMatMul (f, cs, cz, v, vs, vz, ys, yz)
  best = ArgMax <axis = 1, keepdims = 0> (y)
}"""


def write_float_model(path):
    pl.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(192, 10))
    export(model.eval(), (pl.rand(2, 1, 8, 8),), dynamic={"x": {0: "batch"}}, names=["x"]).save(path)


def write_integer_model(path):
    rng = np.random.default_rng(3)
    weights = {"w": rng.integers(-90, 90, (6, 1, 3, 3)).astype(np.int8), "v": rng.integers(-90, 90, (96, 10)).astype(np.int8)}
    weights["b"] = rng.integers(-500, 500, 6).astype(np.int32)
    weights |= {
        name: np.array(value, np.float32) for name, value in {"xs": 1 / 255, "ws": 0.01, "cs": 0.03, "vs": 0.005, "ys": 0.1}.items()
    }
    weights |= {name: np.array(value, np.uint8) for name, value in {"xz": 0, "cz": 3, "yz": 128}.items()}
    weights |= {name: np.array(0, np.int8) for name in ("wz", "vz")}
    proto = onnx_text.model_from_text(INTEGER_GRAPH, weights=weights)
    x = rng.integers(0, 255, (2, 1, 8, 8)).astype(np.uint8)
    model = graph.from_proto(proto)
    graph.infer_shapes(model)
    # What this machine computes is what the others are held to; ONNX leaves the order of the scales' products open.
    outputs = list(penlight_runtime.Program(program_bytes(model)).session().run([x]).values())
    path.write_bytes(program_bytes(model, [GoldenSample([x], outputs)]))


def program_bytes(model, golden=()):
    return b"".join(bytes(chunk) for chunk in write_program(model, golden=golden))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_float_model(folder / "float.pen")
    write_integer_model(folder / "integer.pen")
    return [packaged.read(folder / f"{name}.pen") for name in ("float", "integer")]


def fnv1a(data):
    value = 2166136261
    for byte in data:
        value = ((value ^ byte) * 16777619) & 0xFFFFFFFF
    return value


def test_only_what_a_model_uses_is_selected(models):
    float_model, integer_model = models
    assert float_model.selection.dtypes == {0, 1, 11}  # left out, float32, and the int64 of a shape
    assert integer_model.selection.dtypes == {0, 1, 5, 6, 9, 11}
    text = c_target.files(float_model)["penlight.cpp"].decode()
    assert "kSelectedTypes = 0x803;" in text
    functions = int(re.search(r"kSelectedFunctions = (0x\w+);", text)[1], 16)
    assert bin(functions).count("1") == 2  # identity, and the Relu of the model
    assert "kSelectedDepthwise = false;" in text


@pytest.mark.parametrize("target", linux_target.PLATFORMS)
def test_script_of_a_linux_target_compiles_with_the_compilers_that_are_given(models, target, tmp_path):
    for name, data in linux_target.PLATFORMS[target].files(models[0]).items():
        (tmp_path / name).write_bytes(data)
    done = subprocess.run(
        ["sh", tmp_path / "build.sh"],
        env={"CC": "echo cc", "CXX": "echo cxx", "PATH": "/bin:/usr/bin"},
        capture_output=True,
        text=True,
    )
    first, second = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert first.startswith("cxx -std=c++17 -O2") and first.endswith("-c penlight.cpp -o penlight.o")
    assert second.startswith("cc -std=c99 -O2") and second.endswith(" -o model") and "-static main.c model.c" in second
    assert ("-msse2" in first) == (target == "linux-x86")


def test_packages_name_their_next_step(models, tmp_path):
    (tmp_path / "model.pen").write_bytes(models[0].data)
    arm = penlight_mobile.package(tmp_path / "model.pen", target="linux-arm64", output=tmp_path / "arm")
    assert arm.next_step == f"sh {tmp_path}/arm/build.sh" and "build.sh" in arm.files
    chip = penlight_mobile.package(tmp_path / "model.pen", target="cortex-m4", output=tmp_path / "chip")
    assert chip.next_step == f"make -C {tmp_path}/chip run" and {"Makefile", "link.ld", "startup.c"} <= set(chip.files)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["aarch64", "armhf", "riscv64", "i686"])
def test_self_test_passes_on(models, name, tmp_path):
    machine = cross_builds.MACHINES[name]
    machine.need()
    cross_builds.write_runtime(tmp_path, models)
    machine.compile_runtime(tmp_path)
    for model in models:
        files = c_target.files(model)
        for source in ("main.c", "model.c", "model.h"):
            (tmp_path / source).write_bytes(files[source])
        done = machine.run(machine.link(tmp_path, model.name, "main.c", "model.c"))
        assert done.returncode == 0, done.stdout
        assert "self-test passed" in done.stdout


@pytest.mark.slow
def test_a_big_endian_machine_refuses_with_the_reason(models, tmp_path):
    machine = cross_builds.MACHINES["s390x"]
    machine.need()
    cross_builds.write_runtime(tmp_path, [])  # no kernels: the file is refused before they are looked at
    machine.compile_runtime(tmp_path)
    for source, data in c_target.files(models[0]).items():
        if source in ("main.c", "model.c", "model.h"):
            (tmp_path / source).write_bytes(data)
    done = machine.run(machine.link(tmp_path, "model", "main.c", "model.c"))
    assert done.returncode == 2
    assert "little-endian" in done.stdout and "PENLIGHT_UNSUPPORTED_VERSION" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("core", cortex_target.CORES)
def test_self_test_passes_on_bare_metal(models, core, tmp_path):
    cross_builds.write_runtime(tmp_path, models)
    for model in models:
        done = cross_builds.run_firmware(cross_builds.build_firmware(tmp_path, model, core), core)
        assert done.returncode == 0, done.stdout
        assert "self-test passed" in done.stdout
    # The integer model's outputs are the same bytes everywhere.
    printed = dict(re.findall(r"^(\w+) fnv1a (\w+)$", done.stdout, re.MULTILINE))
    (golden,) = [sample.outputs for sample in penlight_runtime.Program(models[1].data).golden()]
    assert {name: int(text, 16) for name, text in printed.items()} == {
        name: fnv1a(value.tobytes()) for name, value in golden.items()
    }


def test_every_core_has_a_board():
    assert {core.board for core in cortex_target.CORES.values()} == {"mps2-an385", "mps2-an386", "mps2-an500", "mps3-an547"}

# SPDX-License-Identifier: Apache-2.0
"""`penlight_mobile.package`: the folder builds with gcc and clang, needs libc and libm only, and answers as Python does."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import onnx_text
import pytest

import penlight_mobile
import penlight_runtime
from penlight_export import graph
from penlight_export.edge.writer import GoldenSample, write_program
from penlight_mobile import c_target, errors, folder, sources

GRAPH = """
g (float[N, 1, 6, 6] x) => (float[N, 3] y, int64[N] best) {
  c = Conv <pads = [1, 1, 1, 1]> (x, w, b)
  r = Relu (c)
  p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)
  f = Flatten (p)
  y = Gemm <transB = 1> (f, v, u)
  best = ArgMax <axis = 1, keepdims = 0> (y)
}"""
WARNINGS = ["-Wall", "-Wextra", "-Werror"]
# The C library, its mathematics and threads; nothing of libstdc++ or libgcc has such names.
C_SYMBOL = re.compile(r"^(_ITM_\w+|__cxa_finalize|__gmon_start__|__libc_start_main|[a-z][a-z0-9_]*)(@.*)?$")


def c_compilers():
    found = [name for name in ("gcc", "clang-16", "clang") if shutil.which(name) and shutil.which(c_target.cxx_compiler(name))]
    return found[:2]


def weights():
    rng = np.random.default_rng(5)
    shapes = {"w": (4, 1, 3, 3), "b": (4,), "v": (3, 36), "u": (3,)}
    return {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}


def pen_bytes(body=GRAPH, values=None, shape=(2, 1, 6, 6)):
    proto = onnx_text.model_from_text(body, weights=weights() if values is None else values)
    x = np.random.default_rng(6).normal(size=shape).astype(np.float32)
    outputs = onnx_text.run_onnx(proto, {"x": x})
    model = graph.from_proto(proto)
    graph.infer_shapes(model)
    return b"".join(bytes(chunk) for chunk in write_program(model, golden=[GoldenSample([x], list(outputs.values()))])), x


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A convolutional model's file, and the outputs that Python's runtime gives for the golden input."""
    data, x = pen_bytes()
    path = tmp_path_factory.mktemp("model") / "small.pen"
    path.write_bytes(data)
    return path, penlight_runtime.Program.open(path).session().run([x])


@pytest.fixture
def package(model, tmp_path):
    return penlight_mobile.package(model[0], target="c", output=tmp_path / "out")


def build(result, compiler, extra=()):
    for command in result.compile_command(compiler):
        compile_strictly(result, command, compiler, extra)


def compile_strictly(result, command, compiler, extra=()):
    strict = [*WARNINGS, "-pedantic"] if command[0] == compiler else WARNINGS
    done = subprocess.run([*command, *strict, *extra], cwd=result.path, capture_output=True, text=True, timeout=900)
    assert (done.returncode, done.stderr) == (0, "")


def run(program):
    return subprocess.run([program.resolve()], capture_output=True, text=True, timeout=600)


def printed(text):
    """The tensors of the program's output by name, in the dtype NumPy reads them with."""
    found = {}
    for name, shape, values in re.findall(r"^(\w+) \[(.*?)\]: (.*)$", text, re.MULTILINE):
        sizes = [int(size) for size in shape.split(",")] if shape else []
        found[name] = np.array(values.split(), np.float64).reshape(sizes)
    return found


@pytest.fixture(scope="module", params=c_compilers() or [pytest.param(None, marks=pytest.mark.skip("no C and C++ compiler"))])
def built(request, model, tmp_path_factory):
    """A package that each compiler has built; the first as shipped, the others with less work for the compiler."""
    result = penlight_mobile.package(model[0], output=tmp_path_factory.mktemp("built"))
    build(result, request.param, extra=[] if request.param == c_compilers()[0] else ["-O1"])
    return result, request.param


@pytest.fixture
def rebuilt(built, tmp_path):
    """Packages and compiles C sources again beside the runtime that is built already."""

    def again(path):
        result = penlight_mobile.package(path, output=tmp_path / "again")
        shutil.copy(built[0].path / "penlight.o", result.path)
        return result, lambda: compile_strictly(result, result.compile_command(built[1])[-1], built[1])

    return again


def test_runs_and_answers_as_python(model, built):
    done = run(built[0].program)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("self-test passed: max abs difference")
    outputs, expected = printed(done.stdout), model[1]
    assert outputs.keys() == expected.keys() == {"y", "best"}
    # %.9g brings a float32 back exactly; the kernels are the same code, built by another compiler.
    np.testing.assert_allclose(outputs["y"], expected["y"], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(outputs["best"], expected["best"])


def test_needs_the_c_library_alone_and_is_small(built, record_property):
    listing = subprocess.run(["nm", "-D", "-u", built[0].program], capture_output=True, text=True, check=True).stdout
    symbols = [line.split()[-1] for line in listing.splitlines()]
    assert "memcpy" in {symbol.split("@")[0] for symbol in symbols}
    assert [symbol for symbol in symbols if not C_SYMBOL.match(symbol) or "CXXABI" in symbol or "GCC" in symbol] == []
    stripped = built[0].path / "stripped"
    subprocess.run(["strip", built[0].program, "-o", stripped], check=True)
    record_property(f"stripped_bytes_{built[1]}", stripped.stat().st_size)
    assert stripped.stat().st_size < 1_000_000


def test_wrong_answers_fail_with_exit_code_1(model, rebuilt):
    result, compile_again = rebuilt(model[0])
    source = result.path / "main.c"
    source.write_text(
        source.read_text().replace("penlight_program_self_test(program, &error) != PENLIGHT_OK", "(error.status = 11) != 0")
    )
    compile_again()
    done = run(result.program)
    assert (done.returncode, "self-test failed: golden outputs" in done.stdout) == (1, True)


def test_a_damaged_array_fails_with_exit_code_2(model, rebuilt):
    result, compile_again = rebuilt(model[0])
    source = result.path / "model.c"
    source.write_text(source.read_text().replace("{\n", "{\n1,", 1))
    compile_again()
    done = run(result.program)
    assert (done.returncode, "self-test failed: load: " in done.stdout) == (2, True)


def test_a_large_model_is_taken_in_by_the_assembler(model, rebuilt, monkeypatch):
    monkeypatch.setattr(c_target, "_ARRAY_LIMIT_BYTES", 1000)
    result, compile_again = rebuilt(model[0])
    assert (result.path / "model.c").stat().st_size < 1000
    compile_again()
    done = run(result.program)
    assert (done.returncode, "self-test passed" in done.stdout) == (0, True)


@pytest.mark.skipif(not c_compilers() or shutil.which("cmake") is None, reason="no compiler or no cmake")
def test_builds_with_cmake_elsewhere(package, tmp_path):
    options = {"check": True, "capture_output": True, "timeout": 300}
    subprocess.run(["cmake", "-S", package.path, "-B", tmp_path / "build", "-DCMAKE_BUILD_TYPE=Debug"], **options)
    subprocess.run(["cmake", "--build", tmp_path / "build"], **options)
    done = run(tmp_path / "build/model")
    assert (done.returncode, "self-test passed" in done.stdout) == (0, True)


@pytest.mark.skipif(shutil.which("aarch64-linux-gnu-gcc") is None, reason="no aarch64 cross compiler")
def test_compiles_for_aarch64(package):
    build(package, "aarch64-linux-gnu-gcc", extra=["-O0"])


def test_result_lists_the_files(package):
    expected = "CMakeLists.txt LICENSE README.md main.c model.c model.h model.pen penlight.cpp penlight.h"
    assert package.files == tuple(expected.split())
    assert "Apache License" in (package.path / "LICENSE").read_text()
    assert {path.name for path in package.path.iterdir()} == {*package.files, folder.MANIFEST}
    assert package.size_bytes == sum((package.path / name).stat().st_size for name in package.files)
    readme = (package.path / "README.md").read_text()
    assert "$" not in readme and "Conv:11" in readme and "- input `x`: float32 [N, 1, 6, 6]" in readme


def test_the_amalgamation_script_reads_a_model(model, package, tmp_path):
    done = subprocess.run(
        [sys.executable, sources.runtime_folder() / "tools/amalgamate.py", "--model", model[0], "--output", tmp_path / "one"],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for name in ("penlight.cpp", "penlight.h"):
        assert (tmp_path / "one" / name).read_bytes() == (package.path / name).read_bytes()


def test_keeps_only_the_kernels_that_the_model_needs(package):
    text = (package.path / "penlight.cpp").read_text()
    kept = set(re.findall(r'^PENLIGHT_KERNEL\("", (\w+),', text, re.MULTILINE))
    assert kept == {"Conv", "Relu", "MaxPool", "Flatten", "Gemm", "ArgMax"}


def test_the_same_model_gives_the_same_bytes(model, package, tmp_path):
    again = penlight_mobile.package(model[0], output=tmp_path / "again")
    assert {name: (again.path / name).read_bytes() for name in again.files} == {
        name: (package.path / name).read_bytes() for name in package.files
    }


def test_replaces_its_own_folder_and_leaves_what_others_put_there(model, package):
    (package.path / "notes.txt").write_text("mine")
    (package.path / "old.h").write_text("of an earlier version")
    manifest = json.loads((package.path / folder.MANIFEST).read_text())
    (package.path / folder.MANIFEST).write_text(json.dumps({**manifest, "files": [*manifest["files"], "old.h", "../escape"]}))
    (package.path.parent / "escape").write_text("not ours")
    (package.path / "main.c").write_text("damaged")
    penlight_mobile.package(model[0], output=package.path)
    assert (package.path / "main.c").read_text().startswith("/* Loads the model")
    assert (package.path / "notes.txt").exists() and not (package.path / "old.h").exists()
    assert (package.path.parent / "escape").exists()


@pytest.mark.parametrize("content", [{"somebody.txt": "else's"}, {folder.MANIFEST: "{}"}, {folder.MANIFEST: "not json"}])
def test_refuses_a_foreign_folder(model, tmp_path, content):
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    with pytest.raises(errors.ForeignFolderError, match="give an empty or a new folder") as caught:
        penlight_mobile.package(model[0], output=tmp_path)
    assert (caught.value.code, caught.value.exit_code) == ("PL-E6002", 2)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before


def test_refuses_a_file_as_its_folder(model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.ForeignFolderError, match="is a file; give a folder"):
        penlight_mobile.package(model[0], output=tmp_path / "file")


def test_unknown_target_lists_the_targets(model, tmp_path):
    with pytest.raises(errors.UnknownTargetError, match=r"a target out of c, web, linux-arm64, .*, came 'toaster'") as caught:
        penlight_mobile.package(model[0], target="toaster", output=tmp_path / "out")
    assert (caught.value.code, caught.value.exit_code) == ("PL-E6001", 2)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "foreign", "flipped"])
def test_refuses_a_damaged_model(model, tmp_path, damage):
    data = model[0].read_bytes()
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 0x40
    damaged = {"empty": b"", "truncated": data[: len(data) // 2], "foreign": b"PK\x03\x04" * 100, "flipped": bytes(flipped)}
    if damage != "missing":
        (tmp_path / "bad.pen").write_bytes(damaged[damage])
    with pytest.raises(errors.InvalidModelError, match=r"bad\.pen") as caught:
        penlight_mobile.package(tmp_path / "bad.pen", output=tmp_path / "out")
    assert (caught.value.code, caught.value.exit_code) == ("PL-E6003", 3)
    assert not (tmp_path / "out").exists()


def test_missing_kernels_are_all_named(model, tmp_path, monkeypatch):
    script = sources.amalgamate()
    lines = [line for line in script.kernel_lines() if line.name not in ("Conv", "Gemm")]
    monkeypatch.setattr(script, "kernel_lines", lambda runtime: lines)
    with pytest.raises(errors.MissingKernelError, match=r"no kernel for: Conv:\d+, Gemm:\d+;"):
        penlight_mobile.package(model[0], output=tmp_path / "out")


def test_an_installation_brings_its_own_sources(monkeypatch, tmp_path):
    script = tmp_path / "penlight_mobile/runtime/tools/amalgamate.py"
    script.parent.mkdir(parents=True)
    script.write_text("")
    monkeypatch.setattr(sources, "__file__", str(tmp_path / "penlight_mobile/sources.py"))
    sources.runtime_folder.cache_clear()
    assert sources.runtime_folder() == tmp_path / "penlight_mobile/runtime"
    sources.runtime_folder.cache_clear()


def test_missing_sources_say_so(monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "__file__", str(tmp_path / "a/b/sources.py"))
    sources.runtime_folder.cache_clear()
    with pytest.raises(errors.MissingSourcesError, match="install Penlight again"):
        sources.runtime_folder()
    sources.runtime_folder.cache_clear()


@pytest.mark.parametrize(
    ("compiler", "sibling"),
    [
        ("cc", "c++"),
        ("gcc-12", "g++-12"),
        ("clang-16", "clang++-16"),
        ("aarch64-linux-gnu-gcc", "aarch64-linux-gnu-g++"),
        ("/opt/cc/bin/gcc", "/opt/cc/bin/g++"),
        ("zig", "zig"),
    ],
)
def test_cxx_sibling(compiler, sibling):
    assert c_target.cxx_compiler(compiler) == sibling

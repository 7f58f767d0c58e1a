# SPDX-License-Identifier: Apache-2.0
"""Deterministic sessions: the same bits with any number of threads, on every instruction set and every processor.

tests/support/golden_models.py writes the files and the hashes.
"""

import hashlib
import re

import numpy as np
import pytest
from cli_runner import in_process
from cross_builds import write_runtime
from golden_models import EXPECTED, FILES, FOLDER, hash_of
from kernel_runner import node_program
from native_builds import need, run

import penlight_runtime
from penlight_mobile.model import read


def test_every_file_has_its_hash():
    assert len(FILES) >= 10
    assert sorted(EXPECTED) == [path.name for path in FILES]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_do_not_tell_where_they_were_made(path):
    assert not re.findall(rb"(?<![\w.])/[\w./-]+\.py:", path.read_bytes())


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_hashes_with_threads(path, threads):
    assert hash_of(path, threads) == EXPECTED[path.name]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_fast_profile_computes_the_same_numbers(path):
    assert penlight_runtime.Program.open(path).self_test() > 0


def test_nans_have_one_form():
    """Whatever NaN comes in or is made, the quiet positive one goes out."""
    x = np.array([0xFFC00001, 0x7F800001, 0x7FC00000, 0x3F800000], np.uint32).view(np.float32)
    program = penlight_runtime.Program(node_program("Relu", [x], [x]))
    (y,) = program.session(deterministic=True).run([x]).values()
    assert y.view(np.uint32).tolist() == [0x7FC00000] * 3 + [0x3F800000]
    assert x.view(np.uint32)[0] == 0xFFC00001  # the input is left alone


def test_command_line(capsys, tmp_path):
    (sample,) = penlight_runtime.Program.open(FOLDER / "mlp.pen").golden()
    np.save(tmp_path / "x.npy", *sample.inputs.values())
    arguments = ("run", FOLDER / "mlp.pen", tmp_path / "x.npy", "--deterministic", "--output", tmp_path / "y.npz")
    assert in_process(capsys, *arguments).code == 0
    digest = hashlib.sha256(*[y.tobytes() for y in np.load(tmp_path / "y.npz").values()]).hexdigest()
    assert digest == EXPECTED["mlp.pen"]
    in_process(capsys, "run", "model.onnx", tmp_path / "x.npy", "--deterministic").failed_cleanly(2, "--deterministic", ".pen")


# The bound in units of the last place, and where the function is interesting.
FUNCTIONS = {
    "Exp": (np.exp, 1.5, -104, 88.7),
    "Log": (np.log, 1.5, 1e-44, 3e38),
    "Tanh": (np.tanh, 1.5, -12, 12),
    "Sigmoid": (lambda x: 1 / (1 + np.exp(-x)), 2.5, -103, 20),
    "Softplus": (lambda x: np.log1p(np.exp(x)), 2.5, -103, 60),
    "Sin": (np.sin, 0.6, -1e6, 1e6),
    "Cos": (np.cos, 0.6, -1e6, 1e6),
    "Tan": (np.tan, 0.6, -100, 100),
    "Sinh": (np.sinh, 0.6, -89, 89),
    "Atan": (np.arctan, 0.6, -1e6, 1e6),
    "Asinh": (np.arcsinh, 0.6, -1e6, 1e6),
}


def errors_in_ulp(name, x, reference):
    """Of float32 results, in units of the last place of the exact value."""
    (y,) = penlight_runtime.Program(node_program(name, [x], [x])).session().run([x]).values()
    exact = reference(x.astype(np.float64))
    ulp = np.exp2(np.maximum(np.frexp(exact)[1], -125) - 24.0)
    return np.abs(y.astype(np.float64) - exact) / ulp


def floats_of(low, high, count, rng):
    """Half of them spread evenly, half over all sizes."""
    even = rng.uniform(low, high, count // 2)
    sizes = np.exp(rng.uniform(np.log(1e-44), np.log(max(abs(low), abs(high))), count // 2))
    sizes *= rng.choice([-1.0, 1.0], count // 2)
    return np.clip(np.concatenate([even, sizes]), low, high).astype(np.float32)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_errors_of_functions(name):
    reference, bound, low, high = FUNCTIONS[name]
    x = floats_of(low, high, 1 << 17, np.random.default_rng(5))
    assert errors_in_ulp(name, x, reference).max() < bound


def test_errors_of_erf():
    from math import erf

    x = floats_of(-5, 5, 1 << 15, np.random.default_rng(5))
    assert errors_in_ulp("Erf", x, np.vectorize(erf)).max() < 1.5


@pytest.mark.slow  # 200 million floats
@pytest.mark.parametrize(("name", "exponents"), [("Exp", range(-1, 7)), ("Log", range(-1, 2)), ("Tanh", range(-2, 3))])
def test_every_float_of_these_sizes(name, exponents):
    """All mantissas where the error changes; smaller arguments give x or 1 + x, larger ones only other exponents."""
    reference, bound, *_ = FUNCTIONS[name]
    for exponent in exponents:
        for first in range(0, 1 << 23, 1 << 18):  # parts that stay in the cache
            x = (np.arange(first, first + (1 << 18), dtype=np.uint32) + ((exponent + 127) << 23)).view(np.float32)
            for signed in (x, -x) if name == "Exp" else (x,):
                kept = signed[(signed < 88.7) & (signed > -103.9)] if name == "Exp" else signed
                assert errors_in_ulp(name, kept, reference).max(initial=0) < bound


def hashes_of(text):
    return dict(zip((path.name for path in FILES), text.split(), strict=True))


@pytest.mark.slow  # compiles the runtime once
def test_instruction_sets(tmp_path):
    """The baseline, AVX2 and AVX-512 as far as this processor has them; test_other_processors.py looks at others."""
    need("g++")
    write_runtime(tmp_path, [read(path) for path in FILES])
    flags = ("-std=c++17", "-O0", "-fno-exceptions", "-fno-rtti", "-DPENLIGHT_ISA_HOOK", "-I.")
    program = FOLDER.parent / "native" / "hash_main.cpp"
    run("g++", *flags, "penlight.cpp", program, "-o", "here", "-lm", "-lpthread", cwd=tmp_path)
    macros = run("g++", "-march=native", "-dM", "-E", "-x", "c++", "/dev/null")
    for isa, macro in enumerate(("__x86_64__", "__AVX2__", "__AVX512VL__")):
        if macro in macros:
            assert hashes_of(run(tmp_path / "here", 1, isa, *FILES)) == EXPECTED

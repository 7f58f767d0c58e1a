# SPDX-License-Identifier: Apache-2.0
"""The runtime on other processors, each compiled once: hashes of the deterministic profile, ONNX's node tests, and packages."""

import struct
import warnings

import cross_builds
import numpy as np
import onnx
import pytest
from golden_models import EXPECTED, FILES
from native_builds import ROOT

import penlight_runtime
from penlight_export.edge.writer import GoldenSample, write_program
from penlight_export.errors import UnsupportedFeatureError, UnsupportedOperatorsError
from penlight_export.graph import from_proto
from penlight_export.pipeline import edge_graph
from penlight_mobile import model as packaged

pytestmark = pytest.mark.slow  # compiles the runtime for each processor

WHOLE = ("aarch64", "wasm32")  # have every kernel; the others those of the golden models
OTHERS = ("armhf", "i686", "riscv64")
STEP = 10  # of the node tests every tenth
NATIVE = ROOT / "tests/runtime/native"


@pytest.fixture(scope="module")
def machine(request, tmp_path_factory):
    """A processor, and the folder with its penlight.o."""
    target = cross_builds.MACHINES[request.param]
    target.need()
    folder = tmp_path_factory.mktemp(request.param)
    if request.param in WHOLE:
        cross_builds.write_whole_runtime(folder)
    else:
        cross_builds.write_runtime(folder, [packaged.read(path) for path in FILES])
    target.compile_runtime(folder)
    return target, folder


@pytest.mark.parametrize("machine", [*WHOLE, *OTHERS], indirect=True)
def test_deterministic_hashes(machine):
    target, folder = machine
    done = target.run(target.link(folder, "hashes", NATIVE / "hash_main.cpp"), 1, "-", *FILES)
    assert done.returncode == 0, done.stdout + done.stderr
    assert dict(zip((path.name for path in FILES), done.stdout.split(), strict=True)) == EXPECTED


def array_of(value):
    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def sample_of(case):
    (inputs, outputs), *_ = case.data_sets
    return GoldenSample([array_of(x) for x in inputs], [array_of(y) for y in outputs], atol=case.atol, rtol=case.rtol)


def passes_here(data):
    try:
        return penlight_runtime.Program(data).self_test() > 0
    except penlight_runtime.RuntimeFailure:
        return False  # test_onnx_backend.py lists what is refused, and why


def node_programs():
    """Names and programs of every tenth node test that this machine passes; the expected outputs are their golden samples."""
    from onnx.backend.test.case.node import collect_testcases  # here: making the data takes seconds

    for case in sorted(collect_testcases(None), key=lambda case: case.name)[::STEP]:
        try:
            data = b"".join(write_program(edge_graph(from_proto(case.model), "test"), golden=[sample_of(case)]))
        except (UnsupportedOperatorsError, UnsupportedFeatureError, TypeError, ValueError):
            continue  # no kernel, or inputs that are sequences
        if passes_here(data):
            yield case.name, data


@pytest.fixture(scope="module")
def programs():
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return dict(node_programs())


@pytest.mark.parametrize("machine", WHOLE, indirect=True)
def test_onnx_nodes(machine, programs, tmp_path):
    target, folder = machine
    bundle = tmp_path / "bundle"
    bundle.write_bytes(b"".join(struct.pack("<Q", len(data)) + data for data in programs.values()))
    done = target.run(target.link(folder, "self_tests", NATIVE / "self_test_bundle.cpp"), bundle)
    *failures, last = done.stdout.splitlines()
    assert not failures, "\n".join(f"{list(programs)[int(line.split()[0])]}: {line}" for line in failures)
    assert last == f"{len(programs)} tested" and len(programs) >= 150

# SPDX-License-Identifier: Apache-2.0
"""The native tests under sanitizers, the fuzzer's smoke run, and the exported symbols.

Each build of the runtime takes about a minute, so all of this is marked slow.
"""

import os
import re
import resource
import struct

import fuzz_corpus
import numpy as np
import pytest
from golden_models import FOLDER as GOLDEN_FOLDER
from kernel_programs import all_programs
from native_builds import HEADER_FUNCTIONS, QUICK, build_runtime, need, run
from pen_builder import PenBuilder, relu_program
from pen_corpus import corpus
from pen_random import read_bundle, write_bundle

pytestmark = pytest.mark.slow

GCC = ("gcc", "g++")
CLANG = ("clang-16", "clang++-16")
SANITIZED = ("-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG=-O1 -g1", "-DPENLIGHT_BUILD_SHARED=OFF")
FUZZ_SECONDS = int(os.environ.get("PENLIGHT_FUZZ_SECONDS", "60"))  # of all fuzzers together
LARGEST_FILE = 16384
# Name, longest input, and the least rate that the test takes for work.
FUZZERS = (("load", LARGEST_FILE, 20), ("program", LARGEST_FILE, 20), ("inputs", 512, 10), ("operator", 256, 10), ("api", 512, 10))
GOLDEN = ("quantized", "mlp", "functions", "recurrent", "char_gpt")
STRIDE = int(os.environ.get("PENLIGHT_MUTATION_STRIDE", "97"))  # of the golden models every so manieth byte is changed
UNPLANNED = ("branches", "packed", "loops", "scans", "gathered", "boxes")  # their runs take memory, the first time


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The corpus as files, by name."""
    folder = tmp_path_factory.mktemp("corpus")
    paths = {name: folder / f"{name}.pen" for name in corpus()}
    for name, data in corpus().items():
        paths[name].write_bytes(data)
    return paths


@pytest.fixture(scope="module")
def asan(tmp_path_factory):
    """One build for all that wants these sanitizers, the fuzzers among it."""
    options = ("-DPENLIGHT_BUILD_TESTS=ON", "-DPENLIGHT_BUILD_FUZZERS=ON", "-DPENLIGHT_SANITIZE=address,undefined")
    return build_runtime(tmp_path_factory.mktemp("asan"), CLANG, "all", *SANITIZED, *options) / "tests"


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return (
        build_runtime(tmp_path_factory.mktemp("shared"), GCC, "penlight_shared", *QUICK, "-DPENLIGHT_BUILD_TESTS=ON")
        / "libpenlight.so"
    )


def test_unit_tests(asan):
    assert "ok" in run(asan / "penlight_unit_tests")


@pytest.mark.parametrize(
    ("name", "stride"), [("small", 1), ("shapes", 1), ("arithmetic", 1), ("branches", 1), ("loops", 4), ("states", 1)]
)
def test_every_mutation_runs_or_is_refused(asan, files, name, stride):
    """Of slow files every stride-th byte; 1 looks at all."""
    output = run(asan / "penlight_mutate_file", files[name], stride, timeout=1800)
    ran, refused = map(int, re.search(r"behind the checksums: (\d+) ran, (\d+) refused", output).groups())
    assert ran > 100 and refused > 1000  # both happen, or the test looks at nothing


@pytest.mark.parametrize("name", GOLDEN)
def test_mutations_of_golden_models(shared, name):
    """Each within 1 s of processor time (the slowest takes milliseconds), and all of them within 64 MB."""
    run("cmake", "--build", shared.parent, "--target", "penlight_mutate_file")
    output = run(shared.parent / "tests/penlight_mutate_file", GOLDEN_FOLDER / f"{name}.pen", STRIDE, timeout=3600)
    slowest, peak = map(float, re.search(r"slowest attempt ([\d.]+) ms, peak memory (\d+) KB", output).groups())
    assert slowest < 1000
    assert 0 < peak <= 64 << 10


@pytest.mark.parametrize("name", sorted(corpus()))
def test_every_allocation_may_fail(asan, files, name):
    assert "clean failures" in run(asan / "penlight_fail_allocations", files[name])


@pytest.mark.parametrize("name", GOLDEN)
def test_every_allocation_of_golden_models_may_fail(asan, name):
    assert "clean failures" in run(asan / "penlight_fail_allocations", GOLDEN_FOLDER / f"{name}.pen")


@pytest.mark.parametrize("name", sorted(corpus()))
def test_runs_make_no_heap_call(asan, files, name):
    assert "ok" in run(asan / "penlight_count_allocations", files[name])


def test_c_program(asan, files):
    assert "ok" in run(asan / "penlight_c_api", files["small"])


def test_cpp_program(asan, tmp_path):
    path = tmp_path / "relu.pen"
    path.write_bytes(relu_program().build())
    assert "ok" in run(asan / "penlight_cpp_api", path)


def test_random_programs_of_every_operator(asan, tmp_path):
    """Whatever attributes, dtypes and shapes a node has, its kernel refuses or runs."""
    count = write_bundle(tmp_path / "bundle", 40, seed=4)
    output = run(asan / "penlight_replay_bundle", tmp_path / "bundle", tmp_path / "last.pen", timeout=1800)
    ran, refused = map(int, re.findall(r"\d+", output))
    assert ran + refused == count
    assert ran > count / 8


def test_what_fuzzers_found_is_replayed(asan, tmp_path):
    """Inputs that reach all the code that fuzzing has reached, and those that once failed."""
    (tmp_path / "bundle").write_bytes(fuzz_corpus.read())
    output = run(asan / "penlight_replay_bundle", tmp_path / "bundle", tmp_path / "last.pen", timeout=1800)
    ran, refused = map(int, re.findall(r"\d+", output))
    assert ran > 10 and refused > 100


def test_every_kernel_on_the_node_tests(asan, tmp_path):
    programs = all_programs()
    (tmp_path / "bundle").write_bytes(b"".join(struct.pack("<Q", len(data)) + data for _, data in programs))
    output = run(asan / "penlight_replay_bundle", tmp_path / "bundle", tmp_path / "last.pen", timeout=1800)
    ran, refused = map(int, re.findall(r"\d+", output))
    assert ran + refused == len(programs) and ran > 700


def test_threads_under_the_thread_sanitizer(tmp_path):
    build = build_runtime(
        tmp_path, GCC, "penlight_unit_tests", *SANITIZED, "-DPENLIGHT_BUILD_TESTS=ON", "-DPENLIGHT_SANITIZE=thread"
    )
    # Address randomisation of newer kernels does not suit the thread sanitizer of gcc 12.
    need("setarch")
    assert "ok" in run("setarch", "-R", build / "tests/penlight_unit_tests")


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    """Files to start from, and as bundles: the corpus, and programs of one node of every operator."""
    folder = tmp_path_factory.mktemp("seeds")
    write_bundle(folder / "operators", 3, seed=5)
    (folder / "corpus").write_bytes(b"".join(struct.pack("<Q", len(data)) + data for data in corpus().values()))
    (folder / "files").mkdir()
    for number, data in enumerate([*corpus().values(), *read_bundle(folder / "operators")]):
        (folder / "files" / f"{number}.pen").write_bytes(data)
    return folder


@pytest.mark.parametrize(("name", "length", "rate"), [(*row,) for row in FUZZERS])
def test_fuzzing_finds_nothing(asan, seeds, tmp_path, name, length, rate):
    """Replays the seeds, then changes them. An input has five seconds of the processor's time (fuzz_clock.h)."""
    bundle = seeds / ("operators" if name == "operator" else "corpus")
    start = [seeds / "files"] if length == LARGEST_FILE else []
    limits = ("-timeout=100", "-rss_limit_mb=1024", f"-max_len={length}", f"-artifact_prefix={tmp_path}/", "-seed=1")
    seconds = max(FUZZ_SECONDS // len(FUZZERS), 1)
    # A program started from here inherits this process's peak memory, which libFuzzer takes for its own; a shell's child does not.
    forked = ("sh", "-c", '"$@"; exit $?', "sh", asan / f"penlight_fuzz_{name}")
    environment = {**os.environ, "PENLIGHT_FUZZ_BUNDLE": str(bundle)}
    (tmp_path / "work").mkdir()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    output = run(*forked, tmp_path / "work", *start, f"-max_total_time={seconds}", *limits, timeout=900, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    runs = int(re.search(r"Done (\d+) runs", output).group(1))
    assert runs > rate * (after.ru_utime - before.ru_utime)  # far below what it does; it says that there was work at all


def test_runs_stay_within_their_memory(shared, files):
    """No heap call in a run (one would end the program), and nothing behind the end of the arena that the plan declares."""
    run("cmake", "--build", shared.parent, "--target", "penlight_footprint")
    for path in files.values():
        if path.stem in UNPLANNED:
            continue
        numbers = dict(re.findall(r"^(\w+) ([-\d.]+)$", run(shared.parent / "tests/penlight_footprint", path), re.M))
        declared, used = int(numbers["arena_declared_bytes"]), int(numbers["arena_used_bytes"])
        assert used <= declared < used + 256
        assert int(numbers["other_memory_kilobytes"]) <= 128


def test_loading_reads_no_weight(shared, tmp_path):
    """Their pages are out of reach meanwhile, so that its time cannot depend on them."""
    builder = PenBuilder()
    x = builder.input("x", "float32", (1, 1024))
    builder.output(builder.node("MatMul", [x, builder.constant("w", np.ones((1024, 256), np.float32))]), "float32", (1, 256))
    path = tmp_path / "large.pen"
    path.write_bytes(builder.build())
    run("cmake", "--build", shared.parent, "--target", "penlight_footprint")
    unread = re.search(r"load_unread_bytes (\d+)", run(shared.parent / "tests/penlight_footprint", path))
    assert int(unread[1]) >= 900_000


def test_exported_symbols_are_the_header(shared):
    exported = re.findall(r" T (\w+)", run("nm", "-D", "--defined-only", shared))
    assert sorted(exported) == sorted(HEADER_FUNCTIONS)


def test_needs_libc_and_libm_only(shared):
    needed = re.findall(r"NEEDED.*\[(.*)\]", run("readelf", "-d", shared))
    assert set(needed) <= {"libc.so.6", "libm.so.6", "libpthread.so.0"}
    undefined = re.findall(r" [Uw] (\w+)", run("nm", "-D", "--undefined-only", shared))
    foreign = [name for name in undefined if name.startswith("_Z") or name in ("abort", "exit", "printf", "puts", "__cxa_throw")]
    assert not foreign


def test_segments_suit_large_pages(shared):
    """Android's 16 KiB pages."""
    alignments = re.findall(r"LOAD.*(0x\w+)$", run("readelf", "-lW", shared), re.M)
    assert alignments and all(int(alignment, 16) >= 16384 for alignment in alignments)

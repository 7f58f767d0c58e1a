# SPDX-License-Identifier: Apache-2.0
"""The native tests under sanitizers, the fuzzer's smoke run, the exported symbols, and the other processor family.

Each build of the runtime takes about a minute, so all of this is marked slow.
"""

import os
import re

import pytest
from native_builds import HEADER_FUNCTIONS, build_runtime, need, run
from pen_builder import relu_program
from pen_corpus import corpus
from pen_random import read_bundle, write_bundle

pytestmark = pytest.mark.slow

GCC = ("gcc", "g++")
CLANG = ("clang-16", "clang++-16")
SANITIZED = ("-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG=-O1 -g", "-DPENLIGHT_BUILD_SHARED=OFF")
FUZZ_SECONDS = int(os.environ.get("PENLIGHT_FUZZ_SECONDS", "60"))


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
    options = ("-DPENLIGHT_BUILD_TESTS=ON", "-DPENLIGHT_SANITIZE=address,undefined")
    return build_runtime(tmp_path_factory.mktemp("asan"), GCC, "all", *SANITIZED, *options) / "tests"


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return build_runtime(tmp_path_factory.mktemp("shared"), GCC, "penlight_shared", "-DCMAKE_BUILD_TYPE=Release") / "libpenlight.so"


def test_unit_tests(asan):
    assert "ok" in run(asan / "penlight_unit_tests")


@pytest.mark.parametrize("name", ["small", "shapes", "arithmetic", "branches", "loops", "states"])
def test_every_mutation_runs_or_is_refused(asan, files, name):
    output = run(asan / "penlight_mutate_file", files[name], timeout=120)
    ran, refused = map(int, re.search(r"behind the checksums: (\d+) ran, (\d+) refused", output).groups())
    assert ran > 100 and refused > 1000  # both happen, or the test looks at nothing


@pytest.mark.parametrize("name", sorted(corpus()))
def test_every_allocation_may_fail(asan, files, name):
    assert "clean failures" in run(asan / "penlight_fail_allocations", files[name])


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
    output = run(asan / "penlight_replay_bundle", tmp_path / "bundle", tmp_path / "last.pen", timeout=300)
    ran, refused = map(int, re.findall(r"\d+", output))
    assert ran + refused == count
    assert ran > count / 8


def test_threads_under_the_thread_sanitizer(tmp_path):
    build = build_runtime(
        tmp_path, GCC, "penlight_unit_tests", *SANITIZED, "-DPENLIGHT_BUILD_TESTS=ON", "-DPENLIGHT_SANITIZE=thread"
    )
    # Address randomisation of newer kernels does not suit the thread sanitizer of gcc 12.
    need("setarch")
    assert "ok" in run("setarch", "-R", build / "tests/penlight_unit_tests")


def test_fuzzing_finds_nothing(tmp_path, files):
    options = ("-DPENLIGHT_BUILD_FUZZERS=ON", "-DPENLIGHT_SANITIZE=address,undefined")
    fuzzer = build_runtime(tmp_path / "build", CLANG, "penlight_fuzz_program", *SANITIZED, *options) / "tests/penlight_fuzz_program"
    work = tmp_path / "work"
    work.mkdir()
    seeds = next(iter(files.values())).parent
    write_bundle(tmp_path / "bundle", 2, seed=5)
    for number, data in enumerate(read_bundle(tmp_path / "bundle")):
        (seeds / f"random{number}.pen").write_bytes(data)
    limits = ("-timeout=5", "-rss_limit_mb=1024", "-max_len=16384", f"-artifact_prefix={work}/")
    # A program started from here inherits this process's peak memory, which libFuzzer takes for its own; a shell's child does not.
    forked = ("sh", "-c", '"$@"; exit $?', "sh")
    output = run(*forked, fuzzer, work, seeds, f"-max_total_time={FUZZ_SECONDS}", *limits, "-seed=1", timeout=FUZZ_SECONDS + 120)
    runs = int(re.search(r"Done (\d+) runs", output).group(1))
    assert runs > 1000 * FUZZ_SECONDS / 10


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


def test_compiles_for_aarch64(tmp_path):
    compiler = ("aarch64-linux-gnu-gcc", "aarch64-linux-gnu-g++")
    system = ("-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64")
    build = build_runtime(tmp_path, compiler, "all", *system)
    assert (build / "libpenlight_core.a").stat().st_size > 10_000

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Everything that wants a GPU in one call: the tests of this folder, then times, written to one JSON file.

    python tests/gpu/run_all.py [--output FILE] [--on cuda|cpu] [--parts compile,tests,...] [--seconds N] [--no-compile]

The file is $OUT/gpu.json where OUT is set, else tests/benchmarks/results/gpu.json; parts that it has already and that do not run
again stay. It is written after each part, and each part has a process of its own, so that neither a crash, a hang nor an error of
one case costs what others have measured. `--seconds` is the time for all parts; what it cuts off is named under "errors".
`--on cpu` is a dry run with tiny sizes.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import datetime
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import xml.etree.ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
sys.path.insert(0, str(FOLDER))
BENCHMARKS = ("kernels", "products", "steps", "models")
PARTS = ("compile", "tests", *BENCHMARKS, "sanitizer")  # in the order in which they run
GRACE = 20  # seconds that an interrupted part has to write down what it knows


class Clock:
    """The seconds that are left of a budget; None of it is no limit."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    def left(self) -> float | None:
        """Seconds for the next part, less what it needs to end; at least one."""
        return None if self._end is None else max(self._end - time.monotonic() - GRACE, 1.0)

    def is_over(self) -> bool:
        """Whether another part is not worth its start."""
        return self._end is not None and time.monotonic() + GRACE > self._end


def default_output() -> Path:
    """Where the result goes when nobody says."""
    folder = os.environ.get("OUT")
    return Path(folder) / "gpu.json" if folder else ROOT / "tests/benchmarks/results/gpu.json"


def missing() -> str | None:
    """Why nothing can run here on a GPU; None where one can be used."""
    from penlight.backends import cuda  # here, so that --help needs no penlight
    from penlight.errors import DeviceError

    try:
        cuda.backend()
    except DeviceError as error:
        return str(error)
    return None


def environment(place: str) -> dict[str, str]:
    """What parts run with: the same modules as this process."""
    return {**os.environ, "PENLIGHT_GPU_TESTS_ON": place, "PYTHONPATH": os.pathsep.join(sys.path)}


def bounded(command: list[str], place: str, seconds: float | None, **options: Any) -> tuple[int | None, subprocess.Popen[str]]:
    """Runs a command to its end; interrupts it after `seconds`, so that it can write its report, and then gives None."""
    process = subprocess.Popen(command, cwd=ROOT, env=environment(place), text=True, **options)
    try:
        return process.wait(seconds), process
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    return None, process


def run_tests(place: str, seconds: float | None) -> dict[str, Any]:
    """Counts of the tests in this folder, and the names and messages of those that failed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "--tb=line", "-p", "no:cacheprovider", str(FOLDER), f"--junitxml={report}"]
        code, _ = bounded(command, place, seconds)
        # The file is pytest's own, written a moment ago.
        suite = xml.etree.ElementTree.parse(report).getroot().find("testsuite") if report.exists() else None
        if suite is None:
            return {"exit_code": code}
        failed = []
        for case in suite.iter("testcase"):
            reason = case.find("failure") if case.find("failure") is not None else case.find("error")
            if reason is not None:
                failed.append({"name": case.get("name"), "message": (reason.get("message") or "")[:400]})
        counts = {key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")}
        return {"exit_code": code, "is_whole": code is not None, **counts, "failed": failed}


def run_sanitizer(place: str, seconds: float | None) -> dict[str, Any]:
    """What compute-sanitizer says of the block kernels' tests; None as exit code where it is not installed, or was cut off."""
    program = shutil.which("compute-sanitizer")
    if program is None:
        return {"exit_code": None, "summary": ["compute-sanitizer is not installed"]}
    tests = "softmax or layer_norm or cross_entropy or attention or conv2d or batch_norm or embedding"
    command = [program, "--error-exitcode", "3", sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", tests]
    with tempfile.TemporaryFile("w+") as output:
        code, _ = bounded([*command, str(FOLDER / "test_gpu_operators.py")], place, seconds, stdout=output)
        output.seek(0)
        return {"exit_code": code, "summary": [line.strip() for line in output if "ERROR SUMMARY" in line]}


def describe(place: str) -> dict[str, Any]:
    """Date, commit, GPU and versions."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    facts: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": commit or None,
        "python": sys.version.split()[0],
        "device": place,
    }
    if place == "cpu":
        return facts
    import cupy  # optional dependency

    properties = cupy.cuda.runtime.getDeviceProperties(0)
    facts["gpu"] = properties["name"].decode()
    facts["compute_capability"] = f"{properties['major']}.{properties['minor']}"
    facts["memory_bytes"] = properties["totalGlobalMem"]
    facts["driver"] = cupy.cuda.runtime.driverGetVersion()
    facts["cuda"] = cupy.cuda.runtime.runtimeGetVersion()
    facts["cupy"] = cupy.__version__
    return {**facts, **_libraries(cupy)}


def _libraries(cupy: Any) -> dict[str, Any]:
    """Which of NVIDIA's libraries the backend finds: without them own kernels and CuPy run."""
    from penlight.backends.cuda import loader
    from penlight.backends.cuda.cublaslt import Products
    from penlight.backends.cuda.cudnn_graphs import Graphs

    launcher = loader.Loader(cupy)
    return {"cublaslt": Products(cupy, launcher).is_there(), "cudnn": Graphs(cupy, launcher).is_there()}


def run_compile(place: str, seconds: float | None) -> dict[str, Any]:
    """Compiles all kernels, as many at a time as there are processors, so that CuPy's cache has them for what follows.

    After `seconds` no other one is begun.
    """
    from penlight.backends.cuda import source

    modules = sorted({(k.family, of, k.operation) for name in source.families() for k, of in source.instances(name)})
    start, errors = time.monotonic(), []
    spawned = multiprocessing.get_context("spawn")  # a context of CUDA does not survive a fork
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count() or 1, spawned) as pool:
        compiling = {pool.submit(_compile, *module): module for module in modules if place != "cpu"}
        try:
            for done in concurrent.futures.as_completed(compiling, seconds):
                if error := done.exception():
                    errors.append({"module": "/".join(compiling[done]), "message": str(error)[-400:]})
        except concurrent.futures.TimeoutError:
            pool.shutdown(wait=False, cancel_futures=True)
            errors.append({"module": "the rest", "message": "no time was left"})
    return {"modules": len(modules), "seconds": time.monotonic() - start, "failed": errors}


def _compile(family: str, dtype: str, operation: str) -> None:
    import cupy  # optional dependency

    from penlight.backends.cuda import loader, source

    wanted = [k for k, of in source.instances(family) if (of, k.operation) == (dtype, operation)]
    loader.Loader(cupy).compile(wanted[0], dtype)


def rows(place: str, part: str, compiles: bool) -> Iterator[dict[str, Any]]:
    """The rows of a part of gpu_benchmarks.py or step_benchmarks.py."""
    import gpu_benchmarks  # imports penlight, and needs the device
    import step_benchmarks

    there = gpu_benchmarks.Place(place)
    yield {"torch": there.torch.__version__ if there.torch is not None else None}
    if part == "models":
        yield from step_benchmarks.steps(there, compiles)
    else:
        yield from getattr(gpu_benchmarks, part)(there)


def run_benchmarks(place: str, part: str, compiles: bool, seconds: float | None) -> tuple[list[Any], dict[str, Any], str | None]:
    """The rows that a process of its own printed, what it says of torch, and what went wrong."""
    command = [sys.executable, str(Path(__file__).resolve()), "--on", place, "--rows-of", part]
    with tempfile.TemporaryFile("w+") as output:
        code, _ = bounded([*command, *([] if compiles else ["--no-compile"])], place, seconds, stdout=output)
        output.seek(0)
        found = [json.loads(line) for line in output if line.startswith("{") and line.endswith("}\n")]
    for row in found:
        print(json.dumps(row), flush=True)
    error = None if code == 0 else "cut off" if code is None else f"exit code {code}; its last words are in the log"
    return found[1:], found[0] if found else {}, error


def run_part(part: str, result: dict[str, Any], options: argparse.Namespace, seconds: float | None) -> None:
    """Puts what a part finds into the result."""
    if part == "tests":
        result["tests"] = run_tests(options.on, seconds)
    elif part == "compile":
        result["compile"] = run_compile(options.on, seconds)
    elif part == "sanitizer":
        result["sanitizer"] = run_sanitizer(options.on, seconds)
    else:
        result[part], torch, error = run_benchmarks(options.on, part, not options.no_compile, seconds)
        result.update(torch)
        if error is not None:
            raise RuntimeError(error)


def write(path: Path, result: dict[str, Any]) -> None:
    """Writes the file as it is so far."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _parts(text: str) -> tuple[str, ...]:
    chosen = tuple(text.split(","))
    if unknown := set(chosen) - set(PARTS):
        raise argparse.ArgumentTypeError(f"unknown part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return chosen


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--output", type=Path, default=default_output())
    parser.add_argument("--on", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--parts", type=_parts, default=PARTS, help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--seconds", type=float, help="for all parts together; without it there is no limit")
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile, which takes minutes")
    parser.add_argument("--rows-of", choices=BENCHMARKS, help=argparse.SUPPRESS)  # this script's own child
    return parser.parse_args()


def print_rows(options: argparse.Namespace) -> int:
    """Prints the rows of one part, one a line; they may hold errors."""
    failed = False
    for row in rows(options.on, options.rows_of, not options.no_compile):
        failed = failed or "error" in row
        print(json.dumps(row), flush=True)
    return int(failed)


def main() -> int:
    """The command line; 0 when every test passed and every time was taken, 1 when not, 4 without a GPU."""
    options = _options()
    if options.rows_of:
        return print_rows(options)
    if options.on == "cuda" and (reason := missing()):
        print(f"run_all: no GPU can be used here, so nothing was run.\n{reason}\n--on cpu is a dry run.", file=sys.stderr)
        return 4
    clock = Clock(options.seconds)
    before = json.loads(options.output.read_text(encoding="utf-8")) if options.output.exists() else {}
    result = {**before, **describe(options.on), "errors": {}}
    for part in [part for part in PARTS if part in options.parts and not (options.on == "cpu" and part == "sanitizer")]:
        if clock.is_over():
            result["errors"][part] = "no time was left"
            continue
        print(f"== {part}", flush=True)
        try:
            run_part(part, result, options, clock.left())
        except Exception as error:  # the other parts go on; the file and the log say what happened
            traceback.print_exc()
            result["errors"][part] = f"{type(error).__name__}: {error}"
        write(options.output, result)
    write(options.output, result)
    print(f"wrote {options.output}")
    failed = [*result["errors"], *result.get("tests", {}).get("failed", []), *result.get("compile", {}).get("failed", [])]
    return int(bool(failed) or result.get("tests", {}).get("exit_code", 0) != 0)


if __name__ == "__main__":
    sys.exit(main())

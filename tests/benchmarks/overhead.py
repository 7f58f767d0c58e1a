# SPDX-License-Identifier: Apache-2.0
"""What a call costs beside PyTorch on the CPU: `python tests/benchmarks/overhead.py [--rounds N]`.

Operators on 8 x 8 arrays do next to no arithmetic, so that their time is that of the call: without a tape, with one, and backward
through a chain of calls. Both frameworks run in this process on one thread and take turns, round by round; a figure is the median
over rounds of the processor time of one call. Importing is measured in fresh processes, which take turns as well.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import record

RESULTS = record.RESULTS / "overhead.json"
FRAMEWORKS = ("penlight", "torch")
CALLS = ("no_grad", "forward", "backward")
GOALS_US = {"forward": 1.2, "backward": 1.2}
GOAL_IMPORT = {"seconds": 0.25, "mib": 50.0}
CHAIN = 16  # calls behind one backward

# One call of each operator on x and y, both (8, 8); the result is (8, 8) again, so that calls can be chained.
OPERATORS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "add": lambda functional, x, y: x + y,
    "sub": lambda functional, x, y: x - y,
    "mul": lambda functional, x, y: x * y,
    "mul by a number": lambda functional, x, y: x * 0.5,
    "relu": lambda functional, x, y: functional.relu(x),
    "tanh": lambda functional, x, y: x.tanh(),
    "matmul": lambda functional, x, y: x @ y,
    "linear": lambda functional, x, y: functional.linear(x, y),
    "transpose": lambda functional, x, y: x.transpose(0, 1),
    "softmax": lambda functional, x, y: functional.softmax(x, -1),
}


def seconds_per_call(call: Callable[[], Any], calls: int) -> float:
    """Processor time of one call."""
    started = time.process_time()
    for _ in range(calls):
        call()
    return (time.process_time() - started) / calls


def backward_seconds(framework: Any, chain: Callable[[], Any], repeats: int) -> float:
    """Processor time of the backward of one call in a chain; making the chain is not counted."""
    ones, total = framework.ones(8, 8), 0.0
    for _ in range(repeats):
        y = chain()
        started = time.process_time()
        y.backward(ones)
        total += time.process_time() - started
    return total / repeats / CHAIN


def measure_operator(framework: Any, name: str, calls: int) -> dict[str, float]:
    """Seconds of one call of an operator: without a tape, with one, and backward."""
    functional = importlib.import_module(f"{framework.__name__}.nn.functional")
    operator = OPERATORS[name]
    x, y = framework.rand(8, 8), framework.rand(8, 8) / 8
    wx, wy = framework.rand(8, 8).requires_grad_(), (framework.rand(8, 8) / 8).requires_grad_()

    def chain() -> Any:
        result = wx
        for _ in range(CHAIN):
            result = operator(functional, result, wy)
        return result

    return {
        "no_grad": seconds_per_call(lambda: operator(functional, x, y), calls),
        "forward": seconds_per_call(lambda: operator(functional, wx, wy), calls),
        "backward": backward_seconds(framework, chain, max(1, calls // CHAIN)),
    }


def measure_operators(names: list[str], rounds: int, calls: int) -> dict[str, dict[str, dict[str, float]]]:
    """Operator -> framework -> kind of call -> microseconds."""
    frameworks = [importlib.import_module(name) for name in FRAMEWORKS]
    for framework in frameworks:
        framework.set_num_threads(1)
    found: dict[str, Any] = {name: {f: {kind: [] for kind in CALLS} for f in FRAMEWORKS} for name in names}
    gc.disable()  # a collection in the middle of a call would be counted as its cost
    try:
        for _ in range(rounds):
            for name in names:
                for framework in frameworks:
                    for kind, seconds in measure_operator(framework, name, calls).items():
                        found[name][framework.__name__][kind].append(seconds * 1e6)
                gc.collect()
    finally:
        gc.enable()
    return {
        name: {f: {kind: round(statistics.median(us), 3) for kind, us in kinds.items()} for f, kinds in by.items()}
        for name, by in found.items()
    }


_IMPORT = """
import time
started = time.process_time()
import {package}
seconds = time.process_time() - started
pages = int(open("/proc/self/statm").read().split()[1])
import os
print(seconds, pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
"""


def measure_import(package: str, environment: dict[str, str]) -> tuple[float, ...]:
    """Processor seconds of an import in a fresh process, and MiB in memory after it."""
    command = [sys.executable, "-c", _IMPORT.format(package=package)]
    output = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    return tuple(map(float, output.split()))


def measure_imports(rounds: int) -> dict[str, dict[str, float]]:
    """Package -> processor seconds of its import in a fresh process, and MiB in memory after it; the least of all rounds.

    Installed packages come with their Python compiled. For penlight, which may be a source tree, a first import that does not
    count compiles it into a folder of its own.
    """
    found: dict[str, list[tuple[float, ...]]] = {package: [] for package in (*FRAMEWORKS, "numpy")}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as folder:
        compiled = {**environment, "PYTHONPYCACHEPREFIX": folder}
        measure_import("penlight", compiled)
        for _ in range(rounds):
            for package, runs in found.items():
                runs.append(measure_import(package, compiled if package == "penlight" else environment))
    return {
        package: {"seconds": round(min(r[0] for r in runs), 3), "mib": round(min(r[1] for r in runs), 1)}
        for package, runs in found.items()
    }


def slower(operators: dict[str, Any]) -> list[str]:
    """The calls that take longer than in PyTorch."""
    return [
        f"{name} {kind}: {by['penlight'][kind]:.2f} us, torch {by['torch'][kind]:.2f} us"
        for name, by in operators.items()
        for kind in CALLS
        if by["penlight"][kind] > by["torch"][kind]
    ]


def missed(report: dict[str, Any]) -> list[str]:
    """The goals that are not reached."""
    found = [
        f"{name} {kind}: {by['penlight'][kind]:.2f} us, the goal is {goal} us"
        for name, by in report["operators"].items()
        for kind, goal in GOALS_US.items()
        if by["penlight"][kind] > goal
    ]
    for unit, goal in GOAL_IMPORT.items():
        if report["imports"]["penlight"][unit] > goal:
            found.append(f"import: {report['imports']['penlight'][unit]} {unit}, the goal is {goal}")
    return found


def text(report: dict[str, Any]) -> str:
    """The report as a table."""
    lines = [f"{'8 x 8, us':16}" + "".join(f"{f'{kind} ours':>16}{'torch':>8}" for kind in CALLS)]
    for name, by in report["operators"].items():
        lines.append(f"{name:16}" + "".join(f"{by['penlight'][kind]:16.2f}{by['torch'][kind]:8.2f}" for kind in CALLS))
    lines += [f"import {p:9} {r['seconds']:.3f} s  {r['mib']:.1f} MiB" for p, r in report["imports"].items()]
    lines += [f"slower than torch: {line}" for line in report["slower_than_torch"]]
    return "\n".join(lines + [f"goal missed: {line}" for line in report["goals_missed"]])


def measure(names: list[str], rounds: int, calls: int, imports: int) -> dict[str, Any]:
    """The whole report."""
    report: dict[str, Any] = {"machine": record.machine("numpy", "torch"), "threads": 1, "rounds": rounds, "calls": calls}
    report |= {"operators": measure_operators(names, rounds, calls), "imports": measure_imports(imports)}
    return report | {"slower_than_torch": slower(report["operators"]), "goals_missed": missed(report)}


def main() -> None:
    """Measures, prints the table and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--operators", nargs="+", choices=list(OPERATORS), default=list(OPERATORS))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=2000, help="of each operator in a round")
    parser.add_argument("--imports", type=int, default=5, help="fresh processes of each package")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    report = measure(options.operators, options.rounds, options.calls, options.imports)
    print(text(report))
    record.save(options.output, report)


if __name__ == "__main__":
    main()

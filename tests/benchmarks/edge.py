# SPDX-License-Identifier: Apache-2.0
"""What models cost on the edge runtime: time to load and to prepare, memory beside weights and arena, quality of the memory plan.

python tests/benchmarks/edge.py MODEL.pen ... [--plans MODEL.pen ...] [--program build/tests/penlight_footprint]

Without --program it is built first, in Release. Times are the least processor time of many rounds; a run that calls the heap ends
the measurement. `--plans` are further models, of which only the memory plan is looked at.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import record

import penlight_runtime as runtime

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/support"))
RESULT = record.RESULTS / "edge.json"
SIZES = (1, 8, 64)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--plans", type=Path, nargs="*", default=[])
    parser.add_argument("--program", type=Path)
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        program = options.program or build(Path(folder))
        rows = [{"model": path.stem, **footprint(program, path)} for path in options.models]
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    plans = [plan for path in [*options.models, *options.plans] for plan in plan_rows(path)]
    summary = summarize(plans)
    print(summary)
    record.save(options.output, {**record.machine("numpy"), "models": rows, "plans": summary, "plan_rows": plans})
    return 0


def build(folder: Path) -> Path:
    """Builds the measuring program."""
    from native_builds import build_runtime

    compiler = ("gcc", "g++")
    release = ("-DCMAKE_BUILD_TYPE=Release", "-DPENLIGHT_BUILD_TESTS=ON", "-DPENLIGHT_BUILD_SHARED=OFF")
    return build_runtime(folder, compiler, "penlight_footprint", *release) / "tests/penlight_footprint"


def footprint(program: Path, model: Path) -> dict[str, float]:
    """The numbers that the native program prints."""
    done = subprocess.run([program, model], capture_output=True, text=True, check=True)
    pairs = [line.split() for line in done.stdout.splitlines() if " " in line]
    return {key: float(value) for key, value in pairs}


def plan_rows(path: Path) -> list[dict[str, object]]:
    """The plan of each method at several sizes of its open dimensions; sizes that the model refuses are left out."""
    from plan_quality import blocks_of, lower_bound

    rows: list[dict[str, object]] = []
    program = runtime.Program.open(path, mmap=True)
    for method in program.methods:
        for size in SIZES:
            session = program.session(method)
            shapes = [[n if isinstance(n, int) else size for n in info.shape] for info in program.inputs(method)]
            try:
                session.prepare([np.empty(s, i.dtype) for s, i in zip(shapes, program.inputs(method), strict=True)])
            except runtime.RuntimeFailure as failure:
                print(f"{path.stem} at {size}: {failure}", file=sys.stderr)
                continue
            blocks = blocks_of(session)
            if blocks:
                ratio = round(session.arena_bytes / lower_bound(blocks), 4)
                rows.append({"model": path.stem, "method": method, "size": size, "blocks": len(blocks), "ratio": ratio})
    return rows


def summarize(plans: list[dict[str, object]]) -> dict[str, object]:
    """How near the plans are to what lives at once."""
    ratios = sorted(float(str(row["ratio"])) for row in plans)
    near = sum(ratio <= 1.05 for ratio in ratios)
    return {"plans": len(ratios), "within_5_percent": near, "exact": sum(ratio == 1 for ratio in ratios), "largest": max(ratios)}


if __name__ == "__main__":
    raise SystemExit(main())

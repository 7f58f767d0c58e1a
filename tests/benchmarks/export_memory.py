# SPDX-License-Identifier: Apache-2.0
"""Peak memory of export, save and convert over what the process had before the model, beside the size of the weights.

`python tests/benchmarks/export_memory.py [--megabytes 400]`. Each way runs in a process of its own. What counts is the resident
set at its highest (VmHWM), so pages of mapped files too, although the system may drop those at any time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

WIDTH = 1024  # of a layer, whose weights take 4 MB
WAYS = ("export", "verify", "convert", "convert-verify")


def model(weight_bytes: int) -> Any:
    """Linear layers one behind the other, every other one with a ReLU: a .pen file holds their weights in panels."""
    import penlight.nn as nn

    count = -(-weight_bytes // (4 * WIDTH * WIDTH))
    layers = [nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU() if number % 2 else nn.Identity()) for number in range(count)]
    return nn.Sequential(*layers).eval()


def measure(way: str, weight_bytes: int) -> dict[str, Any]:
    """Bytes of one way; a small model goes first, so that imports and arenas do not count."""
    import penlight as pl
    from penlight_export import convert, export

    x = pl.randn(2, WIDTH)

    def run(weights: int, folder: Path) -> int:
        if way.startswith("convert"):
            convert(folder / f"{weights}.onnx", folder / "c.pen", verify=way.endswith("verify"))
            return weights
        made = model(weights)
        exported = export(made, (x,), names=["x"], dynamic={"x": {0: "batch"}}, verify=way == "verify")
        exported.save(folder / "e.onnx")
        exported.save(folder / "e.pen")
        return sum(p.numpy(force=True).nbytes for p in made.parameters())

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if way.startswith("convert"):
            write(1, folder / "1.onnx")
            path = os.fspath(folder / f"{weight_bytes}.onnx")
            subprocess.run([sys.executable, __file__, "--write", str(weight_bytes), path], check=True)
        run(1, folder)
        _forget_peak()
        base = _status("VmRSS")
        counted = run(weight_bytes, folder)
        return {"way": way, "weight_bytes": counted, "peak_bytes": _status("VmHWM") - base}


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) * 1024


def _forget_peak() -> None:
    """Sets the highest resident set to the present one; https://docs.kernel.org/filesystems/proc.html, clear_refs."""
    Path("/proc/self/clear_refs").write_text("5")


def write(weight_bytes: int, path: Path) -> None:
    """An .onnx file to convert."""
    import penlight as pl
    from penlight_export import export

    export(model(weight_bytes), (pl.randn(2, WIDTH),), names=["x"], dynamic={"x": {0: "batch"}}, verify=False).save(path)


def rows(weight_bytes: int) -> list[dict[str, Any]]:
    """All ways, each in a process of its own."""
    found = []
    for way in WAYS:
        command = [sys.executable, __file__, "--one", way, str(weight_bytes)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{way}: {done.stderr[-2000:]}")
        row = json.loads(done.stdout)
        found.append(row | {"peak_over_weights": round(row["peak_bytes"] / row["weight_bytes"], 3)})
    return found


def table(found: list[dict[str, Any]]) -> str:
    """The rows as text."""
    lines = ["way              weights MB   peak MB   peak / weights"]
    for row in found:
        weights, peak = row["weight_bytes"] / 1e6, row["peak_bytes"] / 1e6
        lines.append(f"{row['way']:16} {weights:10.0f} {peak:9.0f} {row['peak_over_weights']:16.2f}")
    return "\n".join(lines)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=400)
    parser.add_argument("--one", nargs=2, metavar=("WAY", "BYTES"), help=argparse.SUPPRESS)
    parser.add_argument("--write", nargs=2, metavar=("BYTES", "PATH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one[0], int(options.one[1]))))
    elif options.write:
        write(int(options.write[0]), Path(options.write[1]))
    else:
        print(table(rows(options.megabytes << 20)))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""How much of this processor's peak each float kernel of the edge runtime reaches, on one thread.

`python tests/benchmarks/peak.py [--kernels conv3x3_56 linear_128] [--seconds 0.3]`. The peak is that of independent multiply-adds
in registers, measured by a few lines of C between the kernels' rounds, so that both meet the same load; needs a C compiler.
Processor time counts. A convolution by Winograd's method may reach more than 1: it is its direct form's work that is counted.
"""

from __future__ import annotations

import argparse
import ctypes
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import record

_SOURCE = """
#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
typedef float V __attribute__((vector_size(BYTES)));
/* Flops of one step: twelve multiply-adds of vectors that stay in registers. */
int step_flops(void) { return 12 * 2 * BYTES / 4; }
float multiply_adds(long count) {
  V a = {1}, b = {2}, c = {3}, d = {4}, e = {5}, f = {6}, g = {7}, h = {8}, i = {9}, j = {10}, k = {11}, l = {12};
  const V x = a * 0.5f, y = a * 0.25f;
  for (; count > 0; --count) {
    a = a * x + y; b = b * x + y; c = c * x + y; d = d * x + y; e = e * x + y; f = f * x + y;
    g = g * x + y; h = h * x + y; i = i * x + y; j = j * x + y; k = k * x + y; l = l * x + y;
  }
  a += b + c + d + e + f + g + h + i + j + k + l;
  return a[0];
}
"""
_STEPS = 200_000

Layer = tuple[str, dict[str, Any], tuple[int, ...]]  # a class of penlight.nn, its arguments, the input's shape


def _conv(channels: int, filters: int, size: int, kernel: int, stride: int = 1, groups: int = 1) -> Layer:
    arguments = {"kernel_size": kernel, "stride": stride, "padding": kernel // 2, "groups": groups}
    return "Conv2d", {"in_channels": channels, "out_channels": filters, **arguments}, (1, channels, size, size)


def _linear(rows: int, inputs: int, outputs: int) -> Layer:
    return "Linear", {"in_features": inputs, "out_features": outputs}, (rows, inputs)


# kernel -> the layer that runs it, and the fraction of the peak that issue 6 asks for
KERNELS: dict[str, tuple[Layer, float]] = {
    "linear_128": (_linear(128, 768, 768), 0.93),
    "linear_1024": (_linear(1024, 1024, 1024), 0.88),
    "conv1x1_56": (_conv(64, 256, 56, 1), 0.93),
    "conv1x1_14": (_conv(1024, 256, 14, 1), 0.93),
    "conv1x1_7": (_conv(512, 2048, 7, 1), 0.93),
    "conv3x3_56": (_conv(64, 64, 56, 3), 0.95),
    "conv3x3_28": (_conv(128, 128, 28, 3), 0.95),
    "conv3x3_14": (_conv(256, 256, 14, 3), 0.95),
    "conv3x3_7": (_conv(512, 512, 7, 3), 0.85),
    "conv3x3_stride2": (_conv(128, 128, 56, 3, 2), 0.95),
    "conv7x7_stem": (_conv(3, 64, 224, 7, 2), 0.85),
    "depthwise_56": (_conv(144, 144, 56, 3, groups=144), 0.60),
    "depthwise_14": (_conv(576, 576, 14, 3, groups=576), 0.60),
    "depthwise5_14": (_conv(240, 240, 14, 5, groups=240), 0.60),
}


def peak_loop(folder: Path) -> Callable[[], float]:
    """A function that measures the peak once, in flops per second."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise SystemExit("peak.py measures the peak with a C compiler; install one")
    source, library = folder / "peak.c", folder / "peak.so"
    source.write_text(_SOURCE)
    flags = ["-O2", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, source, "-o", library], check=True)
    built = ctypes.CDLL(str(library))
    built.multiply_adds.restype, built.multiply_adds.argtypes = ctypes.c_float, [ctypes.c_long]
    return lambda: built.step_flops() * _STEPS / _seconds(lambda: built.multiply_adds(_STEPS))


def _seconds(run: Callable[[], Any]) -> float:
    started = time.process_time()
    run()
    return time.process_time() - started


def prepared(name: str, folder: Path, low_memory: bool) -> tuple[Callable[[], Any], int]:
    """A run of the kernel's layer, and its multiply-accumulates."""
    import penlight as pl
    import penlight_runtime
    from penlight_export import export

    (kind, arguments, shape), _ = KERNELS[name]
    pl.manual_seed(0)
    layer, x = getattr(pl.nn, kind)(**arguments), pl.randn(*shape)
    path = export(layer.eval(), (x,), verify=False).save(folder / f"{name}.pen")
    session = penlight_runtime.Program.open(path).session(low_memory=low_memory)
    feeds, outputs = [x.numpy()], list(session.run([x.numpy()]).values())
    return lambda: session.run(feeds, outputs), session.macs


def measure(name: str, folder: Path, peak: Callable[[], float], seconds: float, low_memory: bool) -> dict[str, Any]:
    """One row: medians over rounds in which the peak and the kernel take turns."""
    run, macs = prepared(name, folder, low_memory)
    repeats = max(1, int(2e7 / macs))  # so that the clock's steps do not count
    rates: list[float] = []
    peaks: list[float] = []
    until = time.perf_counter() + seconds
    while len(rates) < 3 or time.perf_counter() < until:
        peaks.append(peak())
        rates.append(2 * macs * repeats / _seconds(lambda: [run() for _ in range(repeats)]))
    rate, most = statistics.median(rates), statistics.median(peaks)
    row = {"kernel": name, "gflops": round(rate / 1e9, 2), "peak_gflops": round(most / 1e9, 2)}
    return {**row, "fraction": round(rate / most, 3), "goal": KERNELS[name][1]}


def main() -> None:
    """Measures, prints the table and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kernels", nargs="*", default=list(KERNELS), choices=list(KERNELS))
    parser.add_argument("--seconds", type=float, default=0.3, help="per kernel")
    parser.add_argument("--low-memory", action="store_true", help="without weights in another order, so without Winograd's method")
    parser.add_argument("--output", type=Path, default=record.RESULTS / "peak.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        peak, rows = peak_loop(folder), []
        for kernel in options.kernels:
            row = measure(kernel, folder, peak, options.seconds, options.low_memory)
            rows.append(row)
            rate, fraction, goal = row["gflops"], row["fraction"], row["goal"]
            print(f"{kernel:16} {rate:8.1f} GFLOP/s  {fraction:5.2f} of the peak, goal {goal:.2f}", flush=True)
    settings = {"low_memory": options.low_memory, "rows": rows}
    record.save(options.output, {"schema": "penlight.benchmark.peak/1", **record.machine("numpy"), **settings})


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""What the optimizer brings on three models: the number of nodes, and the time of a run on the edge runtime and on onnxruntime."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import penlight as pl
import penlight.nn as nn
import penlight_runtime
from penlight_export import convert, export
from penlight_export.passes import DEFAULT

LENGTH = 64  # tokens
_SECONDS = 0.4  # of runs of each at least, of which the fastest counts
_RUNS = 3  # together, since the clock of processor time ticks


def _resnet() -> tuple[nn.Module, dict[str, pl.Tensor], dict[str, dict[int, str]]]:
    from penlight.models.resnet import resnet18

    return resnet18(), {"x": pl.randn(1, 3, 112, 112)}, {"x": {0: "batch"}}


def _bert() -> tuple[nn.Module, dict[str, pl.Tensor], dict[str, dict[int, str]]]:
    from penlight.models.bert import BertModel

    model = BertModel(vocabulary=1000, size=256, layers=4, heads=4, intermediate=1024, positions=128)
    inputs = {"input_ids": pl.randint(0, 1000, (1, LENGTH)), "attention_mask": pl.ones((1, LENGTH), dtype=pl.int64)}
    return model, inputs, {name: {1: "length"} for name in inputs}


class WrittenOut(nn.Module):
    """An encoder as exporters wrote it before there were operators for its parts: layer norm, GELU and attention in arithmetic."""

    def __init__(self, size: int = 256, layers: int = 4, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.blocks = nn.ModuleList([nn.ModuleList([nn.Linear(size, size) for _ in range(4)]) for _ in range(layers)])
        self.up = nn.ModuleList([nn.Linear(size, 4 * size) for _ in range(layers)])
        self.down = nn.ModuleList([nn.Linear(4 * size, size) for _ in range(layers)])
        self.scales = nn.ParameterList([nn.Parameter(pl.ones(size)) for _ in range(2 * layers)])
        self.shifts = nn.ParameterList([nn.Parameter(pl.zeros(size)) for _ in range(2 * layers)])

    def forward(self, x: pl.Tensor) -> pl.Tensor:
        for number, (block, up, down) in enumerate(zip(self.blocks, self.up, self.down, strict=True)):
            x = self.norm(x + self.attend(block, x), 2 * number)
            x = self.norm(x + down(self.gelu(up(x))), 2 * number + 1)
        return x

    def norm(self, x: pl.Tensor, number: int) -> pl.Tensor:
        centred = x - x.mean(dim=-1, keepdim=True)
        variance = (centred**2).mean(dim=-1, keepdim=True)
        return centred / (variance + 1e-5).sqrt() * self.scales[number] + self.shifts[number]

    def gelu(self, x: pl.Tensor) -> pl.Tensor:
        return x * 0.5 * (1 + pl.erf(x / math.sqrt(2)))

    def attend(self, block: Any, x: pl.Tensor) -> pl.Tensor:
        batch, length, size = x.shape
        q, k, v = (layer(x).reshape(batch, length, self.heads, size // self.heads).transpose(1, 2) for layer in list(block)[:3])
        scores = q @ k.transpose(2, 3) / math.sqrt(size // self.heads)
        mixed = pl.nn.functional.softmax(scores, dim=-1) @ v
        return block[3](mixed.transpose(1, 2).reshape(batch, length, size))


def _written_out() -> tuple[nn.Module, dict[str, pl.Tensor], dict[str, dict[int, str]]]:
    return WrittenOut(), {"x": pl.randn(1, LENGTH, 256)}, {"x": {1: "length"}}


MODELS: dict[str, Callable[[], tuple[nn.Module, dict[str, pl.Tensor], dict[str, dict[int, str]]]]] = {
    "resnet18": _resnet,
    "bert": _bert,
    "bert-written-out-17": _written_out,
}


def measure(name: str, folder: Path, rounds: int) -> dict[str, Any]:
    """One model without and with the optimizer; leaves NAME.onnx, as it was traced, for the peers."""
    pl.manual_seed(0)
    model, inputs, dynamic = MODELS[name]()
    opset = 17 if name.endswith("-17") else 21
    feed = {key: value.numpy() for key, value in inputs.items()}
    result: dict[str, Any] = {"model": name}
    plain = export(model.eval(), inputs, dynamic=dynamic, opset=opset, passes=(), verify=False).save(folder / f"{name}.onnx")
    calls: dict[tuple[str, str], Callable[[], Any]] = {}
    for label, passes in (("before", ()), ("after", DEFAULT)):
        exported = export(model, inputs, dynamic=dynamic, opset=opset, passes=passes, verify=False)
        path = exported.save(folder / f"{label}.onnx")
        convert(plain, folder / f"{label}.pen", passes=passes)  # as an imported model, and compared with it
        calls[label, "edge_ms"] = _on_edge(folder / f"{label}.pen", feed)
        calls[label, "onnxruntime_ms"] = _on_onnxruntime(path, feed)
        result[label] = {
            "onnx_nodes": len(exported.onnx_model.graph.node),
            "pen_nodes": sum(exported.summary.operators.values()),
        }
    for (label, engine), milliseconds in _fastest(calls, rounds).items():
        result[label][engine] = milliseconds
    return result


def _on_edge(path: Path, feed: Mapping[str, np.ndarray]) -> Callable[[], Any]:
    session = penlight_runtime.Program.open(path).session(threads=1)
    return lambda: session.run(dict(feed))


def _on_onnxruntime(path: Path, feed: Mapping[str, np.ndarray]) -> Callable[[], Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, dict(feed))


def _fastest(calls: Mapping[Any, Callable[[], Any]], rounds: int) -> dict[Any, float]:
    """Milliseconds of processor time of each call's fastest run; the calls take turns, so that all see the same machine."""
    best = dict.fromkeys(calls, math.inf)
    until = time.perf_counter() + rounds * _SECONDS * len(calls)
    for call in calls.values():
        call()
    while time.perf_counter() < until:
        for key, call in calls.items():
            started = time.process_time()
            for _ in range(_RUNS):
                call()
            best[key] = min(best[key], (time.process_time() - started) / _RUNS)
    return {key: round(seconds * 1e3, 3) for key, seconds in best.items()}

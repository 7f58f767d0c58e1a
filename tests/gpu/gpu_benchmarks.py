# SPDX-License-Identifier: Apache-2.0
"""Times on a GPU: own kernels against CuPy's reference and torch, and whole training steps against torch."""

from __future__ import annotations

import statistics
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import penlight as pl
from penlight import nn, optim
from penlight.backends import get_backend
from penlight.device import device
from penlight.nn import functional as F


class Place:
    """The device, sizes that suit it, and what torch calls things."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.backend = get_backend(device(name))
        self.is_small = name == "cpu"  # a dry run of this file
        self.torch = _import_torch(name)

    def size(self, full: int, small: int) -> int:
        return small if self.is_small else full

    def synchronize(self) -> None:
        self.backend.synchronize()
        if self.torch is not None and not self.is_small:
            self.torch.cuda.synchronize()

    def median_seconds(self, call: Callable[[], Any], per_sample: int = 10) -> float:
        """The median of samples of several calls each, after a warm-up that compiles and fills the pools."""
        samples = self.size(20, 2)
        for _ in range(3):
            call()
        times = []
        for _ in range(samples):
            self.synchronize()
            start = time.perf_counter()
            for _ in range(per_sample):
                call()
            self.synchronize()
            times.append((time.perf_counter() - start) / per_sample)
        return statistics.median(times)


def measured(row: dict[str, Any], measure: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """The row with what `measure` puts into it, or with the error that it ended in."""
    try:
        measure(row)
    except Exception as error:  # the other rows go on
        traceback.print_exc()
        row["error"] = f"{type(error).__name__}: {error}"[:400]
    return row


def _import_torch(name: str) -> Any:
    try:
        import torch  # for comparison only
    except ImportError:
        return None
    if name != "cpu" and not torch.cuda.is_available():
        return None
    return torch


def kernels(place: Place) -> Iterator[dict[str, Any]]:
    """Rows with seconds and bytes per second of a plain copy and of each memory-bound kernel, forward and backward.

    Bytes are those that must move at least: each array that is read or written, once.
    """
    yield measured({"kernel": "copy"}, lambda row: _copy(place, row))
    for dtype in ("float32", "bfloat16"):
        rows, columns = place.size(8192, 16), place.size(4096, 64)
        for name, passes in (("gelu", 5), ("softmax", 5), ("layer_norm", 5), ("cross_entropy", 4)):
            bytes_moved = passes * rows * columns * (4 if dtype == "float32" else 2)
            row = {"kernel": name, "dtype": dtype, "shape": [rows, columns], "bytes": bytes_moved}
            yield measured(row, lambda row: _kernel(place, row))


def _copy(place: Place, row: dict[str, Any]) -> None:
    """What other kernels are held against: a copy on the device by the library, of as many bytes as their arrays have."""
    source = place.backend.empty((place.size(8192 * 4096, 1024),), np.float32)
    target = place.backend.empty(source.shape, np.float32)

    def copy() -> None:
        target[...] = source

    row["bytes"], row["seconds"] = 2 * source.nbytes, place.median_seconds(copy)
    row["gigabytes_per_second"] = row["bytes"] / row["seconds"] / 1e9


def _kernel(place: Place, row: dict[str, Any]) -> None:
    name, dtype, (rows, columns) = row["kernel"], row["dtype"], row["shape"]
    call = _penlight_call(place, name, dtype, rows, columns)
    row["seconds"] = place.median_seconds(call)
    row["gigabytes_per_second"] = row["bytes"] / row["seconds"] / 1e9
    row["reference_seconds"] = _without_own_kernels(place, call)
    if place.torch is not None:
        row["torch_seconds"] = place.median_seconds(_torch_call(place, name, dtype, rows, columns))


def _arrays(rows: int, columns: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    x, seed = (rng.normal(size=(rows, columns)).astype(np.float32) for _ in range(2))
    return x, seed, np.ones(columns, np.float32), rng.integers(0, columns, rows)


def _call(functions: Any, name: str, x: Any, seed: Any, weight: Any, target: Any) -> Callable[[], Any]:
    def loss() -> Any:
        if name == "cross_entropy":
            return functions.cross_entropy(x, target)
        if name == "layer_norm":
            return functions.layer_norm(x, (x.shape[1],), weight, weight)
        return functions.softmax(x, -1) if name == "softmax" else functions.gelu(x)

    def call() -> None:
        x.grad = weight.grad = None
        result = loss()
        result.backward() if name == "cross_entropy" else result.backward(seed)

    return call


def _penlight_call(place: Place, name: str, dtype: str, rows: int, columns: int) -> Callable[[], Any]:
    x, seed, weight, target = (pl.from_numpy(a) for a in _arrays(rows, columns))
    x, seed, weight = (t.to(dtype).to(place.name) for t in (x, seed, weight))
    return _call(F, name, x.requires_grad_(True), seed, weight.requires_grad_(True), target.to(place.name))


def _torch_call(place: Place, name: str, dtype: str, rows: int, columns: int) -> Callable[[], Any]:
    torch = place.torch
    x, seed, weight, target = (torch.from_numpy(a).to(place.name) for a in _arrays(rows, columns))
    x, seed, weight = (t.to(getattr(torch, dtype)) for t in (x, seed, weight))
    return _call(torch.nn.functional, name, x.requires_grad_(True), seed, weight.requires_grad_(True), target)


def _without_own_kernels(place: Place, call: Callable[[], Any]) -> float:
    saved = dict(place.backend.kernels)
    place.backend.kernels.clear()
    try:
        return place.median_seconds(call, per_sample=2)
    finally:
        place.backend.kernels.update(saved)


def products(place: Place) -> Iterator[dict[str, Any]]:
    """Rows with seconds and arithmetic per second of attention and convolution, forward and backward, in bfloat16."""
    batch, length, channels = place.size(8, 1), place.size(1024, 16), place.size(256, 8)
    heads = [(batch, place.size(12, 2), length, 64)] * 3
    images = [(place.size(64, 2), channels, 28, 28), (channels, channels, 3, 3)]
    # Both backwards take twice the arithmetic of their forward; a causal mask leaves half of it.
    cases = (
        ("attention", heads, 3 * 2 * 2 * batch * heads[0][1] * length * length * 64 / 2),
        ("convolution", images, 3 * 2 * images[0][0] * 28 * 28 * channels * channels * 9),
    )
    for name, shapes, operations in cases:
        row: dict[str, Any] = {"product": name, "dtype": "bfloat16", "shapes": shapes, "operations": operations}
        yield measured(row, lambda row: _times_of_product(place, row))


def _times_of_product(place: Place, row: dict[str, Any]) -> None:
    name, shapes = row["product"], row["shapes"]
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in (*shapes, shapes[0])]
    tensors = [pl.from_numpy(a).to("bfloat16").to(place.name) for a in arrays]
    call = _product(F, name, tensors[-1], [t.requires_grad_(True) for t in tensors[:-1]])
    row["seconds"] = place.median_seconds(call)
    row["teraflops"] = row["operations"] / row["seconds"] / 1e12
    row["reference_seconds"] = _without_own_kernels(place, call)
    if place.torch is not None:
        peers = [place.torch.from_numpy(a).to(place.torch.bfloat16).to(place.name) for a in arrays]
        call = _product(place.torch.nn.functional, name, peers[-1], [t.requires_grad_(True) for t in peers[:-1]])
        row["torch_seconds"] = place.median_seconds(call)


def _product(functions: Any, name: str, seed: Any, tensors: Any) -> Callable[[], Any]:
    def call() -> None:
        for t in tensors:
            t.grad = None
        if name == "attention":
            functions.scaled_dot_product_attention(*tensors, is_causal=True).backward(seed)
        else:
            functions.conv2d(*tensors, padding=1).backward(seed)

    return call


# One builder for both libraries: the names and arguments are the same.
def perceptron(nn: Any, width: int) -> Any:
    return nn.Sequential(nn.Linear(784, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10))


def normalised(nn: Any, width: int) -> Any:
    block = [nn.Linear(784, width)]
    for _ in range(4):
        block += [nn.LayerNorm(width), nn.Linear(width, width), nn.GELU()]
    return nn.Sequential(*block, nn.Linear(width, 10))


def convolutional(nn: Any, width: int) -> Any:
    channels = width // 16
    return nn.Sequential(
        *(nn.Conv2d(1, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(channels * 49, 10)),
    )


def steps(place: Place) -> Iterator[dict[str, Any]]:
    """Rows with the seconds of a whole training step (forward, backward, AdamW) in float32."""
    width, batch = place.size(1024, 32), place.size(256, 8)
    for build, shape in ((perceptron, (784,)), (normalised, (784,)), (convolutional, (1, 28, 28))):
        row: dict[str, Any] = {"model": build.__name__, "width": width, "batch": batch}
        yield measured(row, lambda row, build=build, shape=shape: _times_of_step(place, row, build, shape))


def _times_of_step(place: Place, row: dict[str, Any], build: Callable[..., Any], shape: tuple[int, ...]) -> None:
    rng, width, batch = np.random.default_rng(0), row["width"], row["batch"]
    x, target = rng.normal(size=(batch, *shape)).astype(np.float32), rng.integers(0, 10, batch)
    model = build(nn, width).to(place.name)
    tensors = (pl.from_numpy(x).to(place.name), pl.from_numpy(target).to(place.name))
    row["seconds"] = place.median_seconds(_step(model, F, optim.AdamW(model.parameters(), lr=1e-4), *tensors))
    if place.torch is not None:
        torch = place.torch
        peer = build(torch.nn, width).to(place.name)
        tensors = (torch.from_numpy(x).to(place.name), torch.from_numpy(target).to(place.name))
        step = _step(peer, torch.nn.functional, torch.optim.AdamW(peer.parameters(), lr=1e-4), *tensors)
        row["torch_seconds"] = place.median_seconds(step)


def _step(model: Any, functions: Any, optimizer: Any, x: Any, target: Any) -> Callable[[], Any]:
    def step() -> None:
        optimizer.zero_grad()
        functions.cross_entropy(model(x), target).backward()
        optimizer.step()

    return step

# SPDX-License-Identifier: Apache-2.0
"""Whole training steps of known models against torch on the same GPU: eager, captured, and compiled.

Builders take the library's `nn`, `functional` and top module, since names and arguments are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from gpu_benchmarks import measured

import penlight as pl


def perceptron(lib: Any, small: bool) -> Any:
    nn = lib.nn
    width = 32 if small else 512
    layers = [nn.Linear(64, width), nn.ReLU()]
    for _ in range(1 if small else 6):
        layers += [nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def lstm(lib: Any, small: bool) -> Any:
    nn = lib.nn

    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(64, 16 if small else 256, batch_first=True)
            self.head = nn.Linear(16 if small else 256, 10)

        def forward(self, x: Any) -> Any:
            return self.head(self.rnn(x)[0][:, -1])

    return Tagger()


def _residual(lib: Any, inner: Any, shortcut: Any) -> Any:
    nn = lib.nn

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.shortcut = inner, shortcut

        def forward(self, x: Any) -> Any:
            return lib.nn.functional.relu(self.inner(x) + self.shortcut(x))

    return Residual()


def _conv(nn: Any, inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[Any]:
    return [nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False), nn.BatchNorm2d(outputs)]


def _shortcut(nn: Any, inputs: int, outputs: int, stride: int) -> Any:
    return nn.Identity() if inputs == outputs and stride == 1 else nn.Sequential(*_conv(nn, inputs, outputs, 1, stride))


def resnet20(lib: Any, small: bool) -> Any:
    nn = lib.nn
    width = 4 if small else 16
    layers, inputs = [*_conv(nn, 3, width, 3), nn.ReLU()], width
    for stage in range(3):
        for block in range(1 if small else 3):
            outputs, stride = width << stage, 2 if stage and not block else 1
            inner = nn.Sequential(*_conv(nn, inputs, outputs, 3, stride), nn.ReLU(), *_conv(nn, outputs, outputs, 3))
            layers.append(_residual(lib, inner, _shortcut(nn, inputs, outputs, stride)))
            inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 10))


def resnet50(lib: Any, small: bool) -> Any:
    nn = lib.nn
    width, counts = (4, (1, 1, 1, 1)) if small else (64, (3, 4, 6, 3))
    layers, inputs = [*_conv(nn, 3, width, 7, 2), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)], width
    for stage, count in enumerate(counts):
        for block in range(count):
            middle, stride = width << stage, 2 if stage and not block else 1
            inner = nn.Sequential(
                *(*_conv(nn, inputs, middle, 1), nn.ReLU(), *_conv(nn, middle, middle, 3, stride), nn.ReLU()),
                *_conv(nn, middle, 4 * middle, 1),
            )
            layers.append(_residual(lib, inner, _shortcut(nn, inputs, 4 * middle, stride)))
            inputs = 4 * middle
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 10 if small else 1000))


def gpt2(lib: Any, small: bool) -> Any:
    """GPT-2 of 124 million parameters (Radford et al. 2019), its vocabulary rounded up to a multiple of 128."""
    nn, functional = lib.nn, lib.nn.functional
    vocabulary, length, size, count, heads = (64, 16, 32, 1, 2) if small else (50304, 1024, 768, 12, 12)

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(size), nn.LayerNorm(size)
            self.qkv, self.proj = nn.Linear(size, 3 * size), nn.Linear(size, size)
            self.up, self.down = nn.Linear(size, 4 * size), nn.Linear(4 * size, size)

        def forward(self, x: Any) -> Any:
            batch = x.shape[0]
            packed = self.qkv(self.norm1(x)).reshape(batch, length, 3, heads, size // heads).permute(2, 0, 3, 1, 4)
            mixed = functional.scaled_dot_product_attention(packed[0], packed[1], packed[2], is_causal=True)
            x = x + self.proj(mixed.transpose(1, 2).reshape(batch, length, size))
            return x + self.down(functional.gelu(self.up(self.norm2(x)), approximate="tanh"))

    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token, self.position = nn.Embedding(vocabulary, size), nn.Embedding(length, size)
            self.blocks = nn.Sequential(*(Block() for _ in range(count)))
            self.norm, self.head = nn.LayerNorm(size), nn.Linear(size, vocabulary, bias=False)
            self.head.weight = self.token.weight
            self.register_buffer("places", lib.arange(length))

        def forward(self, ids: Any) -> Any:
            x = self.token(ids) + self.position(self.places)
            return self.head(self.norm(self.blocks(x))).reshape(-1, vocabulary)

    return Decoder()


# Name: (builder, 16 bits and channels last, shape of the input on a GPU and in a dry run, how many classes).
CASES: dict[str, tuple[Callable[[Any, bool], Any], bool, tuple[int, ...], tuple[int, ...], tuple[int, int]]] = {
    "mlp": (perceptron, False, (64, 64), (4, 64), (10, 10)),
    "lstm": (lstm, False, (32, 64, 64), (2, 5, 64), (10, 10)),
    "resnet20": (resnet20, False, (128, 3, 32, 32), (2, 3, 8, 8), (10, 10)),
    "gpt2": (gpt2, True, (8, 1024), (2, 16), (50304, 64)),
    "resnet50": (resnet50, True, (64, 3, 224, 224), (2, 3, 32, 32), (1000, 10)),
}


def steps(place: Any, compiles: bool = True) -> Iterator[dict[str, Any]]:
    """Rows with the seconds of a step (forward, backward, AdamW): ours and torch's, as they come and in one launch."""
    for name, (_, is_half, full, small, _) in CASES.items():
        row = {"model": name, "shape": list(small if place.is_small else full), "dtype": "bfloat16" if is_half else "float32"}
        yield measured(row, lambda row: _times(place, row, compiles))


def _times(place: Any, row: dict[str, Any], compiles: bool) -> None:
    build, is_half, _, _, classes = CASES[row["model"]]
    x, target = _data(row["model"], tuple(row["shape"]), classes[1] if place.is_small else classes[0])
    step = _step(pl, build(pl, place.is_small), place.name, is_half)
    tensors = [pl.from_numpy(a).to(place.name) for a in (x, target)]
    row["seconds"] = place.median_seconds(lambda: step(*tensors), per_sample=3)
    if not place.is_small:
        captured = pl.cuda.capture(step)
        row["captured_seconds"] = place.median_seconds(lambda: captured(*tensors), per_sample=3)
    if place.torch is not None:
        _peer(place, row, x, target, compiles)


def _peer(place: Any, row: dict[str, Any], x: Any, target: Any, compiles: bool) -> None:
    build, is_half, *_ = CASES[row["model"]]
    torch = place.torch
    tensors = [torch.from_numpy(a).to(place.name) for a in (x, target)]
    model = build(torch, place.is_small)
    step = _step(torch, model, place.name, is_half)
    row["torch_seconds"] = place.median_seconds(lambda: step(*tensors), per_sample=3)
    if compiles and not place.is_small:
        compiled = _step(torch, torch.compile(model), place.name, is_half)
        row["torch_compile_seconds"] = place.median_seconds(lambda: compiled(*tensors), per_sample=3)


def _data(name: str, shape: tuple[int, ...], classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    if name == "gpt2":
        return rng.integers(0, classes, shape), rng.integers(0, classes, shape[0] * shape[1])
    return rng.normal(size=shape).astype(np.float32), rng.integers(0, classes, shape[0])


def _step(lib: Any, model: Any, place: str, is_half: bool) -> Callable[[Any, Any], Any]:
    model = model.to(place)
    if is_half and any(p.ndim == 4 for p in model.parameters()):
        model = model.to(memory_format=lib.channels_last)
    optimizer = lib.optim.AdamW(model.parameters(), lr=1e-4)

    def step(x: Any, target: Any) -> Any:
        optimizer.zero_grad()
        with lib.autocast(place, dtype=lib.bfloat16, enabled=is_half):
            if is_half and x.ndim == 4:
                x = x.contiguous(memory_format=lib.channels_last)
            loss = lib.nn.functional.cross_entropy(model(x), target)
        loss.backward()
        optimizer.step()
        return loss

    return step

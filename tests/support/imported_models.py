# SPDX-License-Identifier: Apache-2.0
"""The table of third-party networks: how to build and call each one, and PyTorch's two exporters to .onnx."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
import torch
from detection_models import Yolo, suppress_overlaps
from sequence_models import Bert, DistilBert, Gpt2, Tagger, WhisperDecoder, WhisperEncoder
from vision_models import UNet, ViT, efficientnet_b0, mobilenet_v2, mobilenet_v3, resnet50

Sizes = dict[str, int]


@dataclass(frozen=True)
class Case:
    """One network.

    Attributes:
        make: the module, with random weights.
        data: its inputs by name at given sizes of the dynamic dimensions.
        dynamic: names of the dimensions that vary, by input and axis.
        outputs: names, in order.
        sizes: of an export, and of the calls afterwards.
        narrow: arguments of `make` for a network of the same depth that is exported in a second or two.
        finish: what happens to the exported model before it is written.
    """

    make: Callable[..., Any]
    data: Callable[..., dict[str, Any]]
    dynamic: dict[str, dict[int, str]]
    outputs: list[str]
    sizes: list[Sizes]
    narrow: dict[str, int] = field(default_factory=dict)
    finish: Callable[[onnx.ModelProto], onnx.ModelProto] = field(default=lambda proto: proto)


def _image(side: int) -> dict[str, Any]:
    return {
        "data": lambda sizes, **_: {"x": torch.randn(sizes["batch"], 3, side, side)},
        "dynamic": {"x": {0: "batch"}},
        "outputs": ["y"],
        "sizes": [{"batch": 2}, {"batch": 1}, {"batch": 3}],
    }


def _picture(sizes: Sizes, **_: int) -> dict[str, Any]:
    return {"x": torch.randn(sizes["batch"], 3, sizes["height"], sizes["width"])}


def _tokens(sizes: Sizes, count: int = 1000) -> Any:
    return torch.randint(0, count, (sizes["batch"], sizes["time"]))


def _mask(sizes: Sizes) -> Any:
    return (torch.arange(sizes["time"]) < torch.randint(1, sizes["time"] + 1, (sizes["batch"], 1))).long()


_CACHE = {0: "batch", 2: "past"}
_PICTURE = {0: "batch", 2: "height", 3: "width"}
_TEXT = {0: "batch", 1: "time"}
_TEXT_SIZES = [{"batch": 2, "time": 7}, {"batch": 1, "time": 1}, {"batch": 3, "time": 12}]
_NARROW = {"width": 96, "vocabulary": 1000}
_PAST = [f"past.{i}.{part}" for i in range(12) for part in ("key", "value")]


def _gpt2_data(sizes: Sizes, width: int = 768, **_: int) -> dict[str, Any]:
    past = {name: torch.randn(sizes["batch"], 12, sizes["past"], width // 12) for name in _PAST}
    return {"ids": _tokens(sizes)} | past


CASES = {
    "resnet50": Case(resnet50, **_image(64), narrow={"base": 16}),
    "mobilenet_v2": Case(mobilenet_v2, **_image(64)),
    "mobilenet_v3": Case(mobilenet_v3, **_image(64)),
    "efficientnet_b0": Case(efficientnet_b0, **_image(64)),
    "vit_tiny": Case(ViT, **_image(64)),
    "yolo": Case(
        Yolo,
        _picture,
        {"x": _PICTURE},
        ["boxes", "scores"],
        [{"batch": 2, "height": 64, "width": 96}, {"batch": 1, "height": 32, "width": 32}, {"batch": 1, "height": 96, "width": 64}],
        {"classes": 3},  # with 80, some of the many scores lie so near each other that rounding orders them
        suppress_overlaps,
    ),
    "unet": Case(
        UNet,
        _picture,
        {"x": _PICTURE},
        ["y"],
        [{"batch": 2, "height": 32, "width": 48}, {"batch": 1, "height": 16, "width": 16}],
        {"base": 16},
    ),
    "bert": Case(
        Bert,
        lambda s, **_: {"ids": _tokens(s), "mask": _mask(s), "types": _tokens(s, 2)},
        dict.fromkeys(("ids", "mask", "types"), _TEXT),
        ["states", "pooled"],
        _TEXT_SIZES,
        _NARROW,
    ),
    "distilbert": Case(
        DistilBert,
        lambda s, **_: {"ids": _tokens(s), "mask": _mask(s)},
        dict.fromkeys(("ids", "mask"), _TEXT),
        ["logits"],
        _TEXT_SIZES,
        _NARROW,
    ),
    "gpt2": Case(
        Gpt2,
        _gpt2_data,
        {"ids": _TEXT} | dict.fromkeys(_PAST, _CACHE),
        ["logits", *(name.replace("past", "present") for name in _PAST)],
        [{"batch": 2, "time": 3, "past": 5}, {"batch": 1, "time": 6, "past": 0}, {"batch": 3, "time": 1, "past": 9}],
        _NARROW,
    ),
    "whisper_encoder": Case(
        WhisperEncoder,
        lambda s, **_: {"mel": torch.randn(s["batch"], 80, s["time"])},
        {"mel": {0: "batch", 2: "time"}},
        ["sound"],
        [{"batch": 2, "time": 60}, {"batch": 1, "time": 33}, {"batch": 1, "time": 200}],
        {"width": 96},
    ),
    "whisper_decoder": Case(
        WhisperDecoder,
        lambda s, width=384, **_: {"ids": _tokens(s), "sound": torch.randn(s["batch"], s["frames"], width)},
        {"ids": _TEXT, "sound": {0: "batch", 1: "frames"}},
        ["logits"],
        [{"batch": 2, "time": 5, "frames": 30}, {"batch": 1, "time": 1, "frames": 7}, {"batch": 3, "time": 9, "frames": 50}],
        {"width": 96, "vocabulary": 1000},
    ),
    "lstm": Case(Tagger, lambda s, **_: {"ids": _tokens(s)}, {"ids": _TEXT}, ["tags", "last"], _TEXT_SIZES),
}


def write_model(case: Case, path: Path, dynamo: bool = False, opset: int | None = None, **options: Any) -> Any:
    """Builds the module, writes it with one of PyTorch's exporters, and returns it."""
    torch.manual_seed(0)
    module = case.make(**options).eval()
    _enliven(module)
    data = case.data(case.sizes[0], **options)
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporters' own deprecations
            _export(case, module, data, path, dynamo, opset)
    finally:
        logging.disable(logging.NOTSET)
    path.write_bytes(case.finish(onnx.load(path)).SerializeToString())
    return module


def _enliven(module: Any) -> None:
    """Larger weights than PyTorch's own, with which the answers of deep networks hardly depend on the input."""
    for layer in module.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        elif isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(layer.running_var, 0.6, 1.4)
            torch.nn.init.uniform_(layer.weight, 0.6, 1.2)
            torch.nn.init.uniform_(layer.bias, -0.2, 0.2)


def _export(case: Case, module: Any, data: dict[str, Any], path: Path, dynamo: bool, opset: int | None) -> None:
    names = {"input_names": list(data), "output_names": case.outputs, "opset_version": opset}
    if not dynamo:
        torch.onnx.export(module, tuple(data.values()), str(path), dynamo=False, dynamic_axes=case.dynamic, **names)
        return
    shapes: Any = [dict.fromkeys(case.dynamic[name], torch.export.Dim.DYNAMIC) for name in data]
    shapes = (shapes[0], tuple(shapes[1:])) if "past.0.key" in data else tuple(shapes)  # *past is one argument there
    torch.onnx.export(
        module, tuple(data.values()), str(path), dynamo=True, dynamic_shapes=shapes, external_data=False, verbose=False, **names
    )

# SPDX-License-Identifier: Apache-2.0
"""A detector with the layer table of YOLOv8n in PyTorch, and the suppression of overlapping boxes as ONNX nodes."""

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import helper, numpy_helper
from torch import nn
from vision_models import norm_conv

BINS = 16  # each side of a box is a distribution over 16 distances


def conv(inputs, outputs, kernel=1, stride=1):
    return norm_conv(inputs, outputs, kernel, stride, act=nn.SiLU)


class Split(nn.Module):
    """C2f: the second half passes through blocks of two convolutions, and every step's result is kept."""

    def __init__(self, inputs, outputs, count, residual):
        super().__init__()
        self.half, self.residual = outputs // 2, residual
        self.first, self.last = conv(inputs, outputs), conv((2 + count) * self.half, outputs)
        self.blocks = nn.ModuleList(
            nn.Sequential(conv(self.half, self.half, 3), conv(self.half, self.half, 3)) for _ in range(count)
        )

    def forward(self, x):
        parts = list(self.first(x).chunk(2, 1))
        for block in self.blocks:
            parts.append(parts[-1] + block(parts[-1]) if self.residual else block(parts[-1]))
        return self.last(torch.cat(parts, 1))


class PyramidPool(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.first, self.last = conv(channels, channels // 2), conv(2 * channels, channels)

    def forward(self, x):
        parts = [self.first(x)]
        for _ in range(3):
            parts.append(F.max_pool2d(parts[-1], 5, 1, 2))
        return self.last(torch.cat(parts, 1))


class Yolo(nn.Module):
    """x: (N, 3, H, W) in multiples of 32. Returns boxes (N, A, 4) as corners in pixels and scores (N, classes, A)."""

    def __init__(self, classes=80):
        super().__init__()
        self.stem = nn.Sequential(conv(3, 16, 3, 2), conv(16, 32, 3, 2), Split(32, 32, 1, True))
        self.c3 = nn.Sequential(conv(32, 64, 3, 2), Split(64, 64, 2, True))
        self.c4 = nn.Sequential(conv(64, 128, 3, 2), Split(128, 128, 2, True))
        self.c5 = nn.Sequential(conv(128, 256, 3, 2), Split(256, 256, 1, True), PyramidPool(256))
        self.up4, self.up3 = Split(384, 128, 1, False), Split(192, 64, 1, False)
        self.to4, self.down4 = conv(64, 64, 3, 2), Split(192, 128, 1, False)
        self.to5, self.down5 = conv(128, 128, 3, 2), Split(384, 256, 1, False)
        levels = (64, 128, 256)
        self.sides = nn.ModuleList(nn.Sequential(conv(c, 64, 3), conv(64, 64, 3), nn.Conv2d(64, 4 * BINS, 1)) for c in levels)
        self.classes = nn.ModuleList(nn.Sequential(conv(c, 80, 3), conv(80, 80, 3), nn.Conv2d(80, classes, 1)) for c in levels)
        self.register_buffer("bins", torch.arange(BINS, dtype=torch.float32).view(1, BINS, 1, 1))

    def forward(self, x):
        c3 = self.c3(self.stem(x))
        c4 = self.c4(c3)
        c5 = self.c5(c4)
        p4 = self.up4(torch.cat([F.interpolate(c5, scale_factor=2.0), c4], 1))
        p3 = self.up3(torch.cat([F.interpolate(p4, scale_factor=2.0), c3], 1))
        p4 = self.down4(torch.cat([self.to4(p3), p4], 1))
        p5 = self.down5(torch.cat([self.to5(p4), c5], 1))
        found = [self.decode(level, features) for level, features in enumerate((p3, p4, p5))]
        return torch.cat([boxes for boxes, _ in found], 1), torch.cat([scores for _, scores in found], 2)

    def decode(self, level, x):
        stride, height, width = 8 << level, x.shape[2], x.shape[3]
        ys, xs = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        centres = torch.stack([xs, ys], 0).view(1, 2, -1)
        sides = self.sides[level](x).view(x.shape[0], 4, BINS, height * width).transpose(1, 2).softmax(1)
        near, far = (sides * self.bins).sum(1).chunk(2, 1)  # distances to the left and top, to the right and bottom
        boxes = torch.cat([centres - near, centres + far], 1) * stride
        return boxes.transpose(1, 2), self.classes[level](x).flatten(2).sigmoid()


def suppress_overlaps(proto: onnx.ModelProto, boxes: str = "boxes", scores: str = "scores") -> onnx.ModelProto:
    """The model with its two outputs replaced by the selected boxes (K, 4), their scores (K,) and classes (K,)."""
    constants = {
        "most": np.array([20], np.int64),
        "overlap": np.array([0.5], np.float32),
        "least": np.array([0.3], np.float32),
        "column.class": np.array([1], np.int64),
        "columns.box": np.array([0, 2], np.int64),
        "one": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("NonMaxSuppression", [boxes, scores, "most", "overlap", "least"], ["chosen"]),
        helper.make_node("Gather", ["chosen", "columns.box"], ["box.index"], axis=1),
        helper.make_node("GatherND", [boxes, "box.index"], ["kept.boxes"]),
        helper.make_node("GatherND", [scores, "chosen"], ["kept.scores"]),
        helper.make_node("Gather", ["chosen", "column.class"], ["class.column"], axis=1),
        helper.make_node("Squeeze", ["class.column", "one"], ["kept.classes"]),
    ]
    proto.graph.node.extend(nodes)
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    del proto.graph.output[:]
    for name, dtype, shape in (("kept.boxes", 1, ["K", 4]), ("kept.scores", 1, ["K"]), ("kept.classes", 7, ["K"])):
        proto.graph.output.append(helper.make_tensor_value_info(name, dtype, shape))
    return proto

# SPDX-License-Identifier: Apache-2.0
"""Published image networks in PyTorch, layer table by layer table, for the tests of the importer; weights are random."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn


def norm_conv(inputs, outputs, kernel=1, stride=1, groups=1, act=nn.ReLU):
    """Convolution, batch norm and an activation (None: none)."""
    layers = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([act()] if act else []))


class Bottleneck(nn.Module):
    def __init__(self, inputs, width, stride):
        super().__init__()
        self.body = nn.Sequential(
            norm_conv(inputs, width), norm_conv(width, width, 3, stride), norm_conv(width, 4 * width, act=None)
        )
        self.shortcut = norm_conv(inputs, 4 * width, 1, stride, act=None) if stride > 1 or inputs != 4 * width else nn.Identity()

    def forward(self, x):
        return F.relu(self.body(x) + self.shortcut(x))


def resnet50(base=64, classes=1000):
    """He et al. 2015, table 1, 50 layers."""
    layers, inputs = [norm_conv(3, base, 7, 2), nn.MaxPool2d(3, 2, 1)], base
    for stage, count in enumerate((3, 4, 6, 3)):
        for i in range(count):
            layers.append(Bottleneck(inputs, base << stage, 2 if stage and i == 0 else 1))
            inputs = 4 * (base << stage)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))


class SqueezeExcite(nn.Module):
    def __init__(self, channels, squeezed, act, gate):
        super().__init__()
        self.body = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, squeezed, 1), act(), nn.Conv2d(squeezed, channels, 1), gate()
        )

    def forward(self, x):
        return x * self.body(x)


class InvertedResidual(nn.Module):
    """Sandler et al. 2018: expand, filter each channel (and weigh the channels), project without an activation."""

    def __init__(self, inputs, wide, outputs, kernel, stride, act, squeeze=None):
        super().__init__()
        layers = [] if wide == inputs else [norm_conv(inputs, wide, act=act)]
        layers.append(norm_conv(wide, wide, kernel, stride, groups=wide, act=act))
        layers += [squeeze(wide)] if squeeze else []
        self.body = nn.Sequential(*layers, norm_conv(wide, outputs, act=None))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.body(x) if self.residual else self.body(x)


def mobilenet_v2(classes=1000):
    """Sandler et al. 2018, table 2."""
    table = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    layers, inputs = [norm_conv(3, 32, 3, 2, act=nn.ReLU6)], 32
    for factor, outputs, count, stride in table:
        for i in range(count):
            layers.append(InvertedResidual(inputs, factor * inputs, outputs, 3, stride if i == 0 else 1, nn.ReLU6))
            inputs = outputs
    layers += [norm_conv(inputs, 1280, act=nn.ReLU6), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2)]
    return nn.Sequential(*layers, nn.Linear(1280, classes))


def mobilenet_v3(classes=1000):
    """Howard et al. 2019, table 1 (large): kernel, expansion, outputs, squeeze and excite, hard swish, stride."""
    table = (
        *((3, 16, 16, 0, 0, 1), (3, 64, 24, 0, 0, 2), (3, 72, 24, 0, 0, 1), (5, 72, 40, 1, 0, 2), (5, 120, 40, 1, 0, 1)),
        *((5, 120, 40, 1, 0, 1), (3, 240, 80, 0, 1, 2), (3, 200, 80, 0, 1, 1), (3, 184, 80, 0, 1, 1), (3, 184, 80, 0, 1, 1)),
        *((3, 480, 112, 1, 1, 1), (3, 672, 112, 1, 1, 1), (5, 672, 160, 1, 1, 2), (5, 960, 160, 1, 1, 1), (5, 960, 160, 1, 1, 1)),
    )

    def squeeze(channels):
        return SqueezeExcite(channels, (channels // 4 + 4) // 8 * 8, nn.ReLU, nn.Hardsigmoid)

    layers, inputs = [norm_conv(3, 16, 3, 2, act=nn.Hardswish)], 16
    for kernel, wide, outputs, squeezed, hard, stride in table:
        act = nn.Hardswish if hard else nn.ReLU
        layers.append(InvertedResidual(inputs, wide, outputs, kernel, stride, act, squeeze if squeezed else None))
        inputs = outputs
    layers += [norm_conv(inputs, 960, act=nn.Hardswish), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(960, 1280)]
    return nn.Sequential(*layers, nn.Hardswish(), nn.Dropout(0.2), nn.Linear(1280, classes))


def efficientnet_b0(classes=1000):
    """Tan and Le 2019, table 1: expansion, kernel, stride, outputs, count."""
    table = (
        *((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3)),
        *((6, 5, 1, 112, 3), (6, 5, 2, 192, 4), (6, 3, 1, 320, 1)),
    )
    layers, inputs = [norm_conv(3, 32, 3, 2, act=nn.SiLU)], 32
    for factor, kernel, stride, outputs, count in table:
        for i in range(count):
            squeeze = partial(SqueezeExcite, squeezed=inputs // 4, act=nn.SiLU, gate=nn.Sigmoid)
            layers.append(InvertedResidual(inputs, factor * inputs, outputs, kernel, stride if i == 0 else 1, nn.SiLU, squeeze))
            inputs = outputs
    layers += [norm_conv(inputs, 1280, act=nn.SiLU), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2)]
    return nn.Sequential(*layers, nn.Linear(1280, classes))


class ViT(nn.Module):
    """Dosovitskiy et al. 2021 at DeiT-Ti's size: 12 layers of 192 with 3 heads, patches of 16 x 16."""

    def __init__(self, size=64, width=192, depth=12, heads=3, classes=1000):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 16, 16)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, (size // 16) ** 2 + 1, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, activation="gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        return self.head(self.layers(x)[:, 0])


class UNet(nn.Module):
    """Ronneberger et al. 2015 with padded convolutions: four levels down, four up."""

    def __init__(self, base=64, classes=2):
        super().__init__()
        widths = [base << level for level in range(5)]
        pairs = zip([3, *widths], widths, strict=False)
        self.down = nn.ModuleList(nn.Sequential(norm_conv(a, b, 3), norm_conv(b, b, 3)) for a, b in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, 2) for w in widths[:-1])
        self.merge = nn.ModuleList(nn.Sequential(norm_conv(2 * w, w, 3), norm_conv(w, w, 3)) for w in widths[:-1])
        self.head = nn.Conv2d(base, classes, 1)

    def forward(self, x):
        skips = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        for level in (3, 2, 1, 0):
            x = self.merge[level](torch.cat([skips[level], self.up[level](x)], 1))
        return self.head(x)

# SPDX-License-Identifier: Apache-2.0
"""ResNet-18 and BERT written in PyTorch with the published key names, as writers of files and as oracles."""

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + shortcut)


class ResNet18(nn.Module):
    def __init__(self, classes=1000):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        sizes = (64, 64, 128, 256, 512)
        for i in range(1, 5):
            first = Block(sizes[i - 1], sizes[i], 1 if i == 1 else 2)
            setattr(self, f"layer{i}", nn.Sequential(first, Block(sizes[i], sizes[i], 1)))
        self.fc = nn.Linear(512, classes)

    def forward(self, x):
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


def randomise_statistics(model):
    """Gives batch norms other statistics than 0 and 1, so that a mistake in loading them shows."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.6, 1.4)
            nn.init.uniform_(module.weight, 0.6, 1.2)
            nn.init.uniform_(module.bias, -0.2, 0.2)


def bert_weights(vocabulary, size, layers, intermediate, positions):
    """A state_dict under Hugging Face's names."""

    def dense(name, inputs, outputs):
        return {f"{name}.weight": torch.randn(outputs, inputs) * 0.1, f"{name}.bias": torch.randn(outputs) * 0.1}

    def norm(name):
        return {f"{name}.weight": 1 + torch.randn(size) * 0.1, f"{name}.bias": torch.randn(size) * 0.1}

    weights = {
        f"embeddings.{name}_embeddings.weight": torch.randn(count, size)
        for name, count in (("word", vocabulary), ("position", positions), ("token_type", 2))
    }
    weights |= norm("embeddings.LayerNorm")
    for i in range(layers):
        prefix = f"encoder.layer.{i}"
        for name in ("query", "key", "value"):
            weights |= dense(f"{prefix}.attention.self.{name}", size, size)
        weights |= dense(f"{prefix}.attention.output.dense", size, size) | norm(f"{prefix}.attention.output.LayerNorm")
        weights |= dense(f"{prefix}.intermediate.dense", size, intermediate)
        weights |= dense(f"{prefix}.output.dense", intermediate, size) | norm(f"{prefix}.output.LayerNorm")
    return weights | dense("pooler.dense", size, size)


def bert(weights, layers, heads, ids, mask, types):
    """The forward pass of Hugging Face's BertModel in PyTorch."""
    size = weights["pooler.dense.bias"].shape[0]

    def dense(name, x):
        return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(name, x):
        return F.layer_norm(x, (size,), weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-12)

    words, places, kinds = (weights[f"embeddings.{n}_embeddings.weight"] for n in ("word", "position", "token_type"))
    x = norm("embeddings.LayerNorm", words[ids] + kinds[types] + places[: ids.shape[1]])
    hidden = (1 - mask[:, None, None, :].float()) * torch.finfo(torch.float32).min
    for i in range(layers):
        prefix = f"encoder.layer.{i}"
        q, k, v = (
            dense(f"{prefix}.attention.self.{n}", x).unflatten(-1, (heads, -1)).transpose(1, 2) for n in ("query", "key", "value")
        )
        scores = q @ k.transpose(-1, -2) / (size // heads) ** 0.5 + hidden
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        x = norm(f"{prefix}.attention.output.LayerNorm", dense(f"{prefix}.attention.output.dense", mixed) + x)
        wide = F.gelu(dense(f"{prefix}.intermediate.dense", x))
        x = norm(f"{prefix}.output.LayerNorm", dense(f"{prefix}.output.dense", wide) + x)
    return x, torch.tanh(dense("pooler.dense", x[:, 0]))

# SPDX-License-Identifier: Apache-2.0
"""Published networks for text and speech in PyTorch, for the tests of the importer; weights are random."""

import math

import torch
import torch.nn.functional as F
from torch import nn


def heads_of(x, count):
    """(B, T, C) to (B, H, T, C / H)."""
    return x.view(x.shape[0], x.shape[1], count, -1).transpose(1, 2)


def joined(x):
    """(B, H, T, D) to (B, T, H * D)."""
    return x.transpose(1, 2).flatten(2)


class BertLayer(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm1, self.norm2 = nn.LayerNorm(width, 1e-12), nn.LayerNorm(width, 1e-12)

    def forward(self, x, mask):
        q, k, v = (heads_of(layer(x), self.heads) for layer in (self.query, self.key, self.value))
        x = self.norm1(self.output(joined(self.attend(q, k, v, mask))) + x)
        return self.norm2(self.narrow(F.gelu(self.wide(x))) + x)

    def attend(self, q, k, v, mask):
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        return (scores + mask).softmax(-1) @ v


class Bert(nn.Module):
    """Devlin et al. 2018: 12 layers of 768 with 12 heads. ids, mask, types: (B, T) integers."""

    def __init__(self, width=768, depth=12, heads=12, vocabulary=30522, positions=512):
        super().__init__()
        self.words, self.places, self.types = (nn.Embedding(n, width) for n in (vocabulary, positions, 2))
        self.norm = nn.LayerNorm(width, 1e-12)
        self.layers = nn.ModuleList(BertLayer(width, heads) for _ in range(depth))
        self.pooler = nn.Linear(width, width)

    def forward(self, ids, mask, types):
        places = torch.arange(ids.shape[1]).unsqueeze(0)
        x = self.norm(self.words(ids) + self.types(types) + self.places(places))
        hidden = (1.0 - mask[:, None, None, :].to(x.dtype)) * torch.finfo(torch.float32).min
        for layer in self.layers:
            x = layer(x, hidden)
        return x, torch.tanh(self.pooler(x[:, 0]))


class DistilBertLayer(BertLayer):
    def attend(self, q, k, v, mask):
        return F.scaled_dot_product_attention(q, k, v, mask)


class DistilBert(nn.Module):
    """Sanh et al. 2019: 6 layers of 768 with 12 heads, no token types, a boolean mask in fused attention."""

    def __init__(self, width=768, depth=6, heads=12, vocabulary=30522, positions=512, classes=2):
        super().__init__()
        self.words, self.places = nn.Embedding(vocabulary, width), nn.Embedding(positions, width)
        self.norm = nn.LayerNorm(width, 1e-12)
        self.layers = nn.ModuleList(DistilBertLayer(width, heads) for _ in range(depth))
        self.dense, self.head = nn.Linear(width, width), nn.Linear(width, classes)

    def forward(self, ids, mask):
        x = self.norm(self.words(ids) + self.places(torch.arange(ids.shape[1])))
        seen = (mask != 0)[:, None, None, :].expand(ids.shape[0], 1, ids.shape[1], ids.shape[1])
        for layer in self.layers:
            x = layer(x, seen)
        return self.head(F.relu(self.dense(x[:, 0])))


class GptBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x, key, value, causal):
        q, k, v = (heads_of(part, self.heads) for part in self.qkv(self.norm1(x)).chunk(3, -1))
        k, v = torch.cat([key, k], 2), torch.cat([value, v], 2)
        seen = causal[:, :, k.shape[2] - q.shape[2] : k.shape[2], : k.shape[2]]
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        scores = torch.where(seen, scores, torch.full([], torch.finfo(torch.float32).min))
        x = x + self.output(joined(scores.softmax(-1) @ v))
        return x + self.narrow(F.gelu(self.wide(self.norm2(x)), approximate="tanh")), k, v


class Gpt2(nn.Module):
    """Radford et al. 2019: 12 layers of 768 with 12 heads; a cache of keys and values (B, H, P, D) in and out of every layer."""

    def __init__(self, width=768, depth=12, heads=12, vocabulary=50257, positions=1024):
        super().__init__()
        self.words, self.places = nn.Embedding(vocabulary, width), nn.Embedding(positions, width)
        self.blocks = nn.ModuleList(GptBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.register_buffer("causal", torch.ones(positions, positions, dtype=torch.bool).tril().view(1, 1, positions, positions))

    def forward(self, ids, *past):
        start = past[0].shape[2]
        x = self.words(ids) + self.places(torch.arange(start, start + ids.shape[1]))
        present = []
        for i, block in enumerate(self.blocks):
            x, key, value = block(x, past[2 * i], past[2 * i + 1], self.causal)
            present += [key, value]
        return F.linear(self.norm(x), self.words.weight), *present


class WhisperLayer(nn.Module):
    def __init__(self, width, heads, crosses):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attend(width, heads)
        self.cross = Attend(width, heads) if crosses else None
        self.cross_norm = nn.LayerNorm(width) if crosses else None
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x, sound=None, mask=None):
        normed = self.norm1(x)
        x = x + self.attention(normed, normed, mask)
        if self.cross is not None:
            x = x + self.cross(self.cross_norm(x), sound)
        return x + self.narrow(F.gelu(self.wide(self.norm2(x))))


class Attend(nn.Module):
    """Whisper's attention: the scale is split between queries and keys, and keys have no bias."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.query, self.value, self.output = (nn.Linear(width, width) for _ in range(3))
        self.key = nn.Linear(width, width, bias=False)

    def forward(self, x, source, mask=None):
        q, k, v = (heads_of(part, self.heads) for part in (self.query(x), self.key(source), self.value(source)))
        scale = q.shape[-1] ** -0.25
        scores = (q * scale) @ (k * scale).transpose(-1, -2)
        if mask is not None:
            scores = scores + mask[: x.shape[1], : x.shape[1]]
        return self.output(joined(scores.softmax(-1) @ v))


class WhisperEncoder(nn.Module):
    """Radford et al. 2022 at the tiny size: 4 layers of 384 with 6 heads. mel: (B, 80, T)."""

    def __init__(self, width=384, depth=4, heads=6, length=1500):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(80, width, 3, padding=1), nn.Conv1d(width, width, 3, 2, 1)
        rates = torch.exp(-math.log(10000) / (width // 2 - 1) * torch.arange(width // 2))
        angles = torch.arange(length)[:, None] * rates
        self.register_buffer("places", torch.cat([angles.sin(), angles.cos()], 1))
        self.layers = nn.ModuleList(WhisperLayer(width, heads, False) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, mel):
        x = F.gelu(self.conv2(F.gelu(self.conv1(mel)))).transpose(1, 2)
        x = x + self.places[: x.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


class WhisperDecoder(nn.Module):
    """ids: (B, T) integers, sound: (B, S, 384) from the encoder. Returns logits (B, T, vocabulary)."""

    def __init__(self, width=384, depth=4, heads=6, vocabulary=51865, length=448):
        super().__init__()
        self.words, self.places = nn.Embedding(vocabulary, width), nn.Parameter(torch.randn(length, width) * 0.01)
        self.layers = nn.ModuleList(WhisperLayer(width, heads, True) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.register_buffer("mask", torch.full((length, length), -math.inf).triu(1))

    def forward(self, ids, sound):
        x = self.words(ids) + self.places[: ids.shape[1]]
        for layer in self.layers:
            x = layer(x, sound, self.mask)
        return F.linear(self.norm(x), self.words.weight)


class Tagger(nn.Module):
    """Two bidirectional LSTM layers over words, and a score per tag."""

    def __init__(self, vocabulary=1000, width=100, hidden=128, tags=17):
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.lstm = nn.LSTM(width, hidden, 2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(2 * hidden, tags)

    def forward(self, ids):
        states, (last, _) = self.lstm(self.words(ids))
        return self.head(states).log_softmax(-1), last

# SPDX-License-Identifier: Apache-2.0
"""A decoder-only transformer over characters (Radford et al. 2019)."""

from __future__ import annotations

import penlight.nn.functional as F
from penlight.nn.activation import Dropout
from penlight.nn.container import ModuleList
from penlight.nn.linear import Embedding, Linear
from penlight.nn.module import Module
from penlight.nn.norm import LayerNorm
from penlight.ops.create import arange
from penlight.tensor import Tensor


class Block(Module):
    """x + attention(norm(x)), then x + perceptron(norm(x))."""

    def __init__(self, size: int, heads: int, dropout: float):
        self.heads = heads
        self.norm1, self.norm2 = LayerNorm(size), LayerNorm(size)
        self.qkv, self.proj = Linear(size, 3 * size), Linear(size, size)
        self.up, self.down = Linear(size, 4 * size), Linear(4 * size, size)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.attend(self.norm1(x)))
        return x + self.dropout(self.down(F.gelu(self.up(self.norm2(x)))))

    def attend(self, x: Tensor) -> Tensor:
        batch, length, size = x.shape
        packed = self.qkv(x).reshape(batch, length, 3, self.heads, size // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = packed[0], packed[1], packed[2]  # (B, H, T, D) each
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.proj(mixed.transpose(1, 2).reshape(batch, length, size))


class CharGPT(Module):
    """Ids (B, T) with T <= context to logits (B, T, vocabulary)."""

    def __init__(self, vocabulary: int, context: int = 128, size: int = 128, layers: int = 4, heads: int = 4, dropout: float = 0.0):
        self.context = context
        self.token, self.position = Embedding(vocabulary, size), Embedding(context, size)
        self.blocks = ModuleList([Block(size, heads, dropout) for _ in range(layers)])
        self.norm = LayerNorm(size)
        self.head = Linear(size, vocabulary, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.token(ids) + self.position(arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))

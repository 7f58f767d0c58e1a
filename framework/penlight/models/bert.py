# SPDX-License-Identifier: Apache-2.0
"""BERT (Devlin et al. 2018) with the key names of Hugging Face's BertModel, so that its published weights load.

A file of a model with a head (BertForMaskedLM and the like) has the same names after the prefix "bert.".
"""

from __future__ import annotations

import math

import penlight.nn.functional as F
from penlight.nn.activation import Dropout
from penlight.nn.container import ModuleList
from penlight.nn.linear import Embedding, Linear
from penlight.nn.module import Module
from penlight.nn.norm import LayerNorm
from penlight.ops.create import arange
from penlight.tensor import Tensor

_EPS = 1e-12  # of BERT's layer norms
_HIDDEN = -1e9  # added to the scores of padding


class BertModel(Module):
    """Token ids (B, T) to hidden states (B, T, E) and a summary (B, E) of each sequence.

    Args:
        vocabulary: how many token ids there are.
        size: E; layers, heads, intermediate: as in the paper; the defaults are BERT-base.
        positions: the longest sequence; types: how many kinds of segments.
        dropout: probability of dropping an activation in training.
    """

    def __init__(
        self,
        vocabulary: int = 30522,
        size: int = 768,
        layers: int = 12,
        heads: int = 12,
        intermediate: int = 3072,
        positions: int = 512,
        types: int = 2,
        dropout: float = 0.1,
    ):
        self.embeddings = BertEmbeddings(vocabulary, size, positions, types, dropout)
        self.encoder = BertEncoder(size, layers, heads, intermediate, dropout)
        self.pooler = BertPooler(size)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns hidden states and summary.

        Args:
            input_ids: (B, T), int64.
            attention_mask: (B, T), 1 for tokens and 0 for padding.
            token_type_ids: (B, T), int64, the segment of each token; 0 by default.
        """
        x = self.embeddings(input_ids, token_type_ids)
        mask = None
        if attention_mask is not None:
            mask = ((1 - attention_mask.to(x.dtype)) * _HIDDEN).unsqueeze(1).unsqueeze(1)  # (B, 1, 1, T)
        x = self.encoder(x, mask)
        return x, self.pooler(x)


class BertEmbeddings(Module):
    """The sum of what a token is, where it stands and which segment it is in, normalised."""

    def __init__(self, vocabulary: int, size: int, positions: int, types: int, dropout: float):
        self.word_embeddings = Embedding(vocabulary, size)
        self.position_embeddings = Embedding(positions, size)
        self.token_type_embeddings = Embedding(types, size)
        self.LayerNorm = LayerNorm(size, eps=_EPS)
        self.dropout = Dropout(dropout)

    def forward(self, ids: Tensor, types: Tensor | None = None) -> Tensor:
        place = self.position_embeddings(arange(ids.shape[1], device=ids.device))
        kind = self.token_type_embeddings(ids * 0 if types is None else types)
        return self.dropout(self.LayerNorm(self.word_embeddings(ids) + kind + place))


class BertEncoder(Module):
    """The layers, one after the other."""

    def __init__(self, size: int, layers: int, heads: int, intermediate: int, dropout: float):
        self.layer = ModuleList([BertLayer(size, heads, intermediate, dropout) for _ in range(layers)])

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for layer in self.layer:
            x = layer(x, mask)
        return x


class BertLayer(Module):
    """Attention and a feed-forward part, each added to its input and normalised after that."""

    def __init__(self, size: int, heads: int, intermediate: int, dropout: float):
        self.attention = BertAttention(size, heads, dropout)
        self.intermediate = BertIntermediate(size, intermediate)
        self.output = BertOutput(intermediate, size, dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.attention(x, mask)
        return self.output(self.intermediate(x), x)


class BertAttention(Module):
    """Self-attention with its output projection; its part is called "self" in the files."""

    def __init__(self, size: int, heads: int, dropout: float):
        self.self = BertSelfAttention(size, heads)
        self.output = BertOutput(size, size, dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.output(self.self(x, mask), x)


class BertSelfAttention(Module):
    """softmax(q k^T / sqrt(D) + mask) v in several heads."""

    def __init__(self, size: int, heads: int):
        if size % heads:
            raise ValueError(f"BertModel: heads={heads} must divide size={size}")
        self.heads = heads
        self.query, self.key, self.value = Linear(size, size), Linear(size, size), Linear(size, size)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))  # (B, H, T, D) each
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1 / math.sqrt(q.shape[-1]))
        return mixed.transpose(1, 2).reshape(x.shape)

    def split(self, x: Tensor) -> Tensor:
        """(B, T, E) to (B, H, T, D)"""
        batch, length, size = x.shape
        return x.reshape(batch, length, self.heads, size // self.heads).transpose(1, 2)


class BertIntermediate(Module):
    """The wide half of the feed-forward part."""

    def __init__(self, size: int, intermediate: int):
        self.dense = Linear(size, intermediate)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.dense(x))


class BertOutput(Module):
    """A projection, added to the shortcut and normalised."""

    def __init__(self, inputs: int, size: int, dropout: float):
        self.dense = Linear(inputs, size)
        self.LayerNorm = LayerNorm(size, eps=_EPS)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, shortcut: Tensor) -> Tensor:
        return self.LayerNorm(self.dropout(self.dense(x)) + shortcut)


class BertPooler(Module):
    """The first token's state, through a tanh layer."""

    def __init__(self, size: int):
        self.dense = Linear(size, size)

    def forward(self, x: Tensor) -> Tensor:
        return F.tanh(self.dense(x[:, 0]))

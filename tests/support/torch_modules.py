# SPDX-License-Identifier: Apache-2.0
"""PyTorch's ModuleInfo table, and its modules and inputs as ours."""

import torch
from torch_databases import module_db

import penlight as pl

INFOS = {info.name.removeprefix("nn."): info for info in module_db}
DTYPES = {torch.float64: pl.float64, torch.float32: pl.float32, torch.int64: pl.int64, torch.bool: pl.bool}


def translate(value):
    """The same thing on our side: tensors are copied, torch's functions and modules found by name."""
    if isinstance(value, torch.Tensor):
        ours = pl.tensor(value.detach().numpy().copy())
        return ours.requires_grad_() if value.requires_grad else ours
    if isinstance(value, torch.nn.utils.rnn.PackedSequence):
        return pl.nn.utils.rnn.PackedSequence(*map(translate, value))
    if isinstance(value, torch.dtype):
        return DTYPES[value]
    if isinstance(value, torch.nn.TransformerEncoderLayer):  # the encoder is built from one
        sizes = (value.self_attn.embed_dim, value.self_attn.num_heads, value.linear1.out_features, value.dropout.p)
        activation = {torch.nn.functional.gelu: "gelu"}.get(value.activation, "relu")
        more = {"batch_first": value.self_attn.batch_first, "norm_first": value.norm_first}
        return pl.nn.TransformerEncoderLayer(*sizes, activation, bias=value.linear1.bias is not None, **more)
    if callable(value) and hasattr(value, "__name__") and not isinstance(value, type):
        return getattr(pl.nn.functional, value.__name__, None) or getattr(pl, value.__name__)
    return value


def flat(value, kind):
    """All tensors in nested results, in order."""
    if isinstance(value, kind):
        return [value]
    if isinstance(value, (tuple, list)):
        return [tensor for item in value for tensor in flat(item, kind)]
    return []

# SPDX-License-Identifier: Apache-2.0
"""Composites of losses that are operators of their own."""

from __future__ import annotations

from typing import Any

import penlight as pl
import penlight.nn.functional as F
from penlight.tensor import Tensor
from penlight_export.onnx.composites.registry import composite


@composite("cross_entropy")
def cross_entropy(operator: Any, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The log-probability of the target, with smoothing, 0 where the target is ignored."""
    logp = F.log_softmax(x, 1)
    kept = target != operator.ignore_index
    loss = -logp.gather(1, pl.where(kept, target, pl.zeros_like(target)).to(pl.int64).unsqueeze(1)).squeeze(1)
    if operator.label_smoothing:
        loss = loss * (1 - operator.label_smoothing) - logp.mean(1) * operator.label_smoothing
    return pl.where(kept, loss, pl.zeros_like(loss)), logp

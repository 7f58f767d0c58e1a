# SPDX-License-Identifier: Apache-2.0
"""Which operators autocast runs in which type, per device: PyTorch's lists.

https://docs.pytorch.org/docs/stable/amp.html. What is in no list runs in the type of its inputs. Names of operators are
those of the registry; names of functions are those marked `@under_autocast`, which would else fall apart into operators.
One difference: padding by reflection or replication computes nothing, and keeps its input's type on the CPU too.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Lists:
    """The operators and functions with a type of their own.

    Attributes:
        lower: in the type of autocast: few digits cost little here, and the time goes here.
        float32: in float32: sums, differences and logarithms lose too much otherwise.
        widest: in the widest type among the inputs.
    """

    lower: frozenset[str]
    float32: frozenset[str]
    widest: frozenset[str]


_PRODUCTS = frozenset(
    {
        "attention",
        "conv2d",
        "conv2d_input_grad",
        "conv2d_weight_grad",
        "flash_attention",
        "linear",
        "lstm",
        "matmul",
        "prelu",
    }
)
_FACTORS = frozenset({"cholesky", "cond", "det", "eig", "eigh", "fft", "inverse", "lu", "pinv", "qr", "slogdet", "solve", "svd"})
_LOSSES = frozenset(
    {
        "binary_cross_entropy_with_logits",
        "cosine_embedding_loss",
        "cross_entropy",
        "hinge_embedding_loss",
        "kl_div",
        "l1_loss",
        "margin_ranking_loss",
        "mse_loss",
        "multi_margin_loss",
        "multilabel_margin_loss",
        "nll_loss",
        "poisson_nll_loss",
        "smooth_l1_loss",
        "soft_margin_loss",
        "triplet_margin_loss",
    }
)

_WIDEST = frozenset({"cat", "gru", "rnn"})  # PyTorch's gates, products and the state together, come out as the state

CPU = Lists(
    lower=_PRODUCTS,
    float32=_FACTORS
    | _LOSSES
    | {"adaptive_avg_pool3d", "adaptive_max_pool3d", "avg_pool3d", "fractional_max_pool2d", "fractional_max_pool3d", "max_pool3d"}
    | {"binary_cross_entropy", "cdist", "ctc_loss", "grid_sample", "huber_loss", "local_response_norm", "nanquantile"}
    | {"prod", "quantile", "trace"},
    widest=_WIDEST,
)

CUDA = Lists(
    lower=_PRODUCTS,
    float32=_FACTORS
    | _LOSSES
    | {"acos", "asin", "cosh", "sinh", "tan", "erfinv", "exp", "expm1", "log", "log10", "log1p", "log2", "log_softmax", "softmax"}
    | {"pow", "pow_scalar", "reciprocal", "rsqrt", "softplus", "cumprod", "cumsum", "prod", "sum", "layer_norm", "rms_norm"}
    | {"binary_cross_entropy", "cdist", "ctc_loss"},
    widest=_WIDEST | {"atan2", "grid_sample", "advanced_index_put", "scatter_add"},
)

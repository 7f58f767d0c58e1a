# SPDX-License-Identifier: Apache-2.0
"""The further losses as modules: each calls the function of the same name with its attributes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import penlight.nn.functional as F
from penlight.nn.loss import _Loss
from penlight.tensor import Tensor


class _PlainLoss(_Loss):
    """Calls `function` with the values of `arguments`, which are attributes."""

    function: str
    arguments: tuple[str, ...] = ()

    def forward(self, *tensors: Tensor) -> Tensor:
        settings = {name: getattr(self, name) for name in self.arguments}
        return getattr(F, self.function)(*tensors, reduction=self.reduction, **settings)


class _Weighted(_PlainLoss):
    arguments = ("weight",)

    def __init__(self, weight: Tensor | None = None, reduction: str = "mean"):
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.weight: Tensor | None


class BCELoss(_Weighted):
    """-(y log(x) + (1 - y) log(1 - x)) of probabilities; prefer `BCEWithLogitsLoss`, which is exact."""

    function = "binary_cross_entropy"


class MultiLabelSoftMarginLoss(_Weighted):
    """Mean over classes of -(y log sigmoid(x) + (1 - y) log sigmoid(-x)); weight: (C,)."""

    function = "multilabel_soft_margin_loss"


class SoftMarginLoss(_PlainLoss):
    """log(1 + exp(-y * x)) for targets of -1 and 1."""

    function = "soft_margin_loss"


class MultiLabelMarginLoss(_PlainLoss):
    """sum over labels j and other classes i of max(0, 1 - (x[j] - x[i])) / C."""

    function = "multilabel_margin_loss"


class SmoothL1Loss(_PlainLoss):
    """0.5 * d^2 / beta where |d| < beta, else |d| - 0.5 * beta."""

    function, arguments = "smooth_l1_loss", ("beta",)

    def __init__(self, reduction: str = "mean", beta: float = 1.0):
        super().__init__(reduction)
        self.beta = beta


class HuberLoss(_PlainLoss):
    """0.5 * d^2 where |d| < delta, else delta * (|d| - 0.5 * delta) (Huber 1964)."""

    function, arguments = "huber_loss", ("delta",)

    def __init__(self, reduction: str = "mean", delta: float = 1.0):
        super().__init__(reduction)
        self.delta = delta


class KLDivLoss(_PlainLoss):
    """y * (log(y) - x), with x = logarithms; reduction "batchmean" is the divergence proper."""

    function, arguments = "kl_div", ("log_target",)

    def __init__(self, reduction: str = "mean", log_target: bool = False):
        super().__init__("mean" if reduction == "batchmean" else reduction)
        self.reduction, self.log_target = reduction, log_target


class PoissonNLLLoss(_PlainLoss):
    """exp(x) - y * x of counts y; arguments as `functional.poisson_nll_loss`."""

    function, arguments = "poisson_nll_loss", ("log_input", "full", "eps")

    def __init__(self, log_input: bool = True, full: bool = False, eps: float = 1e-8, reduction: str = "mean"):
        super().__init__(reduction)
        self.log_input, self.full, self.eps = log_input, full, eps


class GaussianNLLLoss(_PlainLoss):
    """0.5 * (log(var) + (x - y)^2 / var); called with input, target and var."""

    function, arguments = "gaussian_nll_loss", ("full", "eps")

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean"):
        super().__init__(reduction)
        self.full, self.eps = full, eps


class _MarginLoss(_PlainLoss):
    arguments = ("margin",)
    default = 0.0

    def __init__(self, margin: float | None = None, reduction: str = "mean"):
        super().__init__(reduction)
        self.margin = self.default if margin is None else margin


class MarginRankingLoss(_MarginLoss):
    """max(0, -y * (x1 - x2) + margin); the margin is 0 by default."""

    function = "margin_ranking_loss"


class HingeEmbeddingLoss(_MarginLoss):
    """x where y = 1 and max(0, margin - x) where y = -1; the margin is 1 by default."""

    function, default = "hinge_embedding_loss", 1.0


class CosineEmbeddingLoss(_MarginLoss):
    """1 - cos where y = 1 and max(0, cos - margin) where y = -1; the margin is 0 by default."""

    function = "cosine_embedding_loss"


class MultiMarginLoss(_PlainLoss):
    """sum over i != y of max(0, margin - x[y] + x[i])^p / C."""

    function, arguments = "multi_margin_loss", ("p", "margin", "weight")

    def __init__(self, p: int = 1, margin: float = 1.0, weight: Tensor | None = None, reduction: str = "mean"):
        super().__init__(reduction)
        self.p, self.margin = p, margin
        self.register_buffer("weight", weight)
        self.weight: Tensor | None


class TripletMarginLoss(_PlainLoss):
    """max(0, |a - p| - |a - n| + margin); arguments as `functional.triplet_margin_loss`."""

    function, arguments = "triplet_margin_loss", ("margin", "p", "eps", "swap")

    def __init__(self, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6, swap: bool = False, reduction: str = "mean"):
        super().__init__(reduction)
        self.margin, self.p, self.eps, self.swap = margin, p, eps, swap


class TripletMarginWithDistanceLoss(_PlainLoss):
    """`TripletMarginLoss` with a distance of one's own."""

    function, arguments = "triplet_margin_with_distance_loss", ("distance_function", "margin", "swap")

    def __init__(
        self,
        *,
        distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
        margin: float = 1.0,
        swap: bool = False,
        reduction: str = "mean",
    ):
        super().__init__(reduction)
        self.distance_function: Any = distance_function
        self.margin, self.swap = margin, swap


class CTCLoss(_PlainLoss):
    """Minus the log-probability of a label sequence over all alignments (Graves et al. 2006); see `functional.ctc_loss`."""

    function, arguments = "ctc_loss", ("blank", "zero_infinity")

    def __init__(self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False):
        super().__init__(reduction)
        self.blank, self.zero_infinity = blank, zero_infinity

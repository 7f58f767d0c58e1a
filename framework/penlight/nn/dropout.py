# SPDX-License-Identifier: Apache-2.0
"""The kinds of dropout that drop channels, or keep mean and variance."""

from __future__ import annotations

import penlight.nn.functional as F
from penlight.nn.activation import Dropout
from penlight.tensor import Tensor


class Dropout1d(Dropout):
    """In training mode sets whole channels of (N, C, L) or (C, L) to zero with probability p."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout1d(x, self.p, self.training)


class Dropout2d(Dropout):
    """In training mode sets whole channels of (N, C, H, W) to zero with probability p."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout2d(x, self.p, self.training)


class Dropout3d(Dropout):
    """In training mode sets whole channels of (N, C, D, H, W) or (C, D, H, W) to zero with probability p."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout3d(x, self.p, self.training)


class AlphaDropout(Dropout):
    """Dropout for SELU networks: mean and variance stay as they are (Klambauer et al. 2017)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.alpha_dropout(x, self.p, self.training)


class FeatureAlphaDropout(Dropout):
    """`AlphaDropout` of whole channels."""

    def forward(self, x: Tensor) -> Tensor:
        return F.feature_alpha_dropout(x, self.p, self.training)

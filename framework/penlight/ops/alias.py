# SPDX-License-Identifier: Apache-2.0
"""PyTorch's second names of functions."""

from penlight.ops.activation import sigmoid
from penlight.ops.gamma import digamma, lgamma, multigammaln

expit = sigmoid
gammaln = lgamma
mvlgamma = multigammaln
psi = digamma

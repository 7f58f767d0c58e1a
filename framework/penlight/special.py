# SPDX-License-Identifier: Apache-2.0
"""Special functions: `penlight.special`, with PyTorch's names."""

from penlight.ops import out as _out
from penlight.ops.alias import expit as expit
from penlight.ops.alias import gammaln as gammaln
from penlight.ops.alias import psi as psi
from penlight.ops.bessel import i0 as i0
from penlight.ops.bessel import i0e as i0e
from penlight.ops.bessel import i1 as i1
from penlight.ops.bessel import i1e as i1e
from penlight.ops.elementwise import erf as erf
from penlight.ops.elementwise import expm1 as expm1
from penlight.ops.elementwise import log1p as log1p
from penlight.ops.gamma import digamma as digamma
from penlight.ops.gamma import multigammaln as multigammaln
from penlight.ops.gamma import polygamma as polygamma
from penlight.ops.gamma import zeta as zeta
from penlight.ops.rounding import round as round
from penlight.ops.scaled_erf import erfcx as erfcx
from penlight.ops.scaled_erf import log_ndtr as log_ndtr
from penlight.ops.softmax import log_softmax as log_softmax
from penlight.ops.softmax import logsumexp as logsumexp
from penlight.ops.softmax import softmax as softmax
from penlight.ops.special import entr as entr
from penlight.ops.special import erfc as erfc
from penlight.ops.special import erfinv as erfinv
from penlight.ops.special import exp2 as exp2
from penlight.ops.special import logit as logit
from penlight.ops.special import ndtr as ndtr
from penlight.ops.special import ndtri as ndtri
from penlight.ops.special import sinc as sinc
from penlight.ops.special import xlog1py as xlog1py
from penlight.ops.special import xlogy as xlogy

_out.accept_out(globals(), _out.SPECIAL)

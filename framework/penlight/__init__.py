# SPDX-License-Identifier: Apache-2.0
"""Penlight, a torch that fits in a pocket: `import penlight as pl`."""

import importlib as _importlib
import typing as _typing

try:
    _importlib.import_module("penlight._native")
except ModuleNotFoundError as _error:
    if _error.name != "penlight._native":
        raise
    raise ImportError(
        "penlight: the compiled module penlight._native is missing from " + __path__[0] + "; this is a source tree that was not "
        "built: run `pip install .` in its root, and Python outside of it"
    ) from None

from penlight import autograd as autograd
from penlight import fft as fft
from penlight import linalg as linalg
from penlight import masked as masked
from penlight import second_names as _second_names
from penlight import special as special
from penlight.autograd import enable_grad as enable_grad
from penlight.autograd import inference_mode as inference_mode
from penlight.autograd import is_grad_enabled as is_grad_enabled
from penlight.autograd import is_inference_mode_enabled as is_inference_mode_enabled
from penlight.autograd import no_grad as no_grad
from penlight.autograd import set_grad_enabled as set_grad_enabled
from penlight.backends.cpu import get_num_threads as get_num_threads
from penlight.backends.cpu import set_num_threads as set_num_threads
from penlight.device import device as device
from penlight.dtype import bfloat16 as bfloat16
from penlight.dtype import bool_ as bool  # noqa: F401  PyTorch's name; the builtin is shadowed in this namespace only
from penlight.dtype import complex64 as complex64
from penlight.dtype import complex128 as complex128
from penlight.dtype import dtype as dtype
from penlight.dtype import float16 as float16
from penlight.dtype import float32 as float32
from penlight.dtype import float64 as float64
from penlight.dtype import int8 as int8
from penlight.dtype import int16 as int16
from penlight.dtype import int32 as int32
from penlight.dtype import int64 as int64
from penlight.dtype import uint8 as uint8
from penlight.dtype import uint16 as uint16
from penlight.dtype import uint32 as uint32
from penlight.dtype import uint64 as uint64
from penlight.errors import PenlightError as PenlightError
from penlight.layout import channels_last as channels_last
from penlight.layout import channels_last_3d as channels_last_3d
from penlight.layout import contiguous_format as contiguous_format
from penlight.layout import memory_format as memory_format
from penlight.layout import preserve_format as preserve_format
from penlight.ops import methods as _methods  # noqa: F401  attaches the operators to Tensor
from penlight.ops import out as _out
from penlight.ops import variants as _variants  # noqa: F401  and their in-place forms
from penlight.ops.activation import relu as relu
from penlight.ops.activation import sigmoid as sigmoid
from penlight.ops.activation import tanh as tanh
from penlight.ops.alias import absolute as absolute
from penlight.ops.alias import arccos as arccos
from penlight.ops.alias import arccosh as arccosh
from penlight.ops.alias import arcsin as arcsin
from penlight.ops.alias import arcsinh as arcsinh
from penlight.ops.alias import arctan as arctan
from penlight.ops.alias import arctan2 as arctan2
from penlight.ops.alias import arctanh as arctanh
from penlight.ops.alias import clip as clip
from penlight.ops.alias import concat as concat
from penlight.ops.alias import concatenate as concatenate
from penlight.ops.alias import divide as divide
from penlight.ops.alias import equal as equal
from penlight.ops.alias import fix as fix
from penlight.ops.alias import ger as ger
from penlight.ops.alias import greater as greater
from penlight.ops.alias import greater_equal as greater_equal
from penlight.ops.alias import is_floating_point as is_floating_point
from penlight.ops.alias import is_tensor as is_tensor
from penlight.ops.alias import less as less
from penlight.ops.alias import less_equal as less_equal
from penlight.ops.alias import moveaxis as moveaxis
from penlight.ops.alias import multiply as multiply
from penlight.ops.alias import mvlgamma as mvlgamma
from penlight.ops.alias import negative as negative
from penlight.ops.alias import not_equal as not_equal
from penlight.ops.alias import numel as numel
from penlight.ops.alias import result_type as result_type
from penlight.ops.alias import row_stack as row_stack
from penlight.ops.alias import subtract as subtract
from penlight.ops.alias import swapaxes as swapaxes
from penlight.ops.alias import swapdims as swapdims
from penlight.ops.alias import t as t
from penlight.ops.alias import where as where
from penlight.ops.arithmetic import add as add
from penlight.ops.arithmetic import clamp as clamp
from penlight.ops.arithmetic import div as div
from penlight.ops.arithmetic import floor_divide as floor_divide
from penlight.ops.arithmetic import maximum as maximum
from penlight.ops.arithmetic import minimum as minimum
from penlight.ops.arithmetic import mul as mul
from penlight.ops.arithmetic import pow as pow
from penlight.ops.arithmetic import remainder as remainder
from penlight.ops.arithmetic import square as square
from penlight.ops.arithmetic import sub as sub
from penlight.ops.bessel import i0 as i0
from penlight.ops.bitwise import bitwise_and as bitwise_and
from penlight.ops.bitwise import bitwise_left_shift as bitwise_left_shift
from penlight.ops.bitwise import bitwise_not as bitwise_not
from penlight.ops.bitwise import bitwise_or as bitwise_or
from penlight.ops.bitwise import bitwise_right_shift as bitwise_right_shift
from penlight.ops.bitwise import bitwise_xor as bitwise_xor
from penlight.ops.blend import addbmm as addbmm
from penlight.ops.blend import addcdiv as addcdiv
from penlight.ops.blend import addcmul as addcmul
from penlight.ops.blend import addmm as addmm
from penlight.ops.blend import addmv as addmv
from penlight.ops.blend import addr as addr
from penlight.ops.blend import allclose as allclose
from penlight.ops.blend import baddbmm as baddbmm
from penlight.ops.blend import clamp_max as clamp_max
from penlight.ops.blend import clamp_min as clamp_min
from penlight.ops.blend import cross as cross
from penlight.ops.blend import deg2rad as deg2rad
from penlight.ops.blend import float_power as float_power
from penlight.ops.blend import fmax as fmax
from penlight.ops.blend import fmin as fmin
from penlight.ops.blend import heaviside as heaviside
from penlight.ops.blend import hypot as hypot
from penlight.ops.blend import inner as inner
from penlight.ops.blend import isclose as isclose
from penlight.ops.blend import isneginf as isneginf
from penlight.ops.blend import isposinf as isposinf
from penlight.ops.blend import isreal as isreal
from penlight.ops.blend import kron as kron
from penlight.ops.blend import lerp as lerp
from penlight.ops.blend import mv as mv
from penlight.ops.blend import nan_to_num as nan_to_num
from penlight.ops.blend import positive as positive
from penlight.ops.blend import rad2deg as rad2deg
from penlight.ops.blend import rsub as rsub
from penlight.ops.blend import sgn as sgn
from penlight.ops.blend import tensordot as tensordot
from penlight.ops.blend import vdot as vdot
from penlight.ops.compare import eq as eq
from penlight.ops.compare import ge as ge
from penlight.ops.compare import gt as gt
from penlight.ops.compare import isfinite as isfinite
from penlight.ops.compare import isinf as isinf
from penlight.ops.compare import isnan as isnan
from penlight.ops.compare import le as le
from penlight.ops.compare import logical_and as logical_and
from penlight.ops.compare import logical_not as logical_not
from penlight.ops.compare import logical_or as logical_or
from penlight.ops.compare import logical_xor as logical_xor
from penlight.ops.compare import lt as lt
from penlight.ops.compare import ne as ne
from penlight.ops.complex_parts import angle as angle
from penlight.ops.complex_parts import complex as complex  # PyTorch's name; the builtin is shadowed in this namespace only
from penlight.ops.complex_parts import conj as conj
from penlight.ops.complex_parts import conj_physical as conj_physical
from penlight.ops.complex_parts import imag as imag
from penlight.ops.complex_parts import is_complex as is_complex
from penlight.ops.complex_parts import polar as polar
from penlight.ops.complex_parts import real as real
from penlight.ops.complex_parts import resolve_conj as resolve_conj
from penlight.ops.complex_parts import view_as_complex as view_as_complex
from penlight.ops.complex_parts import view_as_real as view_as_real
from penlight.ops.convert import clone as clone
from penlight.ops.count import bincount as bincount
from penlight.ops.count import bucketize as bucketize
from penlight.ops.count import gcd as gcd
from penlight.ops.count import histc as histc
from penlight.ops.count import histogram as histogram
from penlight.ops.count import isin as isin
from penlight.ops.count import lcm as lcm
from penlight.ops.count import logspace as logspace
from penlight.ops.count import searchsorted as searchsorted
from penlight.ops.count import unique as unique
from penlight.ops.count import unique_consecutive as unique_consecutive
from penlight.ops.create import arange as arange
from penlight.ops.create import empty as empty
from penlight.ops.create import empty_like as empty_like
from penlight.ops.create import eye as eye
from penlight.ops.create import full as full
from penlight.ops.create import full_like as full_like
from penlight.ops.create import linspace as linspace
from penlight.ops.create import ones as ones
from penlight.ops.create import ones_like as ones_like
from penlight.ops.create import zeros as zeros
from penlight.ops.create import zeros_like as zeros_like
from penlight.ops.cumulative import cummax as cummax
from penlight.ops.cumulative import cummin as cummin
from penlight.ops.cumulative import cumprod as cumprod
from penlight.ops.cumulative import cumulative_trapezoid as cumulative_trapezoid
from penlight.ops.cumulative import diff as diff
from penlight.ops.cumulative import gradient as gradient
from penlight.ops.cumulative import logcumsumexp as logcumsumexp
from penlight.ops.cumulative import trapezoid as trapezoid
from penlight.ops.cumulative import trapz as trapz
from penlight.ops.einsum import einsum as einsum
from penlight.ops.elementwise import abs as abs
from penlight.ops.elementwise import ceil as ceil
from penlight.ops.elementwise import cos as cos
from penlight.ops.elementwise import erf as erf
from penlight.ops.elementwise import exp as exp
from penlight.ops.elementwise import expm1 as expm1
from penlight.ops.elementwise import floor as floor
from penlight.ops.elementwise import log as log
from penlight.ops.elementwise import log1p as log1p
from penlight.ops.elementwise import neg as neg
from penlight.ops.elementwise import reciprocal as reciprocal
from penlight.ops.elementwise import rsqrt as rsqrt
from penlight.ops.elementwise import sign as sign
from penlight.ops.elementwise import sin as sin
from penlight.ops.elementwise import sqrt as sqrt
from penlight.ops.factor import cholesky as cholesky
from penlight.ops.factor import inverse as inverse
from penlight.ops.factor import logdet as logdet
from penlight.ops.factor import norm as norm
from penlight.ops.factor import pinverse as pinverse
from penlight.ops.factor import qr as qr
from penlight.ops.factor import svd as svd
from penlight.ops.gamma import digamma as digamma
from penlight.ops.gamma import lgamma as lgamma
from penlight.ops.gamma import polygamma as polygamma
from penlight.ops.gather import gather as gather
from penlight.ops.gather import index_select as index_select
from penlight.ops.gather import scatter_add as scatter_add
from penlight.ops.gather import take_along_dim as take_along_dim
from penlight.ops.grid import grid_sampler_2d as grid_sampler_2d
from penlight.ops.grid import grid_sampler_3d as grid_sampler_3d
from penlight.ops.mask import argwhere as argwhere
from penlight.ops.mask import masked_fill as masked_fill
from penlight.ops.mask import masked_select as masked_select
from penlight.ops.mask import nonzero as nonzero
from penlight.ops.mask import tril as tril
from penlight.ops.mask import triu as triu
from penlight.ops.matmul import bmm as bmm
from penlight.ops.matmul import dot as dot
from penlight.ops.matmul import matmul as matmul
from penlight.ops.matmul import mm as mm
from penlight.ops.matmul import outer as outer
from penlight.ops.matrix import det as det
from penlight.ops.matrix import matrix_exp as matrix_exp
from penlight.ops.matrix import matrix_power as matrix_power
from penlight.ops.matrix import slogdet as slogdet
from penlight.ops.native_norm import native_batch_norm as native_batch_norm
from penlight.ops.native_norm import native_group_norm as native_group_norm
from penlight.ops.native_norm import native_layer_norm as native_layer_norm
from penlight.ops.pair_distance import cdist as cdist
from penlight.ops.rearrange import atleast_1d as atleast_1d
from penlight.ops.rearrange import atleast_2d as atleast_2d
from penlight.ops.rearrange import atleast_3d as atleast_3d
from penlight.ops.rearrange import block_diag as block_diag
from penlight.ops.rearrange import broadcast_shapes as broadcast_shapes
from penlight.ops.rearrange import broadcast_tensors as broadcast_tensors
from penlight.ops.rearrange import broadcast_to as broadcast_to
from penlight.ops.rearrange import cartesian_prod as cartesian_prod
from penlight.ops.rearrange import column_stack as column_stack
from penlight.ops.rearrange import combinations as combinations
from penlight.ops.rearrange import constant_pad_nd as constant_pad_nd
from penlight.ops.rearrange import diag as diag
from penlight.ops.rearrange import diag_embed as diag_embed
from penlight.ops.rearrange import diagflat as diagflat
from penlight.ops.rearrange import diagonal as diagonal
from penlight.ops.rearrange import diagonal_scatter as diagonal_scatter
from penlight.ops.rearrange import dsplit as dsplit
from penlight.ops.rearrange import dstack as dstack
from penlight.ops.rearrange import fliplr as fliplr
from penlight.ops.rearrange import flipud as flipud
from penlight.ops.rearrange import hsplit as hsplit
from penlight.ops.rearrange import hstack as hstack
from penlight.ops.rearrange import meshgrid as meshgrid
from penlight.ops.rearrange import movedim as movedim
from penlight.ops.rearrange import ravel as ravel
from penlight.ops.rearrange import repeat_interleave as repeat_interleave
from penlight.ops.rearrange import rot90 as rot90
from penlight.ops.rearrange import select as select
from penlight.ops.rearrange import select_scatter as select_scatter
from penlight.ops.rearrange import slice_scatter as slice_scatter
from penlight.ops.rearrange import tensor_split as tensor_split
from penlight.ops.rearrange import tile as tile
from penlight.ops.rearrange import trace as trace
from penlight.ops.rearrange import tril_indices as tril_indices
from penlight.ops.rearrange import triu_indices as triu_indices
from penlight.ops.rearrange import unfold as unfold
from penlight.ops.rearrange import unravel_index as unravel_index
from penlight.ops.rearrange import vander as vander
from penlight.ops.rearrange import vsplit as vsplit
from penlight.ops.rearrange import vstack as vstack
from penlight.ops.reduction import all as all
from penlight.ops.reduction import amax as amax
from penlight.ops.reduction import amin as amin
from penlight.ops.reduction import any as any
from penlight.ops.reduction import argmax as argmax
from penlight.ops.reduction import argmin as argmin
from penlight.ops.reduction import cumsum as cumsum
from penlight.ops.reduction import max as max
from penlight.ops.reduction import mean as mean
from penlight.ops.reduction import min as min
from penlight.ops.reduction import prod as prod
from penlight.ops.reduction import std as std
from penlight.ops.reduction import sum as sum
from penlight.ops.reduction import var as var
from penlight.ops.rounding import copysign as copysign
from penlight.ops.rounding import fmod as fmod
from penlight.ops.rounding import frac as frac
from penlight.ops.rounding import nextafter as nextafter
from penlight.ops.rounding import round as round
from penlight.ops.rounding import signbit as signbit
from penlight.ops.rounding import true_divide as true_divide
from penlight.ops.rounding import trunc as trunc
from penlight.ops.scatter import fill as fill
from penlight.ops.scatter import index_add as index_add
from penlight.ops.scatter import index_copy as index_copy
from penlight.ops.scatter import index_fill as index_fill
from penlight.ops.scatter import index_put as index_put
from penlight.ops.scatter import index_reduce as index_reduce
from penlight.ops.scatter import masked_scatter as masked_scatter
from penlight.ops.scatter import scatter as scatter
from penlight.ops.scatter import scatter_reduce as scatter_reduce
from penlight.ops.scatter import take as take
from penlight.ops.shape import cat as cat
from penlight.ops.shape import chunk as chunk
from penlight.ops.shape import flatten as flatten
from penlight.ops.shape import flip as flip
from penlight.ops.shape import narrow as narrow
from penlight.ops.shape import permute as permute
from penlight.ops.shape import repeat as repeat
from penlight.ops.shape import reshape as reshape
from penlight.ops.shape import roll as roll
from penlight.ops.shape import split as split
from penlight.ops.shape import squeeze as squeeze
from penlight.ops.shape import stack as stack
from penlight.ops.shape import transpose as transpose
from penlight.ops.shape import unbind as unbind
from penlight.ops.shape import unflatten as unflatten
from penlight.ops.shape import unsqueeze as unsqueeze
from penlight.ops.short_time import istft as istft
from penlight.ops.short_time import stft as stft
from penlight.ops.softmax import log_softmax as log_softmax
from penlight.ops.softmax import logsumexp as logsumexp
from penlight.ops.softmax import softmax as softmax
from penlight.ops.sort import argsort as argsort
from penlight.ops.sort import sort as sort
from penlight.ops.sort import topk as topk
from penlight.ops.special import erfc as erfc
from penlight.ops.special import erfinv as erfinv
from penlight.ops.special import exp2 as exp2
from penlight.ops.special import log2 as log2
from penlight.ops.special import log10 as log10
from penlight.ops.special import logaddexp as logaddexp
from penlight.ops.special import logaddexp2 as logaddexp2
from penlight.ops.special import logit as logit
from penlight.ops.special import sinc as sinc
from penlight.ops.special import xlogy as xlogy
from penlight.ops.statistics import aminmax as aminmax
from penlight.ops.statistics import corrcoef as corrcoef
from penlight.ops.statistics import count_nonzero as count_nonzero
from penlight.ops.statistics import cov as cov
from penlight.ops.statistics import dist as dist
from penlight.ops.statistics import kthvalue as kthvalue
from penlight.ops.statistics import median as median
from penlight.ops.statistics import mode as mode
from penlight.ops.statistics import msort as msort
from penlight.ops.statistics import nanmean as nanmean
from penlight.ops.statistics import nanmedian as nanmedian
from penlight.ops.statistics import nanquantile as nanquantile
from penlight.ops.statistics import nansum as nansum
from penlight.ops.statistics import quantile as quantile
from penlight.ops.statistics import std_mean as std_mean
from penlight.ops.statistics import var_mean as var_mean
from penlight.ops.strided import as_strided as as_strided
from penlight.ops.strided import as_strided_scatter as as_strided_scatter
from penlight.ops.trigonometry import acos as acos
from penlight.ops.trigonometry import acosh as acosh
from penlight.ops.trigonometry import asin as asin
from penlight.ops.trigonometry import asinh as asinh
from penlight.ops.trigonometry import atan as atan
from penlight.ops.trigonometry import atan2 as atan2
from penlight.ops.trigonometry import atanh as atanh
from penlight.ops.trigonometry import cosh as cosh
from penlight.ops.trigonometry import sinh as sinh
from penlight.ops.trigonometry import tan as tan
from penlight.random import Generator as Generator
from penlight.random import bernoulli as bernoulli
from penlight.random import fork_rng as fork_rng
from penlight.random import get_rng_state as get_rng_state
from penlight.random import manual_seed as manual_seed
from penlight.random import multinomial as multinomial
from penlight.random import rand as rand
from penlight.random import rand_like as rand_like
from penlight.random import randint as randint
from penlight.random import randn as randn
from penlight.random import randn_like as randn_like
from penlight.random import randperm as randperm
from penlight.random import seed as seed
from penlight.random import set_rng_state as set_rng_state
from penlight.tensor import Tensor as Tensor
from penlight.tensor import as_tensor as as_tensor
from penlight.tensor import from_numpy as from_numpy
from penlight.tensor import tensor as tensor

if _typing.TYPE_CHECKING:  # what __getattr__ finds
    from penlight import amp as amp
    from penlight import array_api as array_api
    from penlight import cuda as cuda
    from penlight import data as data
    from penlight import distributed as distributed
    from penlight import func as func
    from penlight import models as models
    from penlight import nn as nn
    from penlight import optim as optim
    from penlight import train as train
    from penlight import utils as utils
    from penlight.amp import autocast as autocast
    from penlight.amp import get_autocast_dtype as get_autocast_dtype
    from penlight.amp import is_autocast_available as is_autocast_available
    from penlight.amp import is_autocast_enabled as is_autocast_enabled
    from penlight.backends.cuda.precision import get_float32_matmul_precision as get_float32_matmul_precision
    from penlight.backends.cuda.precision import set_float32_matmul_precision as set_float32_matmul_precision
    from penlight.constants import Size as Size
    from penlight.constants import e as e
    from penlight.constants import inf as inf
    from penlight.constants import nan as nan
    from penlight.constants import newaxis as newaxis
    from penlight.constants import pi as pi
    from penlight.cuda.capture import compile as compile
    from penlight.dims import Dim as Dim
    from penlight.dtype_names import BFloat16Tensor as BFloat16Tensor
    from penlight.dtype_names import BoolTensor as BoolTensor
    from penlight.dtype_names import ByteTensor as ByteTensor
    from penlight.dtype_names import CharTensor as CharTensor
    from penlight.dtype_names import DoubleTensor as DoubleTensor
    from penlight.dtype_names import FloatTensor as FloatTensor
    from penlight.dtype_names import HalfTensor as HalfTensor
    from penlight.dtype_names import IntTensor as IntTensor
    from penlight.dtype_names import LongTensor as LongTensor
    from penlight.dtype_names import ShortTensor as ShortTensor
    from penlight.dtype_names import can_cast as can_cast
    from penlight.dtype_names import cdouble as cdouble
    from penlight.dtype_names import cfloat as cfloat
    from penlight.dtype_names import double as double
    from penlight.dtype_names import float as float
    from penlight.dtype_names import get_default_dtype as get_default_dtype
    from penlight.dtype_names import half as half
    from penlight.dtype_names import int as int
    from penlight.dtype_names import long as long
    from penlight.dtype_names import promote_types as promote_types
    from penlight.dtype_names import short as short
    from penlight.files import load as load
    from penlight.files import save as save
    from penlight.limits import finfo as finfo
    from penlight.limits import iinfo as iinfo
    from penlight.nn.functional import adaptive_avg_pool1d as adaptive_avg_pool1d
    from penlight.nn.functional import alpha_dropout as alpha_dropout
    from penlight.nn.functional import avg_pool1d as avg_pool1d
    from penlight.nn.functional import celu as celu
    from penlight.nn.functional import celu_ as celu_
    from penlight.nn.functional import channel_shuffle as channel_shuffle
    from penlight.nn.functional import conv1d as conv1d
    from penlight.nn.functional import conv2d as conv2d
    from penlight.nn.functional import conv3d as conv3d
    from penlight.nn.functional import conv_tbc as conv_tbc
    from penlight.nn.functional import conv_transpose1d as conv_transpose1d
    from penlight.nn.functional import conv_transpose2d as conv_transpose2d
    from penlight.nn.functional import conv_transpose3d as conv_transpose3d
    from penlight.nn.functional import cosine_similarity as cosine_similarity
    from penlight.nn.functional import dropout as dropout
    from penlight.nn.functional import feature_alpha_dropout as feature_alpha_dropout
    from penlight.nn.functional import group_norm as group_norm
    from penlight.nn.functional import hardshrink as hardshrink
    from penlight.nn.functional import layer_norm as layer_norm
    from penlight.nn.functional import max_pool1d as max_pool1d
    from penlight.nn.functional import max_pool2d as max_pool2d
    from penlight.nn.functional import max_pool3d as max_pool3d
    from penlight.nn.functional import pairwise_distance as pairwise_distance
    from penlight.nn.functional import pdist as pdist
    from penlight.nn.functional import pixel_shuffle as pixel_shuffle
    from penlight.nn.functional import pixel_unshuffle as pixel_unshuffle
    from penlight.nn.functional import prelu as prelu
    from penlight.nn.functional import relu_ as relu_
    from penlight.nn.functional import rms_norm as rms_norm
    from penlight.nn.functional import rrelu as rrelu
    from penlight.nn.functional import rrelu_ as rrelu_
    from penlight.nn.functional import selu as selu
    from penlight.nn.functional import selu_ as selu_
    from penlight.nn.functional import threshold as threshold
    from penlight.nn.functional import threshold_ as threshold_
    from penlight.ops.control import cond as cond
    from penlight.ops.control import scan as scan
    from penlight.ops.control import while_loop as while_loop
    from penlight.ops.variants import is_nonzero as is_nonzero
    from penlight.ops.variants import is_same_size as is_same_size
    from penlight.ops.variants import is_signed as is_signed
    from penlight.ops.window import bartlett_window as bartlett_window
    from penlight.ops.window import blackman_window as blackman_window
    from penlight.ops.window import hamming_window as hamming_window
    from penlight.ops.window import hann_window as hann_window
    from penlight.ops.window import kaiser_window as kaiser_window
    from penlight.random_fill import initial_seed as initial_seed
    from penlight.random_fill import normal as normal
    from penlight.random_fill import poisson as poisson
    from penlight.random_fill import randint_like as randint_like
    from penlight.serialize import load_safetensors as load_safetensors
    from penlight.serialize import save_safetensors as save_safetensors
    from penlight.switches import are_deterministic_algorithms_enabled as are_deterministic_algorithms_enabled
    from penlight.switches import set_default_dtype as set_default_dtype
    from penlight.switches import set_printoptions as set_printoptions
    from penlight.switches import use_deterministic_algorithms as use_deterministic_algorithms
    from penlight.utils.dlpack import from_dlpack as from_dlpack
    from penlight.version import __version__ as __version__

# Public name -> the module it is, or is in. These are imported when they are first asked for: half of the time of an import.
_ON_DEMAND = {
    **_second_names.PLACES,
    "amp": "penlight.amp",
    "autocast": "penlight.amp",
    "get_autocast_dtype": "penlight.amp",
    "is_autocast_available": "penlight.amp",
    "is_autocast_enabled": "penlight.amp",
    "data": "penlight.data",
    "distributed": "penlight.distributed",
    "func": "penlight.func",
    "models": "penlight.models",
    "nn": "penlight.nn",
    "optim": "penlight.optim",
    "train": "penlight.train",
    "utils": "penlight.utils",
    "Dim": "penlight.dims",
    "cond": "penlight.ops.control",
    "scan": "penlight.ops.control",
    "while_loop": "penlight.ops.control",
    "finfo": "penlight.limits",
    "iinfo": "penlight.limits",
    **dict.fromkeys(
        ("bartlett_window", "blackman_window", "hamming_window", "hann_window", "kaiser_window"), "penlight.ops.window"
    ),
    "load": "penlight.files",
    "save": "penlight.files",
    "load_safetensors": "penlight.serialize",
    "save_safetensors": "penlight.serialize",
    "from_dlpack": "penlight.utils.dlpack",
    "array_api": "penlight.array_api",
}


def _on_demand(name: str) -> object:
    if name not in _ON_DEMAND:
        raise AttributeError(_importlib.import_module("penlight.absent").message(name))
    module = _importlib.import_module(_ON_DEMAND[name])
    value = module if module.__name__ == f"penlight.{name}" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_ON_DEMAND})


_out.accept_out(globals(), _out.NAMES, _out.MADE)

if not _typing.TYPE_CHECKING:  # the type checker is to know which names there are
    __getattr__ = _on_demand

# SPDX-License-Identifier: Apache-2.0
"""The Python array API standard, version 2024.12, over Penlight's Tensor: `from penlight import array_api as xp`.

The functions take Tensors and return Arrays, which are Tensors whose operators follow the standard: promotion within a
kind only, errors for anything the standard leaves undefined, and no PyTorch rules. Gradients flow where the framework has
the operator; elsewhere a tensor that wants one is refused. https://data-apis.org/array-api/2024.12/
"""

import math

from penlight.array_api import fft as fft
from penlight.array_api import linalg as linalg
from penlight.array_api import operators as _operators  # noqa: F401  attaches the operators to Array
from penlight.array_api.array import VERSION as __array_api_version__  # noqa: F401  the standard's name
from penlight.array_api.array import Array as Array
from penlight.array_api.creation import arange as arange
from penlight.array_api.creation import asarray as asarray
from penlight.array_api.creation import empty as empty
from penlight.array_api.creation import empty_like as empty_like
from penlight.array_api.creation import eye as eye
from penlight.array_api.creation import from_dlpack as from_dlpack
from penlight.array_api.creation import full as full
from penlight.array_api.creation import full_like as full_like
from penlight.array_api.creation import linspace as linspace
from penlight.array_api.creation import meshgrid as meshgrid
from penlight.array_api.creation import ones as ones
from penlight.array_api.creation import ones_like as ones_like
from penlight.array_api.creation import tril as tril
from penlight.array_api.creation import triu as triu
from penlight.array_api.creation import zeros as zeros
from penlight.array_api.creation import zeros_like as zeros_like
from penlight.array_api.elementwise import FUNCTIONS as _FUNCTIONS
from penlight.array_api.elementwise import clip as clip
from penlight.array_api.elementwise import floor_divide as floor_divide
from penlight.array_api.inspection import __array_namespace_info__ as __array_namespace_info__
from penlight.array_api.inspection import astype as astype
from penlight.array_api.inspection import can_cast as can_cast
from penlight.array_api.inspection import finfo as finfo
from penlight.array_api.inspection import iinfo as iinfo
from penlight.array_api.inspection import isdtype as isdtype
from penlight.array_api.linalg import matmul as matmul
from penlight.array_api.linalg import matrix_transpose as matrix_transpose
from penlight.array_api.linalg import tensordot as tensordot
from penlight.array_api.linalg import vecdot as vecdot
from penlight.array_api.manipulation import broadcast_arrays as broadcast_arrays
from penlight.array_api.manipulation import broadcast_to as broadcast_to
from penlight.array_api.manipulation import concat as concat
from penlight.array_api.manipulation import expand_dims as expand_dims
from penlight.array_api.manipulation import flip as flip
from penlight.array_api.manipulation import moveaxis as moveaxis
from penlight.array_api.manipulation import permute_dims as permute_dims
from penlight.array_api.manipulation import repeat as repeat
from penlight.array_api.manipulation import reshape as reshape
from penlight.array_api.manipulation import roll as roll
from penlight.array_api.manipulation import squeeze as squeeze
from penlight.array_api.manipulation import stack as stack
from penlight.array_api.manipulation import tile as tile
from penlight.array_api.manipulation import unstack as unstack
from penlight.array_api.promotion import result_type as result_type
from penlight.array_api.searching import argmax as argmax
from penlight.array_api.searching import argmin as argmin
from penlight.array_api.searching import argsort as argsort
from penlight.array_api.searching import nonzero as nonzero
from penlight.array_api.searching import searchsorted as searchsorted
from penlight.array_api.searching import sort as sort
from penlight.array_api.searching import take as take
from penlight.array_api.searching import take_along_axis as take_along_axis
from penlight.array_api.searching import unique_all as unique_all
from penlight.array_api.searching import unique_counts as unique_counts
from penlight.array_api.searching import unique_inverse as unique_inverse
from penlight.array_api.searching import unique_values as unique_values
from penlight.array_api.searching import where as where
from penlight.array_api.statistical import all as all
from penlight.array_api.statistical import any as any
from penlight.array_api.statistical import count_nonzero as count_nonzero
from penlight.array_api.statistical import cumulative_prod as cumulative_prod
from penlight.array_api.statistical import cumulative_sum as cumulative_sum
from penlight.array_api.statistical import diff as diff
from penlight.array_api.statistical import max as max
from penlight.array_api.statistical import mean as mean
from penlight.array_api.statistical import min as min
from penlight.array_api.statistical import prod as prod
from penlight.array_api.statistical import std as std
from penlight.array_api.statistical import sum as sum
from penlight.array_api.statistical import var as var
from penlight.dtype import bool_ as bool  # noqa: F401  the standard's name
from penlight.dtype import complex64 as complex64
from penlight.dtype import complex128 as complex128
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

e = math.e
inf = math.inf
nan = math.nan
newaxis = None
pi = math.pi

abs = _FUNCTIONS["abs"]
acos = _FUNCTIONS["acos"]
acosh = _FUNCTIONS["acosh"]
add = _FUNCTIONS["add"]
asin = _FUNCTIONS["asin"]
asinh = _FUNCTIONS["asinh"]
atan = _FUNCTIONS["atan"]
atan2 = _FUNCTIONS["atan2"]
atanh = _FUNCTIONS["atanh"]
bitwise_and = _FUNCTIONS["bitwise_and"]
bitwise_invert = _FUNCTIONS["bitwise_invert"]
bitwise_left_shift = _FUNCTIONS["bitwise_left_shift"]
bitwise_or = _FUNCTIONS["bitwise_or"]
bitwise_right_shift = _FUNCTIONS["bitwise_right_shift"]
bitwise_xor = _FUNCTIONS["bitwise_xor"]
ceil = _FUNCTIONS["ceil"]
conj = _FUNCTIONS["conj"]
copysign = _FUNCTIONS["copysign"]
cos = _FUNCTIONS["cos"]
cosh = _FUNCTIONS["cosh"]
divide = _FUNCTIONS["divide"]
equal = _FUNCTIONS["equal"]
exp = _FUNCTIONS["exp"]
expm1 = _FUNCTIONS["expm1"]
floor = _FUNCTIONS["floor"]
greater = _FUNCTIONS["greater"]
greater_equal = _FUNCTIONS["greater_equal"]
hypot = _FUNCTIONS["hypot"]
imag = _FUNCTIONS["imag"]
isfinite = _FUNCTIONS["isfinite"]
isinf = _FUNCTIONS["isinf"]
isnan = _FUNCTIONS["isnan"]
less = _FUNCTIONS["less"]
less_equal = _FUNCTIONS["less_equal"]
log = _FUNCTIONS["log"]
log10 = _FUNCTIONS["log10"]
log1p = _FUNCTIONS["log1p"]
log2 = _FUNCTIONS["log2"]
logaddexp = _FUNCTIONS["logaddexp"]
logical_and = _FUNCTIONS["logical_and"]
logical_not = _FUNCTIONS["logical_not"]
logical_or = _FUNCTIONS["logical_or"]
logical_xor = _FUNCTIONS["logical_xor"]
maximum = _FUNCTIONS["maximum"]
minimum = _FUNCTIONS["minimum"]
multiply = _FUNCTIONS["multiply"]
negative = _FUNCTIONS["negative"]
nextafter = _FUNCTIONS["nextafter"]
not_equal = _FUNCTIONS["not_equal"]
positive = _FUNCTIONS["positive"]
pow = _FUNCTIONS["pow"]
real = _FUNCTIONS["real"]
reciprocal = _FUNCTIONS["reciprocal"]
remainder = _FUNCTIONS["remainder"]
round = _FUNCTIONS["round"]
sign = _FUNCTIONS["sign"]
signbit = _FUNCTIONS["signbit"]
sin = _FUNCTIONS["sin"]
sinh = _FUNCTIONS["sinh"]
sqrt = _FUNCTIONS["sqrt"]
square = _FUNCTIONS["square"]
subtract = _FUNCTIONS["subtract"]
tan = _FUNCTIONS["tan"]
tanh = _FUNCTIONS["tanh"]
trunc = _FUNCTIONS["trunc"]

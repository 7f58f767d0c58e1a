# SPDX-License-Identifier: Apache-2.0
"""Discrete Fourier transforms: `penlight.fft`, with PyTorch's names."""

from penlight.ops import out as _out
from penlight.ops.spectrum import fft as fft
from penlight.ops.spectrum import fft2 as fft2
from penlight.ops.spectrum import fftfreq as fftfreq
from penlight.ops.spectrum import fftn as fftn
from penlight.ops.spectrum import fftshift as fftshift
from penlight.ops.spectrum import hfft as hfft
from penlight.ops.spectrum import hfft2 as hfft2
from penlight.ops.spectrum import hfftn as hfftn
from penlight.ops.spectrum import ifft as ifft
from penlight.ops.spectrum import ifft2 as ifft2
from penlight.ops.spectrum import ifftn as ifftn
from penlight.ops.spectrum import ifftshift as ifftshift
from penlight.ops.spectrum import ihfft as ihfft
from penlight.ops.spectrum import ihfft2 as ihfft2
from penlight.ops.spectrum import ihfftn as ihfftn
from penlight.ops.spectrum import irfft as irfft
from penlight.ops.spectrum import irfft2 as irfft2
from penlight.ops.spectrum import irfftn as irfftn
from penlight.ops.spectrum import rfft as rfft
from penlight.ops.spectrum import rfft2 as rfft2
from penlight.ops.spectrum import rfftfreq as rfftfreq
from penlight.ops.spectrum import rfftn as rfftn

_out.accept_out(globals(), _out.FFT)

# SPDX-License-Identifier: Apache-2.0
"""PyTorch's questions to CUDA devices, `penlight.cuda`; without one they say so instead of raising, where that makes sense."""

from __future__ import annotations

from penlight.backends.cuda import backend as _backend
from penlight.backends.cuda import is_available as is_available
from penlight.cuda.capture import CapturedStep as CapturedStep
from penlight.cuda.capture import capture as capture
from penlight.cuda.memory import empty_cache as empty_cache
from penlight.cuda.memory import max_memory_allocated as max_memory_allocated
from penlight.cuda.memory import mem_get_info as mem_get_info
from penlight.cuda.memory import memory_allocated as memory_allocated
from penlight.cuda.memory import memory_reserved as memory_reserved
from penlight.cuda.memory import memory_summary as memory_summary
from penlight.cuda.memory import reset_peak_memory_stats as reset_peak_memory_stats
from penlight.cuda.prefetch import Prefetch as Prefetch
from penlight.cuda.properties import DeviceProperties as DeviceProperties
from penlight.cuda.properties import get_device_capability as get_device_capability
from penlight.cuda.properties import get_device_name as get_device_name
from penlight.cuda.properties import get_device_properties as get_device_properties
from penlight.cuda.properties import is_bf16_supported as is_bf16_supported
from penlight.cuda.streams import Event as Event
from penlight.cuda.streams import Stream as Stream
from penlight.cuda.streams import current_stream as current_stream
from penlight.cuda.streams import default_stream as default_stream
from penlight.cuda.streams import device as device
from penlight.cuda.streams import stream as stream
from penlight.cuda.streams import synchronize as synchronize
from penlight.errors import CaptureError as CaptureError
from penlight.errors import OutOfMemoryError as OutOfMemoryError
from penlight.random import manual_seed as manual_seed

manual_seed_all = manual_seed  # one generator serves all devices


def device_count() -> int:
    """Returns how many devices there are; 0 without CuPy, a driver or a GPU."""
    return int(_backend().xp.cuda.runtime.getDeviceCount()) if is_available() else 0


def current_device() -> int:
    """Returns the number of the device in use.

    Raises:
        DeviceError: there is none.
    """
    return int(_backend().xp.cuda.runtime.getDevice())

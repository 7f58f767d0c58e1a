# SPDX-License-Identifier: Apache-2.0
"""What a device is, under PyTorch's names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from penlight.cuda.streams import _index, gpu


@dataclass(frozen=True)
class DeviceProperties:
    """Name, compute capability (`major`.`minor`), sizes in bytes and counts of a device."""

    name: str
    major: int
    minor: int
    total_memory: int
    multi_processor_count: int
    warp_size: int
    max_threads_per_multi_processor: int
    shared_memory_per_block_optin: int
    L2_cache_size: int


def get_device_properties(device: Any = None) -> DeviceProperties:
    """Returns the properties of a device, by default the current one.

    Raises:
        DeviceError: there is no CUDA device.
    """
    found = gpu().runtime.getDeviceProperties(_index(device))
    return DeviceProperties(
        name=found["name"].decode(),
        major=found["major"],
        minor=found["minor"],
        total_memory=found["totalGlobalMem"],
        multi_processor_count=found["multiProcessorCount"],
        warp_size=found["warpSize"],
        max_threads_per_multi_processor=found["maxThreadsPerMultiProcessor"],
        shared_memory_per_block_optin=found["sharedMemPerBlockOptin"],
        L2_cache_size=found["l2CacheSize"],
    )


def get_device_name(device: Any = None) -> str:
    """Returns the name of a device."""
    return get_device_properties(device).name


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """Returns the compute capability, such as (9, 0)."""
    found = get_device_properties(device)
    return found.major, found.minor


def is_bf16_supported() -> bool:
    """Whether the current device computes in bfloat16: from compute capability 8.0 on."""
    return get_device_capability()[0] >= 8

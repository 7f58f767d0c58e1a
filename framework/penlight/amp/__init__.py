# SPDX-License-Identifier: Apache-2.0
"""Automatic mixed precision, under PyTorch's names: `autocast`, `GradScaler`, `custom_fwd`, `custom_bwd`."""

from penlight.amp.autocast_mode import autocast as autocast
from penlight.amp.autocast_mode import get_autocast_dtype as get_autocast_dtype
from penlight.amp.autocast_mode import is_autocast_available as is_autocast_available
from penlight.amp.autocast_mode import is_autocast_enabled as is_autocast_enabled
from penlight.amp.custom import custom_bwd as custom_bwd
from penlight.amp.custom import custom_fwd as custom_fwd
from penlight.amp.grad_scaler import GradScaler as GradScaler

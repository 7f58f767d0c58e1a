# SPDX-License-Identifier: Apache-2.0
"""Whether the server is ready or about to stop."""

from __future__ import annotations

from dataclasses import dataclass

from penlight_serving.errors import DrainingError


@dataclass
class Lifecycle:
    """Ready from the first moment (models are loaded before anything listens), until draining begins."""

    draining: bool = False

    def check_ready(self) -> None:
        """Raises DrainingError once the server is about to stop."""
        if self.draining:
            raise DrainingError("the server is about to stop; send new requests to another one")

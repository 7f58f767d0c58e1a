# SPDX-License-Identifier: Apache-2.0
"""The server's options, their defaults and their ranges."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path

from penlight_serving.errors import OptionError

MIB = 1024 * 1024


def available_cpus() -> int:
    """Returns the CPUs this process may use: its affinity, and the quota of its control group (version 2)."""
    affinity = getattr(os, "sched_getaffinity", None)
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        if quota != "max":
            cpus = min(cpus, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass  # no control group, or version 1: the affinity stands
    return cpus


@dataclass(frozen=True)
class Options:
    """How a server behaves; every field has a default that suits a small machine.

    Attributes:
        threads: Threads of one model run. 0: every available CPU.
        concurrency: Model runs at once, over all models. 0: as many as the CPUs hold, at least 2, so that a slow model does not
            stop a quick one.
        queue_size: Requests that may wait for a run; the next is answered 503 with `Retry-After`.
        inline_below_us: A model whose median run is shorter runs on the event loop itself; handing it to a thread would cost
            about 100 us. 0: never.
        pen_memory_bytes: Memory that a `.pen` program, and each of its sessions, may use. 0: no limit.
        pen_mac_budget: Multiply-accumulates that one run of a `.pen` program may take. 0: no limit.
        max_body_bytes: Largest request body.
        max_json_bytes: Largest JSON part of a body.
        max_pending_bytes: Bytes of all bodies in hand, beyond which a request is answered 503.
        max_connections: Open connections, beyond which one is answered 503.
        header_seconds: Time for a client to send its headers.
        body_seconds: Time for a client to send its body, and to take its answer.
        idle_seconds: How long a connection may stay open between requests.
        drain_seconds: After SIGTERM or SIGINT, how long the server keeps accepting while `/v2/health/ready` says 503.
        shutdown_seconds: After that, how long requests in flight may take.
    """

    threads: int = 0
    concurrency: int = 0
    queue_size: int = 128
    inline_below_us: float = 300.0
    pen_memory_bytes: int = 0
    pen_mac_budget: int = 0
    max_body_bytes: int = 64 * MIB
    max_json_bytes: int = 16 * MIB
    max_pending_bytes: int = 512 * MIB
    max_connections: int = 512
    header_seconds: float = 10.0
    body_seconds: float = 60.0
    idle_seconds: float = 75.0
    drain_seconds: float = 5.0
    shutdown_seconds: float = 30.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value, least = getattr(self, field.name), 1 if field.name.startswith("max_") else 0
            if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < float("inf"):
                raise OptionError(f"option {field.name}: expected a number of at least {least}, got {value!r}")
        if self.max_pending_bytes < self.max_body_bytes:
            raise OptionError(
                f"option max_pending_bytes: {self.max_pending_bytes} is less than max_body_bytes {self.max_body_bytes}, "
                "so the largest request could never be taken; raise the one or lower the other"
            )

    @property
    def run_threads(self) -> int:
        """Threads of one model run, resolved."""
        return self.threads or available_cpus()

    @property
    def run_concurrency(self) -> int:
        """Model runs at once, resolved."""
        return self.concurrency or max(2, available_cpus() // self.run_threads)

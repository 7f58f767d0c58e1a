# SPDX-License-Identifier: Apache-2.0
"""Numbers that the host decides and kernels read from device memory, so that a captured step sees what they are by now."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from penlight.backends.cuda import recording

Read = Callable[[], Sequence[float]]


class Feed:
    """A few float32 numbers at one address."""

    def __init__(self, xp: Any, read: Read) -> None:
        self.read = read
        self._host = np.asarray(read(), np.float32)
        self.array = xp.empty(self._host.shape, np.float32)
        self._is_new = True

    def refresh(self) -> None:
        """Brings the numbers to the device where they changed; ordered with the work of the current stream."""
        values = np.asarray(self.read(), np.float32)
        if self._is_new or values.tobytes() != self._host.tobytes():
            self._host, self._is_new = values, False
            self.array.set(values)


class Feeds:
    """The feeds of a backend, one for each key and device."""

    def __init__(self, xp: Any) -> None:
        self._xp = xp
        self._feeds: dict[Hashable, dict[int, Feed]] = {}

    def array(self, key: Hashable, read: Read) -> Any:
        """The array on the current device with the numbers of `read()`, always of one length for a key.

        While a step is captured nothing is copied: `read` is called anew before every launch of its graph.
        """
        device = int(self._xp.cuda.runtime.getDevice()) if hasattr(self._xp, "cuda") else 0
        feeds = self._feeds.setdefault(key, {})
        if device not in feeds:
            feeds[device] = Feed(self._xp, read)
        feed = feeds[device]
        feed.read = read
        if recording.active is None:
            feed.refresh()
        else:
            recording.active.refresh((key, device), feed.refresh)
            recording.keep(feed)
        return feed.array

    def forget(self, key: Hashable) -> None:
        """Drops the feeds of a key whose owner is gone."""
        self._feeds.pop(key, None)

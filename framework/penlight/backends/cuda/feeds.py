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
    """The feeds of a backend, one for each key."""

    def __init__(self, xp: Any) -> None:
        self._xp = xp
        self._feeds: dict[Hashable, Feed] = {}

    def array(self, key: Hashable, read: Read) -> Any:
        """The device array with the numbers of `read()`, always of one length for a key.

        While a step is captured nothing is copied: `read` is called anew before every launch of its graph.
        """
        feed = self._feeds.get(key)
        if feed is None:
            feed = self._feeds[key] = Feed(self._xp, read)
        feed.read = read
        if recording.active is None:
            feed.refresh()
        else:
            recording.active.refresh(key, feed.refresh)
            recording.keep(feed)
        return feed.array

    def forget(self, key: Hashable) -> None:
        """Drops the feed of a key whose owner is gone."""
        self._feeds.pop(key, None)

# SPDX-License-Identifier: Apache-2.0
"""Data sets for the loader's tests; at the top level of a module, so that worker processes can import them."""

import faulthandler
import os
import signal
import time
from collections.abc import Iterator

import numpy as np

from penlight.data import Dataset, IterableDataset, item_generator


class Squares(Dataset):
    """Item i is (i * i, i)."""

    def __init__(self, size: int):
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return np.array([index * index], np.float32), index


class Trouble(Squares):
    """Does something bad at one item."""

    def __init__(self, size: int, at: int, kind: str):
        super().__init__(size)
        self.at, self.kind = at, kind

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        if index == self.at:
            self.act()
        return super().__getitem__(index)

    def act(self) -> None:
        if self.kind == "raise":
            raise KeyError("no such sample")
        if self.kind == "exit":
            os._exit(7)
        if self.kind == "hang":
            time.sleep(1000)
        faulthandler.disable()  # a crash on purpose needs no report
        os.kill(os.getpid(), {"kill": signal.SIGKILL, "segv": signal.SIGSEGV, "stop": signal.SIGSTOP}[self.kind])


class Augmented(Dataset):
    """Items are random, from the generator that belongs to the item."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> np.ndarray:
        return item_generator().random(3)


class Count(IterableDataset):
    """0, 1, ..., size - 1, shifted by 100 in each epoch."""

    def __init__(self, size: int):
        self.size, self.epoch = size, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        return iter(range(100 * self.epoch, 100 * self.epoch + self.size))


class Slow(Squares):
    """Each item takes a while."""

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        time.sleep(0.2)
        return super().__getitem__(index)


class Unpicklable(Squares):
    """Holds something that no other process can have."""

    def __init__(self, size: int):
        super().__init__(size)
        self.function = lambda x: x

# SPDX-License-Identifier: Apache-2.0
"""Launches `optimizer.cu`: one launch steps, clips or unscales up to 64 arrays, with nothing decided on the host."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from penlight.backends.backend import backend_of
from penlight.backends.cuda import launch, source, wrapper
from penlight.backends.cuda.feeds import Feeds
from penlight.device import device as Device

# Elements that a block should have to itself: enough work to hide its start.
_PER_BLOCK = 1 << 14
_MAX_BLOCKS = 1024

Group = Mapping[str, Any]


def table(xp: Any, launcher: wrapper.Launcher) -> dict[str, wrapper.Wrapper]:
    """The wrappers by name: two optimizers, and what is done to gradients before a step."""
    run = MultiTensor(xp, launcher)
    steps, before = Steps(run), Gradients(run)
    return {
        "adamw_on_device": steps.adamw,
        "sgd_on_device": steps.sgd,
        "clip_grad_norm": before.clip,
        "unscale": before.unscale,
    }


class MultiTensor:
    """Launches over lists of arrays, in packs that fit into the arguments of a launch."""

    def __init__(self, xp: Any, launcher: wrapper.Launcher) -> None:
        self.xp = xp
        self.kernels = source.kernels("optimizer")
        self._launcher = launcher

    def packs(self, lists: Sequence[Sequence[Any]]) -> Iterator[tuple[np.ndarray, int, launch.Grid]]:
        """(Entries, their number, grid) for the arrays at equal places of the lists, those of similar sizes together."""
        groups = sorted(zip(*lists, strict=True), key=lambda group: -group[0].size)
        for start in range(0, len(groups), source.ENTRIES_COUNT):
            part = groups[start : start + source.ENTRIES_COUNT]
            entries = np.zeros((), source.ENTRIES)
            for number, group in enumerate(part):
                entries["counts"][number] = group[0].size
                pointers = [0 if array is None else self._launcher.pointer(array) for array in group]
                entries["arrays"][number, : len(group)] = pointers
            blocks = min(max(-(-part[0][0].size // _PER_BLOCK), 1), _MAX_BLOCKS)
            yield entries, len(part), launch.Grid((blocks, len(part), 1), (launch.THREADS, 1, 1))

    def here(self, array: Any) -> Any:
        """An array of the device, or None, on the device that is the current one."""
        if array is None or not hasattr(self.xp, "cuda"):
            return array
        current = self.xp.cuda.runtime.getDevice()
        return array if array.data.device_id == current else backend_of(array).asarray(array, Device("cuda", current))

    def launch(self, kernel: str, dtype: str, grid: launch.Grid, **values: Any) -> None:
        """Launches one kernel of the family."""
        wrapper.launch(self._launcher, self.kernels[kernel], dtype, grid, values)


def _takes(*lists: Sequence[Any]) -> bool:
    """Whether all arrays are without gaps, of one element type that there are kernels for."""
    return wrapper.takes(*(a for arrays in lists for a in arrays)) and all(a.flags.c_contiguous for arrays in lists for a in arrays)


class Steps:
    """Steps of optimizers over lists of arrays, in place.

    `group` holds the settings by name and `owner` is the optimizer whose group it is: they are read again before each replay
    of a captured step. `found_inf` is a float32 array of one element, or None; where it is not 0, nothing is changed.
    """

    def __init__(self, run: MultiTensor) -> None:
        self._run = run
        self._feeds = Feeds(run.xp)
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def adamw(
        self,
        parameters: Sequence[Any],
        gradients: Sequence[Any],
        averages: Sequence[Any],
        square_averages: Sequence[Any],
        steps: Sequence[Any],
        *,
        owner: Any,
        group: Group,
        weight_decay: bool = True,
        found_inf: Any = None,
    ) -> Any:
        """AdamW; `steps` are float32 counts of one element each, which grow by 1. NotImplemented where a kernel lacks."""
        if not _takes(parameters, gradients, averages, square_averages):
            return NotImplemented

        def read() -> tuple[float, ...]:
            return (group["lr"], *group["betas"], group["eps"], group["weight_decay"] if weight_decay else 0.0)

        settings = self._settings(owner, group, read)
        dtype = str(parameters[0].dtype)
        lists = (parameters, gradients, averages, square_averages, steps)
        for entries, count, grid in self._run.packs(lists):
            given = {"settings": settings, "found_inf": self._run.here(found_inf), "entries": entries}
            corrections = self._run.xp.empty((count, 2), np.float32)
            one = launch.Grid((1, 1, 1), (source.ENTRIES_COUNT, 1, 1))
            self._run.launch("adamw_advance", "float32", one, corrections=corrections, count=count, **given)
            self._run.launch("adamw_step", dtype, grid, corrections=corrections, **given)
        return None

    def sgd(
        self,
        parameters: Sequence[Any],
        gradients: Sequence[Any],
        buffers: Sequence[Any] | None,
        *,
        owner: Any,
        group: Group,
        found_inf: Any = None,
    ) -> Any:
        """SGD without dampening; buffers of the momentum start as zeros. NotImplemented where a kernel lacks."""
        if not _takes(parameters, gradients, buffers or ()):
            return NotImplemented
        settings = self._settings(owner, group, lambda: (group["lr"], group["momentum"], group["weight_decay"]))
        lists = (parameters, gradients, buffers or [None] * len(parameters))
        for entries, _, grid in self._run.packs(lists):
            given = {
                "settings": settings,
                "found_inf": self._run.here(found_inf),
                "entries": entries,
                "nesterov": int(group["nesterov"]),
            }
            self._run.launch("sgd_step", str(parameters[0].dtype), grid, **given)
        return None

    def _settings(self, owner: Any, group: Group, read: Any) -> Any:
        if owner not in self._known:
            self._known.add(owner)
            for own in owner.param_groups:
                weakref.finalize(owner, self._feeds.forget, id(own))
        return self._feeds.array(id(group), read)


class Gradients:
    """What is done to gradients between backward and step, in place."""

    def __init__(self, run: MultiTensor) -> None:
        self._run = run

    def clip(self, gradients: Sequence[Any], max_norm: float) -> Any:
        """Scales so that the norm of all is at most `max_norm`; returns the norm before, a float32 array of one element."""
        if not gradients or not all(_takes([gradient]) for gradient in gradients):
            return NotImplemented
        xp = self._run.xp
        packs = [(dtype, *pack) for dtype, arrays in _by_dtype(gradients).items() for pack in self._run.packs([arrays])]
        sizes = [grid.blocks[0] * grid.blocks[1] for *_, grid in packs]
        partial, start = xp.empty(sum(sizes), np.float64), 0
        for (dtype, entries, _, grid), size in zip(packs, sizes, strict=True):
            self._run.launch("gradient_squares", dtype, grid, partial=partial[start : start + size], entries=entries)
            start += size
        norm, factor = xp.empty((), np.float32), xp.empty((), np.float32)
        one = launch.Grid((1, 1, 1), (launch.THREADS, 1, 1))
        self._run.launch(
            "gradient_norm", "float32", one, partial=partial, norm=norm, factor=factor, count=start, max_norm=float(max_norm)
        )
        for dtype, entries, _, grid in packs:
            self._run.launch("gradient_scale", dtype, grid, factor=factor, entries=entries)
        return norm

    def unscale(self, gradients: Sequence[Any], inverse_scale: Any, found_inf: Any) -> Any:
        """Multiplies by `inverse_scale`; `found_inf` becomes 1 where one is inf or NaN, and is never set back."""
        if not all(_takes([gradient]) for gradient in gradients):
            return NotImplemented
        for dtype, arrays in _by_dtype(gradients).items():
            for entries, _, grid in self._run.packs([arrays]):
                given = {"inverse_scale": inverse_scale, "found_inf": found_inf, "entries": entries}
                self._run.launch("gradient_unscale", dtype, grid, **given)
        return None


def _by_dtype(arrays: Sequence[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for array in arrays:
        found.setdefault(str(array.dtype), []).append(array)
    return found

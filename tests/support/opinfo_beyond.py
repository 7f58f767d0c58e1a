# SPDX-License-Identifier: Apache-2.0
"""OpInfo beyond double precision: other dtypes, memory with gaps, and what must be refused; forward only."""

from __future__ import annotations

import contextlib
import functools
import itertools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import opinfo
import torch
from torch.utils import _pytree as pytree

import penlight as pl

# Torch's tolerance for bfloat16 (torch.testing), also for sums of half types, which end in other places.
TOLERANCES = {"float64": 1e-7, "complex128": 1e-7, "complex64": 1e-4, "float32": 1e-5, "float16": 1e-2, "bfloat16": 1.6e-2}

TIES = ("argsort", "sort", "topk")


@dataclass
class Share:
    """How many samples of a kind went well, and the first failure of each name."""

    good: int = 0
    total: int = 0
    failures: dict[str, str] = field(default_factory=dict)

    def note(self, name: str, problem: str | None) -> None:
        """Counts one sample."""
        self.total += 1
        self.good += problem is None
        if problem is not None:
            self.failures.setdefault(name, problem)

    @property
    def percent(self) -> float:
        return 100 * self.good / max(self.total, 1)


def run(kind: str, names: list[str], limit: int | None) -> Share:
    """All samples of a kind ("bfloat16", "noncontiguous", "error", ...) of these names, or the first of each variant."""
    share = Share()
    for name in names:
        for entry in opinfo.entries()[name]:
            for sample in itertools.islice(_KINDS[kind](entry), limit):
                with contextlib.suppress(_NoReference):
                    share.note(name, _check(kind, name, entry, sample))
    return share


class _NoReference(Exception):
    """PyTorch itself refuses the sample."""


def _check(kind: str, name: str, entry: Any, sample: Any) -> str | None:
    try:
        function = opinfo.SHIMS.get(f"{name}/{entry.variant_test_name}") or opinfo.resolve(name)
        if kind == "error":
            return _refuses(function, sample)
        _compare(entry, function, sample)
    except _NoReference:
        raise
    except Exception as error:
        return f"{entry.variant_test_name} {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return None


def _compare(entry: Any, function: Any, sample: Any) -> None:
    ours = pytree.tree_map(opinfo.convert, (sample.input, tuple(sample.args), dict(sample.kwargs)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(1)
        wanted = _reference(entry, sample)
        found = opinfo.flat(sample.output_process_fn_grad(function(ours[0], *ours[1], **ours[2])))
    assert len(wanted) == len(found), f"{len(found)} results, expected {len(wanted)}"
    loose = entry.name in opinfo.RANDOM or sample.kwargs.get("dropout_p", 0)
    for number, (ref, out) in enumerate(zip(wanted, found, strict=True)):
        opinfo.compare(ref, out, loose=True)
        if entry.name in TIES and ref.dtype is torch.int64 and number == len(wanted) - 1:
            ref, out = _chosen(sample, ref), pl.from_numpy(_chosen(sample, torch.from_numpy(out.numpy())).numpy())
        if isinstance(ref, torch.Tensor) and not loose:
            _close(ref, out, functools.partial(_wider, entry, sample, number))


def _reference(entry: Any, sample: Any) -> list[Any]:
    try:
        return opinfo.flat(sample.output_process_fn_grad(entry.op(sample.input, *sample.args, **sample.kwargs)))
    except Exception as error:
        raise _NoReference from error


def _wider(entry: Any, sample: Any, number: int) -> Any:
    """The result in float32: torch sums half types in its own order and rounds in between."""
    wide = pytree.tree_map(
        lambda v: v.float() if isinstance(v, torch.Tensor) and v.is_floating_point() else v,
        (sample.input, tuple(sample.args), dict(sample.kwargs)),
    )
    torch.manual_seed(1)
    return opinfo.flat(sample.output_process_fn_grad(entry.op(wide[0], *wide[1], **wide[2])))[number].to(torch.bfloat16)


def _chosen(sample: Any, index: Any) -> Any:
    """What the indices of a sort point to, as float32: equal elements may stand in any order."""
    given = [a for a in sample.args if isinstance(a, int) and not isinstance(a, bool)]
    given = given[1:] if "k" in sample.kwargs or (sample.input.ndim and index.shape != sample.input.shape) else given
    dim = sample.kwargs.get("dim", given[0] if given else -1)
    x = sample.input.detach().float()
    return torch.take_along_dim(x, index, dim) if x.ndim else x


def _close(ref: Any, out: Any, wider: Callable[[], Any]) -> None:
    name = str(ref.dtype).removeprefix("torch.")
    tolerance = TOLERANCES.get(name, 0)
    if name != "bfloat16":
        expected = ref.detach().resolve_conj().resolve_neg().numpy(force=True)
        np.testing.assert_allclose(out.detach().numpy(), expected, rtol=tolerance, atol=tolerance)
        return
    found, expected = out.detach().to(pl.float32).numpy(), ref.detach().float().numpy()
    if not np.allclose(found, expected, rtol=tolerance, atol=tolerance, equal_nan=True):
        np.testing.assert_allclose(found, wider().detach().float().numpy(), rtol=tolerance, atol=tolerance)


def _refuses(function: Any, wrong: Any) -> str | None:
    """None if we raise where torch does."""
    sample = wrong.sample_input
    try:
        ours = pytree.tree_map(_sharing(), (sample.input, tuple(sample.args), dict(sample.kwargs)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            function(ours[0], *ours[1], **ours[2])
    except Exception:
        return None
    return f"expected an error like {wrong.error_regex!r}, for {_shown(sample)}"


def _sharing() -> Callable[[Any], Any]:
    """Converts the values of one call: what is one tensor, or shares memory, does so afterwards."""
    tensors: dict[int, Any] = {}

    def converted(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or value.dtype is torch.bfloat16 or value.is_conj() or value.is_neg():
            return opinfo.convert(value)
        if id(value) not in tensors:
            grad = value.requires_grad and value.dtype.is_floating_point
            tensors[id(value)] = pl.from_numpy(value.detach().numpy()).requires_grad_(grad)
        return tensors[id(value)]

    return converted


def _shown(sample: Any) -> str:
    def brief(value: Any) -> Any:
        return f"{str(value.dtype)[6:]}{list(value.shape)}" if isinstance(value, torch.Tensor) else value

    return str(pytree.tree_map(brief, (sample.input, sample.args, sample.kwargs)))[:200]


def _in_dtype(dtype: torch.dtype) -> Callable[[Any], Iterator[Any]]:
    def samples(entry: Any) -> Iterator[Any]:
        if dtype in entry.supported_dtypes("cpu"):
            torch.manual_seed(0)
            yield from entry.sample_inputs("cpu", dtype)

    return samples


def _noncontiguous(entry: Any) -> Iterator[Any]:
    yield from (sample.noncontiguous() for sample in opinfo.samples_of(entry))


def _wrong(entry: Any) -> Iterator[Any]:
    """Calls that torch refuses, but for those without a message: numbers instead of tensors, which we allow."""
    if entry.error_inputs_func is not None:
        torch.manual_seed(0)
        yield from (wrong for wrong in entry.error_inputs("cpu") if wrong.error_regex)


_KINDS: dict[str, Callable[[Any], Iterator[Any]]] = {
    **{str(d).removeprefix("torch."): _in_dtype(d) for d in (torch.float32, torch.bfloat16, torch.int64, torch.int32, torch.bool)},
    "noncontiguous": _noncontiguous,
    "error": _wrong,
}
KINDS = tuple(_KINDS)

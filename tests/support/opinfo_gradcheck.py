# SPDX-License-Identifier: Apache-2.0
"""gradcheck and gradgradcheck of ours on PyTorch's OpInfo samples; torch is the source of the samples alone."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import opinfo
import torch
from torch.utils import _pytree as pytree

import penlight as pl

SMALL = 40  # elements of inputs up to which the whole Jacobian is compared; larger ones by a random projection


def differentiable(name: str) -> bool:
    """Whether a name has float64 samples with a gradient."""
    return any(entry.supports_autograd and torch.float64 in entry.supported_dtypes("cpu") for entry in opinfo.entries()[name])


def failures(name: str, limit: int | None, *, twice: bool, fast: bool) -> tuple[int, list[str]]:
    """How many checks ran on the first `limit` samples of each variant of a name, and what failed."""
    count, failed = 0, []
    function = opinfo.resolve(name)
    for entry in opinfo.entries()[name]:
        if not entry.supports_autograd or torch.float64 not in entry.supported_dtypes("cpu"):
            continue
        chosen = opinfo.SHIMS.get(f"{name}/{entry.variant_test_name}", function)
        for number, sample in enumerate(itertools.islice(opinfo.samples_of(entry), limit)):
            try:
                count += check_sample(entry, chosen, sample, twice=twice, fast=fast)
            except Exception as error:  # every kind of failure counts
                failed.append(f"{entry.variant_test_name}[{number}] {type(error).__name__}: {str(error).strip()[:500]}")
    return count, failed


def check_sample(entry: Any, function: Any, sample: Any, *, twice: bool, fast: bool) -> int:
    """Checks one sample; 0 where none of its inputs or results has a gradient."""
    given = pytree.tree_map(opinfo.convert, (sample.input, tuple(sample.args), dict(sample.kwargs)))
    flat, spec = pytree.tree_flatten(given)
    places = [k for k, t in enumerate(flat) if isinstance(t, pl.Tensor) and t.requires_grad]
    leaves = [flat[k] for k in places]
    if entry.name == "__rpow__":  # OpInfo draws negative bases, whose powers are NaN in both libraries
        leaves[1]._data[...] = abs(leaves[1]._data) + 0.5

    def call(*tensors: pl.Tensor) -> tuple[pl.Tensor, ...]:
        filled = list(flat)
        for k, t in zip(places, tensors, strict=True):
            filled[k] = t
        first, args, kwargs = pytree.tree_unflatten(filled, spec)
        with pl.random.fork_rng():  # the same dropout mask in each call
            pl.manual_seed(0)
            result = entry.gradcheck_wrapper(function, first, *args, **kwargs)
        processed = sample.output_process_fn_grad(result)
        results = pytree.tree_leaves(list(processed) if isinstance(processed, tuple) else processed)
        return tuple(t for t in results if isinstance(t, pl.Tensor) and t.dtype.kind >= 2)

    if not leaves or not any(t.requires_grad for t in call(*leaves)):
        return 0
    is_fast = fast or sum(t.numel() for t in leaves) > SMALL
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check = pl.autograd.gradgradcheck if twice else pl.autograd.gradcheck
        check(call, leaves, fast_mode=is_fast)
    return 1

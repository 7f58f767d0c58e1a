# SPDX-License-Identifier: Apache-2.0
"""PyTorch's OpInfo samples of tier 1 in bfloat16, int64 and bool: forward alone, at least 97 % of the samples."""

import itertools
import warnings

import pytest

torch = pytest.importorskip("torch")

import opinfo  # noqa: E402  both need torch
from opinfo_tiers import TIERS  # noqa: E402  likewise
from torch.utils import _pytree as pytree  # noqa: E402  likewise

TOLERANCE = 2e-2  # 5 roundings to bfloat16, where PyTorch rounds between the steps of one function


def samples(entry, dtype):
    """The first samples of an entry that PyTorch itself computes in the dtype, with its results."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        for sample in itertools.islice(entry.sample_inputs("cpu", dtype, requires_grad=False), 4):
            ours = pytree.tree_map(opinfo.convert, (sample.input, tuple(sample.args), dict(sample.kwargs)))
            try:
                reference = entry.op(sample.input, *sample.args, **sample.kwargs)
            except (RuntimeError, NotImplementedError):
                continue
            yield sample, ours, reference


def agrees(entry, function, sample, ours, reference):
    process = sample.output_process_fn_grad
    loose = entry.name in opinfo.RANDOM or bool(sample.kwargs.get("dropout_p", 0))
    try:
        found, wanted = opinfo.flat(process(function(ours[0], *ours[1], **ours[2]))), opinfo.flat(process(reference))
        for ref, out in zip(wanted, found, strict=True):
            opinfo.compare(ref, out, loose)
    except Exception:  # every kind of failure is a miss
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bfloat16", "int64", "bool"])
def test_first_samples_in_other_dtypes(name, monkeypatch):
    dtype = getattr(torch, name)
    plain = opinfo.close

    def close(out, ref):
        if ref.dtype is not torch.bfloat16:
            return plain(out, ref)
        return torch.testing.assert_close(
            torch.from_dlpack(out).float(), ref.float(), rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True
        )

    monkeypatch.setattr(opinfo, "close", close)
    misses, count = [], 0
    for operator in next(iter(TIERS.values())):
        for entry in opinfo.entries()[operator]:
            if dtype not in entry.supported_dtypes("cpu"):
                continue
            function = opinfo.SHIMS.get(f"{operator}/{entry.variant_test_name}", opinfo.resolve(operator))
            for sample, ours, reference in samples(entry, dtype):
                count += 1
                if not agrees(entry, function, sample, ours, reference):
                    misses.append(operator)
    assert count > 400 and len(misses) <= 0.03 * count, f"{len(misses)} of {count}: {sorted(set(misses))}"

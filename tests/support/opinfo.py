# SPDX-License-Identifier: Apache-2.0
"""Runs PyTorch's OpInfo samples through Penlight: values and gradients, from the same cotangents."""

from __future__ import annotations

import functools
import inspect
import itertools
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch_databases  # noqa: F401  makes torch's test helpers importable
from torch.utils import _pytree as pytree

import penlight as pl
import penlight.nn.functional

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal import common_utils
    from torch.testing._internal.common_methods_invocations import op_db

# `torch.manual_seed`, called for each sample, also keeps the text of the whole stack for each kind of device that is not there.
torch.manual_seed = torch.default_generator.manual_seed
# Each list of samples looks for a unittest.TestCase, through the source of every caller: nine tenths of all time. There is none.
common_utils.extract_test_fn = lambda: None

# Their values are drawn by chance: only shape and dtype are compared.
RANDOM = {
    "nn.functional.dropout", "nn.functional.dropout2d", "nn.functional.dropout3d", "nn.functional.alpha_dropout",
    "nn.functional.feature_alpha_dropout", "nn.functional.rrelu", "nn.functional.fractional_max_pool2d",
    "nn.functional.fractional_max_pool3d", "nn.functional.multi_head_attention_forward",
}  # fmt: skip
# What OpInfo calls has no public function in torch either, or takes its arguments in the order of the method.
SHIMS: dict[str, Any] = {
    "where": lambda input, condition, other: pl.where(condition, input, other),
    "slice": lambda input, dim=0, start=None, end=None, step=1: input[
        (slice(None),) * (dim % input.ndim) + (slice(start, end, step),)
    ],
    "split_with_sizes": lambda input, sizes, dim=0: input.split_with_sizes(sizes, dim),
    "__rdiv__": lambda input, other: input.__rtruediv__(other),
    "nn.functional.embedding": lambda weight, index, **options: pl.nn.functional.embedding(index, weight, **options),
    "einsum": lambda operands, equation: pl.einsum(equation, *operands),
    "linalg.lstsq/grad_oriented": lambda a, b, driver: pl.linalg.lstsq(a, b, driver=driver)[:2],
    "linalg.pinv/singular": lambda a, b: pl.linalg.pinv(a @ b.mT),
    "zero_": lambda input: input.clone().zero_(),
    "nn.functional.embedding_bag": lambda weight, index, **options: pl.nn.functional.embedding_bag(index, weight, **options),
    "polygamma": lambda input, n: pl.polygamma(n, input),
    "special.polygamma": lambda input, n: pl.special.polygamma(n, input),
    "constant_pad_nd": lambda input, pad, value=0: pl.constant_pad_nd(input, pad, value),
}
_DTYPES = (torch.float64, torch.complex128, torch.int64, torch.bool)
_FORMATS = {torch.contiguous_format: "contiguous_format", torch.channels_last: "channels_last",
            torch.preserve_format: "preserve_format", torch.channels_last_3d: "channels_last_3d"}  # fmt: skip


@dataclass
class Outcome:
    """What the samples of one name gave: the first failure of each kind, and how many samples ran."""

    samples: int = 0
    failed: int = 0
    first: str = ""

    @property
    def matches(self) -> bool:
        return self.samples > 0 and not self.failed


@functools.cache
def entries() -> dict[str, list[Any]]:
    """OpInfo entries by name; a name may have several variants."""
    found: dict[str, list[Any]] = {}
    for entry in op_db:
        found.setdefault(entry.name, []).append(entry)
    return found


def resolve(name: str) -> Any:
    """Penlight's function under a torch name, or its Tensor method.

    Raises:
        AttributeError: there is neither.
    """
    if name in SHIMS:
        return SHIMS[name]
    target: Any = pl
    for part in name.split("."):
        target = getattr(target, part, None)
    if target is not None and not isinstance(target, type) and not isinstance(target, pl.dtype):
        return target
    method = inspect.getattr_static(pl.Tensor, name, None)
    if method is None:
        raise AttributeError(f"no penlight.{name} and no Tensor.{name}")
    if isinstance(method, property):
        return lambda t: getattr(t, name)
    return getattr(pl.Tensor, name)


def run(name: str, limit: int | None) -> Outcome:
    """Compares all samples of a name, or the first `limit` of each variant."""
    outcome = Outcome()
    try:
        function = resolve(name)
    except AttributeError as error:
        return Outcome(1, 1, str(error))
    for entry in entries()[name]:
        for number, sample in enumerate(itertools.islice(samples_of(entry), limit)):
            outcome.samples += 1
            try:
                compare_sample(entry, SHIMS.get(f"{name}/{entry.variant_test_name}", function), sample)
            except Exception as error:  # every kind of failure is a miss
                outcome.failed += 1
                variant = entry.variant_test_name
                outcome.first = outcome.first or f"{variant}[{number}] {type(error).__name__}: {str(error).strip()[:600]}"
    return outcome


def samples_of(entry: Any) -> Any:
    """The samples in the first of our dtypes that the entry has, spread so that a limit sees different kinds."""
    supported = entry.supported_dtypes("cpu")
    if not supported:  # a CUDA-only variant
        return
    dtype = next(d for d in (*_DTYPES, *sorted(supported, key=str)) if d in supported)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        grad = entry.supports_autograd and dtype.is_floating_point
        yield from entry.sample_inputs("cpu", dtype, requires_grad=grad)


def convert(value: Any) -> Any:
    """A torch value as ours; leaves keep `requires_grad`."""
    if isinstance(value, torch.Tensor):
        if value.dtype is torch.bfloat16:
            return convert(value.detach().float()).to(pl.bfloat16)
        array = _copied(value.detach().resolve_conj().resolve_neg())
        t = pl.from_numpy(array)
        return t.requires_grad_() if value.requires_grad and value.dtype.is_floating_point else t
    if isinstance(value, torch.dtype):
        return pl.bool if value is torch.bool else getattr(pl, str(value).removeprefix("torch."))
    if isinstance(value, torch.device):
        return str(value)
    if value in (torch.strided,):
        return None
    if isinstance(value, torch.nn.PairwiseDistance):
        return pl.nn.PairwiseDistance(value.norm, value.eps, value.keepdim)
    if value is torch.nn.functional.pairwise_distance:
        return pl.nn.functional.pairwise_distance
    if isinstance(value, torch.memory_format):
        return getattr(pl, _FORMATS[value])
    return value


def _copied(value: torch.Tensor) -> np.ndarray:
    """The values as NumPy's, in memory laid out as theirs: what strides skip is there as well."""
    if value.is_contiguous() and value.untyped_storage().nbytes() == value.numel() * value.itemsize:
        return np.array(value.numpy(force=True), copy=True)
    whole = torch.empty(0, dtype=value.dtype).set_(value.untyped_storage()).numpy().copy()
    start = whole[value.storage_offset() :]
    return np.lib.stride_tricks.as_strided(start, value.shape, [s * value.itemsize for s in value.stride()])


def compare_sample(entry: Any, function: Any, sample: Any) -> None:
    """Runs one sample on both sides and compares results and gradients."""
    given = (sample.input, tuple(sample.args), dict(sample.kwargs))
    ours = pytree.tree_map(convert, given)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(1)
        reference = entry.op(sample.input, *sample.args, **sample.kwargs)
        result = function(ours[0], *ours[1], **ours[2])
        process = sample.output_process_fn_grad
        wanted = flat(process(reference))
        found = flat(process(result))
        assert len(wanted) == len(found), f"{len(found)} results, expected {len(wanted)}"
        loose = entry.name in RANDOM or sample.kwargs.get("dropout_p", 0)
        for ref, out in zip(wanted, found, strict=True):
            compare(ref, out, loose)
        if not loose:
            compare_gradients(given, ours, wanted, found)


def flat(value: Any) -> list[Any]:
    """The results as a list."""
    leaves = []
    for leaf in pytree.tree_leaves(list(value) if isinstance(value, (tuple, list)) else value):
        leaves.append(leaf)
    return leaves


def compare(ref: Any, out: Any, loose: bool = False) -> None:
    """Same shape, dtype and values; `loose` leaves out the values."""
    if not isinstance(ref, torch.Tensor):
        assert out == ref or (out != out and ref != ref), f"came {out}, expected {ref}"
        return
    assert isinstance(out, pl.Tensor), f"came {type(out).__name__}, expected a tensor"
    assert tuple(out.shape) == tuple(ref.shape), f"shape {tuple(out.shape)}, expected {tuple(ref.shape)}"
    assert out.dtype.name == str(ref.dtype).removeprefix("torch."), f"{out.dtype}, expected {ref.dtype}"
    if not loose:
        close(out.detach(), ref.detach())


def close(out: Any, ref: Any) -> None:
    """Values to 1e-7 in double precision, where both libraries sum in their own order."""
    name = str(ref.dtype).removeprefix("torch.")
    ref = ref.resolve_conj().resolve_neg()
    if name == "bfloat16":
        ref, out = ref.float(), out.to(pl.float32)
    tolerance = {"float16": 1e-3, "bfloat16": 1e-2, "float32": 1e-5, "complex64": 1e-5}.get(name, 1e-7)
    np.testing.assert_allclose(out.numpy(), ref.numpy(force=True), rtol=tolerance, atol=tolerance)


def compare_gradients(given: Any, ours: Any, wanted: list[Any], found: list[Any]) -> None:
    """The gradients of all leaves for one random cotangent per differentiable result."""
    pairs = [(r, o) for r, o in zip(wanted, found, strict=True) if isinstance(r, torch.Tensor) and r.requires_grad]
    if not pairs:
        return
    leaves = [t for t in pytree.tree_leaves(given) if isinstance(t, torch.Tensor) and t.requires_grad]
    mine = [t for t in pytree.tree_leaves(ours) if isinstance(t, pl.Tensor) and t.requires_grad]
    assert len(leaves) == len(mine), "an input lost requires_grad"
    for _, o in pairs:
        assert o.requires_grad, "the result does not require a gradient"
    cotangents = [torch.randn(r.shape, dtype=torch.float32 if r.dtype.itemsize == 2 else r.dtype).to(r.dtype) for r, _ in pairs]
    expected = torch.autograd.grad([r for r, _ in pairs], leaves, cotangents, allow_unused=True)
    seeds = [convert(c) for c in cotangents]
    gradients = pl.autograd.grad([o for _, o in pairs], mine, seeds, allow_unused=True)
    for number, (ref, out) in enumerate(zip(expected, gradients, strict=True)):
        if ref is None or out is None:
            held = ref if out is None else out
            is_zero = held is None or not (held.detach().numpy() != 0).any()
            assert is_zero, f"gradient {number}: came {out}, expected {ref}"
            continue
        assert tuple(out.shape) == tuple(ref.shape), f"gradient {number}: {tuple(out.shape)}, expected {tuple(ref.shape)}"
        try:
            close(out.detach(), ref.detach())
        except AssertionError as error:
            raise AssertionError(f"gradient {number}: {error}") from None

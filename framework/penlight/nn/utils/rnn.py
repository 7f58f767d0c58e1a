# SPDX-License-Identifier: Apache-2.0
"""Sequences of different lengths in one batch: padded, or packed step by step without the padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from penlight.ops.shape import cat, stack
from penlight.ops.shape import pad as pad_constant
from penlight.tensor import Tensor, from_numpy, tensor


class PackedSequence(NamedTuple):
    """The steps of all sequences, longest sequence first: all first elements, then all second ones, and so on.

    Attributes:
        data: (sum of lengths, ...).
        batch_sizes: (T,), how many sequences still run at each step, int64.
        sorted_indices, unsorted_indices: (B,), the order of the sequences by length, and back; or None.
    """

    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None = None
    unsorted_indices: Tensor | None = None


def pad_sequence(
    sequences: Sequence[Tensor], batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """Returns sequences (L_i, ...) as one tensor (T, B, ...), or (B, T, ...), filled up with `padding_value`."""
    if padding_side not in ("left", "right"):
        raise ValueError(f"pad_sequence: padding_side must be 'left' or 'right', got {padding_side!r}")
    longest = max(sequence.shape[0] for sequence in sequences)
    rows = []
    for sequence in sequences:
        missing = longest - sequence.shape[0]
        pads = [0, 0] * (sequence.ndim - 1) + ([missing, 0] if padding_side == "left" else [0, missing])
        rows.append(pad_constant(sequence, pads, value=padding_value))
    return stack(rows, 0 if batch_first else 1)


def unpad_sequence(padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False) -> list[Tensor]:
    """Returns the sequences of a padded tensor, each cut to its length."""
    rows = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [row[: int(length)] for row, length in zip(rows.unbind(0), lengths.tolist(), strict=True)]


def pack_padded_sequence(input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True) -> PackedSequence:
    """Returns a padded tensor (T, B, ...), or (B, T, ...), packed.

    Args:
        input: the padded sequences.
        lengths: (B,), how long each is.
        batch_first: how `input` is arranged.
        enforce_sorted: whether lengths must not grow; otherwise the sequences are sorted.

    Raises:
        ValueError: a length is not positive, or they grow and `enforce_sorted` is set.
    """
    sizes = np.asarray(lengths.numpy() if isinstance(lengths, Tensor) else lengths, np.int64)
    if (sizes <= 0).any():
        raise ValueError(f"pack_padded_sequence: every length must be positive, got {sizes.tolist()}")
    x = input.transpose(0, 1) if batch_first else input
    order = None
    if enforce_sorted:
        if (np.diff(sizes) > 0).any():
            raise ValueError("pack_padded_sequence: lengths must not grow; sort the batch, or pass enforce_sorted=False")
    else:
        order = np.argsort(-sizes, kind="stable")
        sizes, x = sizes[order], x.index_select(1, from_numpy(order))
    batch_sizes = (sizes[None] > np.arange(sizes[0])[:, None]).sum(1)
    data = cat([x[t, : int(size)] for t, size in enumerate(batch_sizes)], 0)
    indices = () if order is None else (from_numpy(order), from_numpy(np.argsort(order)))
    return PackedSequence(data, tensor(batch_sizes), *indices)


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Returns sequences (L_i, ...) packed; see `pack_padded_sequence`."""
    return pack_padded_sequence(pad_sequence(sequences), [s.shape[0] for s in sequences], enforce_sorted=enforce_sorted)


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """Returns the sequences padded, (T, B, ...) or (B, T, ...), and their lengths (B,), in their first order."""
    sizes = sequence.batch_sizes.numpy()
    batch, length = int(sizes[0]), len(sizes)
    if total_length is not None and total_length < length:
        raise ValueError(f"pad_packed_sequence: total_length {total_length} is below the longest sequence, {length}")
    steps = []
    for step in sequence.data.split([int(size) for size in sizes]):
        steps.append(pad_constant(step, [0, 0] * (step.ndim - 1) + [0, batch - step.shape[0]], value=padding_value))
    padded = stack(steps, 0)
    if total_length is not None:
        padded = pad_constant(padded, [0, 0] * (padded.ndim - 1) + [0, total_length - length], value=padding_value)
    lengths = tensor((sizes[:, None] > np.arange(batch)).sum(0))
    if sequence.unsorted_indices is not None:
        padded = padded.index_select(1, sequence.unsorted_indices)
        lengths = lengths.index_select(0, sequence.unsorted_indices)
    return (padded.transpose(0, 1) if batch_first else padded), lengths


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """Returns the sequences of a packed one, each (T_i, ...)."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """Returns the permutation that undoes this one, or None for None."""
    return None if permutation is None else permutation.argsort()

# SPDX-License-Identifier: Apache-2.0
"""The embedded data set: 1,797 real 8x8 images of handwritten digits (README.md beside this file has source and licence)."""

from dataclasses import dataclass
from importlib.resources import files

import numpy as np

from penlight.data.arrays import read_npz


@dataclass(frozen=True)
class Digits:
    """Images (N, 1, 8, 8) float32 in 0..1 and labels (N,) int64, split once and for all."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def load_digits() -> Digits:
    """Returns the UCI handwritten digits: 1,397 images to train on and 400 held out.

    Example:
        >>> load_digits().test_images.shape
        (400, 1, 8, 8)
    """
    # The package is always installed as files (it has native code), so the resource is a path.
    arrays = read_npz(str(files("penlight.data") / "digits.npz"))
    images = (arrays["images"].astype(np.float32) / 16)[:, np.newaxis]
    labels = arrays["labels"].astype(np.int64)
    test = arrays["test"]
    return Digits(images[~test], labels[~test], images[test], labels[test])

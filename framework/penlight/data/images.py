# SPDX-License-Identifier: Apache-2.0
"""Image folders: one folder per class, any format Pillow reads."""

import os
from pathlib import Path

import numpy as np

from penlight.data.dataset import Dataset
from penlight.errors import DataError, FileFormatError, FileMissingError

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})


def read_image(path: str | os.PathLike[str], *, mode: str = "RGB", size: tuple[int, int] | None = None) -> np.ndarray:
    """Returns an image as (C, H, W) float32 in 0..1.

    Args:
        path: the file, in a format Pillow reads.
        mode: "RGB" (C = 3) or "L" (grey, C = 1).
        size: (H, W) to resize to, bilinear; None keeps the image's own.

    Raises:
        FileMissingError: there is no such file.
        FileFormatError: Pillow cannot read it.
    """
    from PIL import Image  # Pillow is not needed by those who have no images

    try:
        with Image.open(path) as image:
            picture = image.convert(mode)
    except FileNotFoundError as error:
        raise FileMissingError(f"image {path}: no such file; check the path") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise FileFormatError(f"image {path}: {error}; the file is damaged or not an image") from error
    if size is not None:
        picture = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    pixels = np.asarray(picture, np.float32) / 255
    return pixels[np.newaxis] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


class ImageFolder(Dataset):
    """Images of `root/CLASS/*.png` (and deeper), each with the index of its class; classes in alphabetical order.

    Attributes:
        classes: the names of the folders.
        samples: (path, class index), sorted, so that the order does not depend on the file system.
    """

    def __init__(self, root: str | os.PathLike[str], *, mode: str = "RGB", size: tuple[int, int] | None = None):
        folder = Path(root)
        if not folder.is_dir():
            raise FileMissingError(f"image folder {root}: no such folder; expected root/CLASS/image.png")
        self.classes = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        self.samples = [
            (path, label)
            for label, name in enumerate(self.classes)
            for path in sorted((folder / name).rglob("*"))
            if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
        ]
        if not self.samples:
            raise DataError(f"image folder {root}: no images found; expected root/CLASS/image.png with one folder per class")
        self.mode, self.size = mode, size

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        """Returns the image (C, H, W) float32 and its class."""
        path, label = self.samples[index]
        return read_image(path, mode=self.mode, size=self.size), label

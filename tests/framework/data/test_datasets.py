# SPDX-License-Identifier: Apache-2.0
"""Data sets, splits, collation and image folders."""

from collections import namedtuple

import numpy as np
import pytest
from data_sets import Squares

from penlight.data import ConcatDataset, DataLoader, ImageFolder, Subset, TensorDataset, default_collate, random_split, read_image
from penlight.errors import DataError, FileFormatError, FileMissingError
from penlight.tensor import tensor


def test_tensor_dataset():
    dataset = TensorDataset(np.arange(6).reshape(3, 2), tensor([1.0, 2.0, 3.0]))
    assert len(dataset) == 3
    row, label = dataset[1]
    assert row.tolist() == [2, 3]
    assert label == 2.0
    with pytest.raises(DataError, match=r"lengths \[3, 2\]"):
        TensorDataset(np.zeros(3), np.zeros(2))
    with pytest.raises(DataError):
        TensorDataset()


def test_whole_batches_equal_collated_items():
    dataset = TensorDataset(np.arange(14.0).reshape(7, 2), np.arange(7))

    def rows(collate_fn):
        loader = DataLoader(dataset, 3, shuffle=True, collate_fn=collate_fn)
        return [[part.numpy().tolist() for part in batch] for batch in loader]

    fast, slow = rows(None), rows(lambda items: default_collate(items))
    assert fast == slow


def test_batches_can_be_written_to_without_changing_the_data():
    data = np.zeros((4, 2), np.float32)
    for (batch,) in DataLoader(TensorDataset(data), 2):
        batch.numpy()[...] = 1
    assert not data.any()


def test_concat_and_subset():
    both = Squares(3) + Squares(2)
    assert isinstance(both, ConcatDataset)
    assert [both[i][1] for i in range(len(both))] == [0, 1, 2, 0, 1]
    assert both[-1][1] == 1
    with pytest.raises(IndexError, match="index 5 is out of range for 5 items"):
        both[5]
    subset = Subset(Squares(10), [7, 2])
    assert [subset[i][1] for i in range(len(subset))] == [7, 2]
    with pytest.raises(DataError, match="reach from 2 to 10"):
        Subset(Squares(10), [2, 10])


@pytest.mark.parametrize("lengths", [[70, 30], [0.7, 0.3], [0.705, 0.295]])
def test_random_split(lengths):
    parts = random_split(Squares(100), lengths, seed=1)
    assert [len(part) for part in parts] == [70, 30]
    indices = [part.indices.tolist() for part in parts]
    assert sorted(indices[0] + indices[1]) == list(range(100))
    assert indices == [part.indices.tolist() for part in random_split(Squares(100), lengths, seed=1)]
    assert indices != [part.indices.tolist() for part in random_split(Squares(100), lengths, seed=2)]


@pytest.mark.parametrize("lengths", [[70, 31], [0.7, 0.2], [-1, 101]])
def test_bad_split(lengths):
    with pytest.raises(DataError, match="add up"):
        random_split(Squares(100), lengths)


def test_collate():
    Pair = namedtuple("Pair", ["x", "y"])
    items = [{"a": Pair(np.float32(i), i), "s": "text", "n": None, "t": [tensor([1.0 * i]), True]} for i in range(2)]
    batch = default_collate(items)
    assert isinstance(batch["a"], Pair)
    assert batch["a"].x.dtype == np.float32
    assert batch["a"].y.dtype == np.int64
    assert batch["s"] == ["text", "text"]
    assert batch["n"] == [None, None]
    assert batch["t"][0].tolist() == [[0.0], [1.0]]
    assert batch["t"][1].dtype == np.bool_
    assert default_collate([1.0, 2.0]).dtype == np.float64
    with pytest.raises(DataError, match=r"different lengths \[1, 2\]"):
        default_collate([(1,), (1, 2)])


@pytest.fixture
def image_folder(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for label, name in enumerate(["cat", "dog"]):
        (tmp_path / name).mkdir()
        for index in range(2):
            pixels = np.full((4, 6, 3), 100 * label + index, np.uint8)
            image.fromarray(pixels).save(tmp_path / name / f"{index}.png")
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    return tmp_path


def test_image_folder(image_folder):
    dataset = ImageFolder(image_folder)
    assert dataset.classes == ["cat", "dog"]
    assert len(dataset) == 4
    image, label = dataset[3]
    assert image.shape == (3, 4, 6)
    assert image.dtype == np.float32
    assert label == 1
    np.testing.assert_allclose(image, 101 / 255, rtol=1e-6)
    grey, _ = ImageFolder(image_folder, mode="L", size=(2, 3))[0]
    assert grey.shape == (1, 2, 3)


def test_image_errors(image_folder, tmp_path):
    (tmp_path / "cat" / "0.png").write_bytes((tmp_path / "cat" / "0.png").read_bytes()[:40])
    with pytest.raises(FileFormatError, match=r"image .*0\.png"):
        ImageFolder(image_folder)[0]
    with pytest.raises(FileMissingError, match="no such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(FileMissingError, match="no such folder"):
        ImageFolder(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images found"):
        ImageFolder(tmp_path / "empty")

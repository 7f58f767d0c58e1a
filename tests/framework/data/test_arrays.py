# SPDX-License-Identifier: Apache-2.0
"""Readers of whole arrays: right answers, and clear errors for files that are not what they should be."""

import gzip

import numpy as np
import pytest

from penlight.data import check_finite, load_digits, read_csv, read_idx, read_npz, read_text
from penlight.data.arrays import IDX_DTYPES
from penlight.errors import DataError, FileFormatError, FileMissingError


def idx_bytes(array: np.ndarray, code: int = 8) -> bytes:
    header = bytes([0, 0, code, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.astype(IDX_DTYPES[code]).tobytes()


@pytest.mark.parametrize("code", IDX_DTYPES)
@pytest.mark.parametrize("compressed", [False, True])
def test_idx(tmp_path, code, compressed):
    array = np.arange(24).reshape(2, 3, 4)
    data = idx_bytes(array, code)
    (tmp_path / "x").write_bytes(gzip.compress(data) if compressed else data)
    result = read_idx(tmp_path / "x")
    assert result.dtype == IDX_DTYPES[code].newbyteorder("=")
    assert result.dtype.isnative
    np.testing.assert_array_equal(result, array)


def test_idx_of_length_zero(tmp_path):
    (tmp_path / "x").write_bytes(idx_bytes(np.zeros((0, 28, 28))))
    assert read_idx(tmp_path / "x").shape == (0, 28, 28)


def test_every_truncation_of_an_idx_file_is_an_error(tmp_path):
    data = idx_bytes(np.arange(6).reshape(2, 3))
    path = tmp_path / "x"
    for size in [*range(len(data)), len(data) + 1]:
        path.write_bytes((data + b"!")[:size])
        with pytest.raises(FileFormatError):
            read_idx(path)
    packed = gzip.compress(data)
    for size in range(2, len(packed)):
        path.write_bytes(packed[:size])
        with pytest.raises(FileFormatError):
            read_idx(path)


def test_idx_says_what_is_wrong(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"\x89PNG\r\n")
    with pytest.raises(FileFormatError, match=r"idx file .*x: .*starts with 89 50 4e 47"):
        read_idx(path)
    path.write_bytes(idx_bytes(np.zeros((2, 3)))[:-1])
    with pytest.raises(FileFormatError, match=r"shape \(2, 3\), hence 18 bytes, and the file has 17"):
        read_idx(path)
    path.write_bytes(bytes([0, 0, 8, 3]) + b"\xff" * 12)  # claims 10^28 bytes
    with pytest.raises(FileFormatError, match="cut off"):
        read_idx(path)
    with pytest.raises(FileMissingError, match="No such file"):
        read_idx(tmp_path / "none")


def test_npz(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", a=np.arange(3), b=np.eye(2, dtype=np.float32))
    arrays = read_npz(tmp_path / "x.npz")
    assert sorted(arrays) == ["a", "b"]
    assert arrays["b"].dtype == np.float32
    data = (tmp_path / "x.npz").read_bytes()
    for size in (0, 3, len(data) // 2, len(data) - 1):
        (tmp_path / "y").write_bytes(data[:size])
        with pytest.raises(FileFormatError):
            read_npz(tmp_path / "y")


def test_npz_never_unpickles(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.array([{"python": "object"}], dtype=object))
    with pytest.raises(FileFormatError, match="Python objects"):
        read_npz(tmp_path / "x.npz")


@pytest.mark.parametrize("header", ["a,b\n", ""])
def test_csv(tmp_path, header):
    (tmp_path / "x.csv").write_text(f"\ufeff{header}1,2.5\n\n-3,nan\n", encoding="utf-8")
    names, values = read_csv(tmp_path / "x.csv")
    assert names == (["a", "b"] if header else ["0", "1"])
    np.testing.assert_array_equal(values, np.array([[1, 2.5], [-3, np.nan]], np.float32))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n3\n", "line 3: expected 2 fields, found 1"),
        ("a,b\n1,x\n", "line 2, column 'b': expected a number, found 'x'"),
        ("\n\n", "no rows"),
    ],
)
def test_bad_csv(tmp_path, text, message):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(FileFormatError, match=message):
        read_csv(tmp_path / "x.csv")


def test_text(tmp_path):
    (tmp_path / "x").write_bytes("na\u00efve".encode())
    assert read_text(tmp_path / "x") == "na\u00efve"
    (tmp_path / "x").write_bytes(b"ok \xff")
    with pytest.raises(FileFormatError, match="byte 3 is not UTF-8"):
        read_text(tmp_path / "x")


def test_check_finite():
    good = np.zeros((2, 3), np.float32)
    assert check_finite(good, "x") is good
    check_finite(np.arange(3), "labels")
    check_finite(np.zeros((0, 2)), "nothing")
    good[1, 2] = np.inf
    with pytest.raises(DataError, match=r"x \(2, 3\): 1 of 6 values are NaN or infinite, the first at index \(1, 2\) \(inf\)"):
        check_finite(good, "x")


def test_digits():
    digits = load_digits()
    assert (digits.train_images.shape, digits.test_images.shape) == ((1397, 1, 8, 8), (400, 1, 8, 8))
    assert (digits.train_images.dtype, digits.train_labels.dtype) == (np.float32, np.int64)
    assert (digits.train_images.min(), digits.train_images.max()) == (0, 1)
    assert sorted(set(digits.test_labels.tolist())) == list(range(10))
    assert digits.test_labels[:8].tolist() == [2, 2, 3, 0, 8, 8, 7, 8]  # the split never moves


def test_digits_are_those_of_scikit_learn():
    datasets = pytest.importorskip("sklearn.datasets")
    digits, theirs = load_digits(), datasets.load_digits()
    test = np.zeros(1797, bool)
    test[np.random.default_rng(0).permutation(1797)[:400]] = True
    np.testing.assert_array_equal(digits.test_images[:, 0] * 16, theirs.images[test])
    np.testing.assert_array_equal(digits.train_labels, theirs.target[~test])

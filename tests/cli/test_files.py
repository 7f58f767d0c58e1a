# SPDX-License-Identifier: Apache-2.0
"""Inputs from files: what is read, and the clear refusal of everything else."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from penlight_cli.arrays import InputInfo, Reading, read_inputs, save_outputs
from penlight_cli.errors import InputFormat, InputMissing, InputValue, OutputFailed, UsageProblem
from penlight_cli.files import new_folder, written

F32 = np.dtype(np.float32)
IMAGE = [InputInfo("x", F32, ("batch", 1, 4, 6))]
PAIR = [InputInfo("a", F32, (2,)), InputInfo("b", np.dtype(np.int64), (3,))]


def save(path, array):
    np.save(path, array)
    return str(path)


def test_npy_by_position_and_by_name(tmp_path):
    array = np.random.default_rng(0).random((2, 1, 4, 6), np.float32)
    path = save(tmp_path / "x.npy", array)
    for source in (path, f"x={path}"):
        np.testing.assert_array_equal(read_inputs([source], IMAGE, Reading())["x"], array)


def test_a_sample_without_batch_gets_one(tmp_path):
    assert read_inputs([save(tmp_path / "x.npy", np.ones((1, 4, 6), np.float32))], IMAGE, Reading())["x"].shape == (1, 1, 4, 6)


def test_npz_by_names(tmp_path):
    np.savez(tmp_path / "in.npz", a=np.ones(2, np.float32), b=np.arange(3))
    arrays = read_inputs([str(tmp_path / "in.npz")], PAIR, Reading())
    assert list(arrays) == ["a", "b"] and arrays["b"].dtype == np.int64


def test_a_lone_array_of_an_npz_needs_no_name(tmp_path):
    np.savez(tmp_path / "in.npz", whatever=np.ones((1, 1, 4, 6), np.float32))
    assert read_inputs([str(tmp_path / "in.npz")], IMAGE, Reading())["x"].shape == (1, 1, 4, 6)


@pytest.mark.parametrize(("channels", "mode"), [(1, "RGB"), (3, "L"), (3, "RGBA"), (1, "1")])
def test_pictures_become_what_the_model_declares(tmp_path, channels, mode):
    Image.new(mode, (30, 20), 1 if mode == "1" else "white").save(tmp_path / "p.png")
    info = InputInfo("x", F32, ("batch", channels, 4, 6))
    array = read_inputs([str(tmp_path / "p.png")], [info], Reading())["x"]
    assert array.shape == (1, channels, 4, 6) and array.dtype == F32
    np.testing.assert_allclose(array, 1.0, rtol=1e-6)


def test_picture_keeps_place_and_scale(tmp_path):
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    array = read_inputs([str(tmp_path / "p.png")], IMAGE, Reading(scale=0.5))["x"]
    np.testing.assert_array_equal(array[0, 0], pixels * np.float32(0.5))


BAD_FILES = {
    "empty.npy": b"",
    "short.npy": b"\x93NUMPY\x01\x00v\x00{'descr': '<f4'",
    "foreign.npy": b"hello, I am a text",
    "foreign.npz": b"PK\x03\x04 but not really a zip",
    "foreign.png": b"\x89PNG\r\n\x1a\n and then nothing",
    "x.txt": b"1 2 3",
    "none": b"1",
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_refused(tmp_path, name):
    (tmp_path / name).write_bytes(BAD_FILES[name])
    with pytest.raises(InputFormat, match=name):
        read_inputs([str(tmp_path / name)], IMAGE, Reading())


def test_objects_are_never_unpickled(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(InputFormat):
        read_inputs([str(tmp_path / "x.npy")], IMAGE, Reading())


@pytest.mark.parametrize("cut", [1, 20, 80, 150, 300])
@pytest.mark.parametrize("suffix", ["npy", "npz", "png"])
def test_truncated_files_are_refused(tmp_path, suffix, cut):
    buffer = io.BytesIO()
    array = np.random.default_rng(0).random((1, 1, 4, 6), np.float32)
    if suffix == "npy":
        np.save(buffer, array)
    elif suffix == "npz":
        np.savez(buffer, x=array)
    else:
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 30), np.uint8)).save(buffer, "PNG")
    path = tmp_path / f"x.{suffix}"
    data = buffer.getvalue()
    path.write_bytes(data[: min(cut, len(data) - 20)])
    with pytest.raises(InputFormat):
        read_inputs([str(path)], IMAGE, Reading())


def test_missing_and_folder(tmp_path):
    with pytest.raises(InputMissing, match="no such file"):
        read_inputs([str(tmp_path / "x.npy")], IMAGE, Reading())
    with pytest.raises(InputMissing, match="folder"):
        read_inputs([str(tmp_path)], IMAGE, Reading())


def test_dtype_is_never_cast_unless_asked(tmp_path):
    path = save(tmp_path / "x.npy", np.zeros((1, 1, 4, 6)))
    with pytest.raises(InputValue, match=r"expected float32\[batch, 1, 4, 6\], came float64\[1, 1, 4, 6\].*--cast"):
        read_inputs([path], IMAGE, Reading())
    assert read_inputs([path], IMAGE, Reading(cast=True))["x"].dtype == F32


def test_cast_refuses_to_lose_values(tmp_path):
    with pytest.raises(InputValue, match="would change values"):
        read_inputs([save(tmp_path / "b.npy", np.array([1.5, 2, 3]))], [PAIR[1]], Reading(cast=True))


@pytest.mark.parametrize("shape", [(1, 1, 4, 5), (1, 2, 4, 6), (4, 6), (1, 1, 1, 4, 6)])
def test_wrong_shapes_are_refused(tmp_path, shape):
    with pytest.raises(InputValue, match="expected float32"):
        read_inputs([save(tmp_path / "x.npy", np.zeros(shape, np.float32))], IMAGE, Reading())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused_unless_allowed(tmp_path, value):
    array = np.zeros((1, 1, 4, 6), np.float32)
    array[0, 0, 1, 2] = value
    path = save(tmp_path / "x.npy", array)
    with pytest.raises(InputValue, match=r"at \[0, 0, 1, 2\].*--allow-nan"):
        read_inputs([path], IMAGE, Reading())
    assert not np.isfinite(read_inputs([path], IMAGE, Reading(allow_nan=True))["x"]).all()


def test_missing_and_unknown_names(tmp_path):
    path = save(tmp_path / "a.npy", np.zeros(2, np.float32))
    with pytest.raises(UsageProblem, match="nothing was given for b"):
        read_inputs([f"a={path}"], PAIR, Reading())
    with pytest.raises(UsageProblem, match="no input 'c'"):
        read_inputs([f"c={path}"], PAIR, Reading())
    with pytest.raises(UsageProblem, match="2 inputs; write NAME="):
        read_inputs([path], PAIR, Reading())


def test_outputs_round_trip(tmp_path):
    arrays = {"y": np.random.default_rng(0).random((2, 3), np.float32), "n": np.arange(3)}
    save_outputs(tmp_path / "o.npz", arrays)
    with np.load(tmp_path / "o.npz") as archive:
        assert all(np.array_equal(archive[name], array) for name, array in arrays.items())
    save_outputs(tmp_path / "o.json", arrays)
    assert json.loads((tmp_path / "o.json").read_text())["n"] == [0, 1, 2]
    with pytest.raises(UsageProblem, match="single output"):
        save_outputs(tmp_path / "o.npy", arrays)


def test_written_has_the_checksum(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    assert written(tmp_path / "f")["sha256"].startswith("ba7816bf8f01cfea")


def test_folder_under_a_file_fails(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(OutputFailed):
        new_folder(tmp_path / "file" / "sub")

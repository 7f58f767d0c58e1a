# SPDX-License-Identifier: Apache-2.0
"""`load` and `save` without PyTorch: round trips, the choice of the format, and what cannot be saved."""

from collections import OrderedDict

import numpy as np
import pytest

import penlight as pl
from penlight.errors import ArgumentError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.pt"


def test_round_trip_of_everything(path):
    x = pl.tensor([[1.5, -2.0]], requires_grad=True)
    content = {
        "x": x,
        "half": pl.tensor([1.0, 2.0], dtype=pl.bfloat16),
        "wide": pl.tensor([2**63], dtype=pl.uint64),
        "complex": pl.tensor([1 + 2j]),
        "nested": [(1, 2.5, None, True, "é"), OrderedDict(z=b"\xff\x00", a={3, 4}), -(2**40), 1j],
        "dtype": pl.float16,
        "number": np.float32(0.5),
        1: ["tied", x],
    }
    pl.save(content, path)
    loaded = pl.load(path)
    assert list(loaded) == list(content)
    assert loaded["x"].tolist() == [[1.5, -2.0]] and loaded["x"].requires_grad
    assert loaded[1][1] is loaded["x"]
    assert loaded["half"].dtype is pl.bfloat16 and loaded["half"].tolist() == [1.0, 2.0]
    assert loaded["wide"].dtype is pl.uint64 and loaded["wide"].tolist() == [2**63]
    assert loaded["complex"].tolist() == [1 + 2j]
    assert loaded["nested"] == content["nested"] and type(loaded["nested"][1]) is OrderedDict
    assert loaded["dtype"] is pl.float16 and loaded["number"] == 0.5


def test_sizes_zero_and_many_names(path):
    content = {f"layer.{i}.weight": pl.full((i % 3, 2), i) for i in range(700)}  # more than a one-byte memo holds
    pl.save(content, path)
    loaded = pl.load(path)
    assert all(loaded[name].tolist() == value.tolist() and loaded[name].shape == value.shape for name, value in content.items())


def test_loaded_tensors_are_writable_and_own_their_memory(path):
    pl.save([pl.zeros(3)], path)
    loaded = pl.load(path)
    loaded[0].add_(1.0)
    assert loaded[0].tolist() == [1.0, 1.0, 1.0]
    assert pl.load(path)[0].tolist() == [0.0, 0.0, 0.0]


def test_the_suffix_chooses_the_format_and_the_content_is_recognised(tmp_path):
    tensors = {"w": pl.ones(2, 3)}
    pl.save(tensors, tmp_path / "a.safetensors")
    (tmp_path / "a.safetensors").rename(tmp_path / "misnamed.pt")
    assert pl.load(tmp_path / "misnamed.pt")["w"].shape == (2, 3)
    pl.save(tensors, tmp_path / "b.pth")
    (tmp_path / "b.pth").rename(tmp_path / "b.bin")
    assert pl.load(tmp_path / "b.bin")["w"].tolist() == tensors["w"].tolist()
    with pytest.raises(TypeError, match="a dict of tensors by name"):
        pl.save({"w": [1]}, tmp_path / "c.safetensors")


def test_a_view_shared_with_its_base_stays_one(path):
    base = pl.arange(6)
    pl.save({"base": base, "view": base[2:4]}, path)
    loaded = pl.load(path)
    loaded["view"].fill_(9)
    assert loaded["base"].tolist() == [0, 1, 9, 9, 4, 5]


REFUSED = {
    "module": (pl.nn.Linear(2, 2), "Linear; save its .state_dict()"),
    "array": (np.zeros(2), "wrap it with penlight.from_numpy"),
    "function": (len, "a builtin_function_or_method"),
    "object in a list": ([object()], "a object"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_saved(name, path):
    value, message = REFUSED[name]
    path.write_bytes(b"old")
    with pytest.raises(TypeError, match=message.replace(".", r"\.").replace("(", r"\(").replace(")", r"\)")):
        pl.save({"value": value}, path)
    assert path.read_bytes() == b"old"


def test_cycles_and_depth_are_refused(path):
    cycle: list = []
    cycle.append(cycle)
    deep: list = []
    for _ in range(120):
        deep = [deep]
    for value in (cycle, deep):
        with pytest.raises(ValueError, match="contain each other, or are nested"):
            pl.save(value, path)
    assert not path.exists()


def test_a_failed_write_keeps_the_old_file(path, monkeypatch):
    pl.save([1], path)

    def fail(self, *args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("zipfile.ZipFile.writestr", fail)
    with pytest.raises(pl.PenlightError, match="the disk is full"):
        pl.save([2], path)
    monkeypatch.undo()
    assert pl.load(path) == [1]
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_load_takes_pytorchs_arguments(tmp_path):
    path = tmp_path / "a.pt"
    pl.save({"model": {"w": pl.ones(2)}, "steps": [1, (pl.zeros(1), 2)]}, path)
    for options in ({"map_location": "cpu"}, {"map_location": pl.device("cpu"), "weights_only": True}):
        loaded = pl.load(path, **options)
        assert loaded["model"]["w"].tolist() == [1.0, 1.0]
        assert loaded["steps"][1][0].tolist() == [0.0] and type(loaded["steps"][1]) is tuple
    with pytest.raises(ArgumentError, match="weights_only=False would run code"):
        pl.load(path, weights_only=False)
    with pytest.raises(ArgumentError, match="map_location must be a device such as 'cpu', came dict"):
        pl.load(path, map_location={"cuda:0": "cpu"})

# SPDX-License-Identifier: Apache-2.0
"""`.pt` files between Penlight and PyTorch, both ways."""

from collections import Counter, OrderedDict

import numpy as np
import pytest

import penlight as pl

torch = pytest.importorskip("torch")

DTYPES = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "uint16", "complex64"]


def as_numpy(t):
    """A torch tensor's values; NumPy knows bfloat16 as numbers only."""
    t = t.detach()
    return t.float().numpy() if t.dtype is torch.bfloat16 else t.numpy()


def assert_same(ours, theirs):
    assert ours.dtype.name == str(theirs.dtype).removeprefix("torch.")
    assert tuple(ours.shape) == tuple(theirs.shape)
    values = ours.detach().numpy()
    np.testing.assert_array_equal(values.astype(np.float32) if ours.dtype is pl.bfloat16 else values, as_numpy(theirs))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.pt"


@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype_comes_from_torch_and_goes_back(name, path):
    original = (torch.arange(-6, 6).reshape(3, 4) / 2).to(getattr(torch, name))
    torch.save({"x": original, "empty": original[:0], "scalar": original[1, 1].clone()}, path)
    loaded = pl.load(path)
    for key, theirs in torch.load(path).items():
        assert_same(loaded[key], theirs)
    pl.save(loaded, path)
    for key, theirs in torch.load(path, weights_only=True).items():
        assert_same(loaded[key], theirs)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_nested_containers_of_all_protocols(protocol, path):
    content = {
        "list": [1, -1, 255, 256, 70000, -(2**31), 2**31, 2**70, [[], {}]],
        "tuple": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
        "numbers": {0: 0.5, 1: float("inf"), None: True, "c": 2 - 1j},
        "text": "naïve ✓" * 60,
        "bytes": bytes(range(256)) * 2,
        "sets": {1, 2, "three"},
        "ordered": OrderedDict(b=1, a=OrderedDict()),
        "counts": Counter(abca=3),
        "size": torch.Size([2, 3]),
        "dtype": torch.int32,
        "shared": [[1, 2]] * 3,
    }
    torch.save(content, path, pickle_protocol=protocol)
    loaded = pl.load(path)
    assert loaded == {**content, "size": (2, 3), "dtype": pl.int32}
    assert type(loaded["ordered"]) is OrderedDict and list(loaded["ordered"]) == ["b", "a"]
    assert loaded["shared"][0] is loaded["shared"][1]
    del loaded["counts"]
    pl.save(loaded, path)
    again = torch.load(path, weights_only=True)
    assert again == {k: v for k, v in content.items() if k != "counts"}
    assert again["shared"][0] is again["shared"][1]


def test_state_dict_keeps_order_parameters_and_metadata(path):
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    torch.save(
        {"model": model.state_dict(), "parameter": model[0].weight, "frozen": torch.nn.Parameter(torch.ones(2), False)}, path
    )
    loaded = pl.load(path)
    assert list(loaded["model"]) == list(model.state_dict())
    assert loaded["model"]._metadata["1"] == {"version": 2}
    assert type(loaded["parameter"]) is pl.nn.Parameter and loaded["parameter"].requires_grad
    assert type(loaded["frozen"]) is pl.nn.Parameter and not loaded["frozen"].requires_grad
    ours = pl.nn.Sequential(pl.nn.Linear(3, 4), pl.nn.BatchNorm1d(4))
    ours.load_state_dict(loaded["model"])
    pl.save({"model": ours.state_dict(), "parameter": ours[0].weight}, path)
    again = torch.load(path, weights_only=True)
    assert isinstance(again["parameter"], torch.nn.Parameter) and again["parameter"].requires_grad
    torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)).load_state_dict(again["model"])
    torch.testing.assert_close(again["model"]["0.weight"], model[0].weight.detach())


def test_strides_of_torch_are_kept(path):
    base = torch.arange(24.0).reshape(2, 3, 4)
    views = {
        "transposed": base.transpose(0, 2),
        "slice": base[:, 1:, ::2],
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "expanded": torch.arange(3.0).reshape(3, 1).expand(3, 5),
    }
    torch.save(views, path)
    loaded = pl.load(path)
    for name, theirs in views.items():
        assert_same(loaded[name], theirs)
        assert loaded[name].stride() == theirs.stride()


def test_shared_storages_stay_shared_both_ways(path):
    base = torch.arange(12.0)
    torch.save({"all": base, "head": base[:4], "grid": base.view(3, 4).t(), "again": base}, path)
    loaded = pl.load(path)
    loaded["all"][1] = 50.0
    assert float(loaded["head"][1]) == 50.0 and float(loaded["grid"][1, 0]) == 50.0
    assert loaded["again"] is loaded["all"]
    pl.save(loaded, path)
    again = torch.load(path, weights_only=True)
    again["head"][2] = 60.0
    assert float(again["all"][2]) == 60.0 and float(again["grid"][2, 0]) == 60.0
    assert again["grid"].stride() == (1, 4)


def test_only_the_tensors_own_memory_is_written(path):
    base = pl.zeros(1000, 1000)
    pl.save({"column": base[:, 0], "row": base[3], "reversed": pl.from_numpy(np.arange(5)[::-1])}, path)
    assert path.stat().st_size < 4_200_000  # the column and the row overlap: one storage spans both
    pl.save({"column": base[:, 0]}, path)
    assert path.stat().st_size < 10_000
    pl.save({"reversed": pl.from_numpy(np.arange(5)[::-1])}, path)
    assert torch.load(path)["reversed"].tolist() == [4, 3, 2, 1, 0]


def test_storages_are_aligned_and_files_repeat(path, tmp_path):
    content = {f"weight{i}": pl.full((i + 1,), float(i)) for i in range(5)}
    pl.save(content, path)
    pl.save(content, tmp_path / "other.pt")
    assert path.read_bytes() == (tmp_path / "other.pt").read_bytes()
    mapped = torch.load(path, weights_only=True, mmap=True)
    assert all(t.data_ptr() % 64 == 0 for t in mapped.values())
    assert mapped["weight3"].tolist() == [3.0] * 4


def train(model, optimizer, library, inputs, targets, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        loss = ((model(inputs) - targets) ** 2).mean()
        loss.backward()
        optimizer.step()
    return float(loss.detach())


def twins():
    generator = np.random.default_rng(4)
    weight, bias = generator.standard_normal((2, 3)).astype(np.float32), np.zeros(2, np.float32)
    x, y = generator.standard_normal((8, 3)).astype(np.float32), generator.standard_normal((8, 2)).astype(np.float32)
    theirs, ours = torch.nn.Linear(3, 2), pl.nn.Linear(3, 2)
    theirs.load_state_dict({"weight": torch.from_numpy(weight.copy()), "bias": torch.from_numpy(bias.copy())})
    ours.load_state_dict({"weight": pl.from_numpy(weight.copy()), "bias": pl.from_numpy(bias.copy())})
    return theirs, ours, (torch.from_numpy(x), torch.from_numpy(y)), (pl.from_numpy(x), pl.from_numpy(y))


@pytest.mark.parametrize("name", ["AdamW", "SGD"])
def test_optimizer_state_travels_both_ways(name, path):
    settings = {"lr": 0.05, "momentum": 0.9} if name == "SGD" else {"lr": 0.05, "betas": (0.8, 0.95)}
    theirs, ours, their_data, our_data = twins()
    their_optimizer = getattr(torch.optim, name)(theirs.parameters(), **settings)
    train(theirs, their_optimizer, torch, *their_data, steps=3)
    torch.save({"model": theirs.state_dict(), "optimizer": their_optimizer.state_dict()}, path)

    loaded = pl.load(path)
    ours.load_state_dict(loaded["model"])
    our_optimizer = getattr(pl.optim, name)(ours.parameters(), lr=1.0)
    our_optimizer.load_state_dict(loaded["optimizer"])
    train(ours, our_optimizer, pl, *our_data, steps=3)
    pl.save({"model": ours.state_dict(), "optimizer": our_optimizer.state_dict()}, path)

    back = torch.load(path, weights_only=True)
    theirs_again, _, _, _ = twins()
    theirs_again.load_state_dict(back["model"])
    again_optimizer = getattr(torch.optim, name)(theirs_again.parameters(), lr=1.0)
    again_optimizer.load_state_dict(back["optimizer"])
    train(theirs_again, again_optimizer, torch, *their_data, steps=3)
    train(theirs, their_optimizer, torch, *their_data, steps=6)  # the same nine steps without leaving PyTorch
    np.testing.assert_allclose(theirs_again.weight.detach().numpy(), theirs.weight.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_a_big_endian_file(path):
    """torch.save writes in the machine's order; this is what a big-endian machine would have written."""
    import pt_builder as build

    body = (
        b"}("
        + build.text("f")
        + build.tensor()
        + build.text("c")
        + build.tensor(2, 0, (2,), (1,), "1", "torch ComplexFloatStorage")
    )
    data = np.arange(4, dtype=">f4").tobytes()
    build.write(path, body + b"u", data, byteorder=b"big", **{"data/1": np.array([1 + 2j, -3j], ">c8").tobytes()})
    loaded = pl.load(path)
    assert loaded["f"].tolist() == [[0.0, 1.0], [2.0, 3.0]]
    assert loaded["c"].tolist() == [1 + 2j, -3j]

# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: what is saved comes back exactly; half a checkpoint is never seen; damage is noticed."""

import json
import os

import numpy as np
import pytest

import penlight as pl
from penlight import nn, optim
from penlight.data import DataLoader, TensorDataset
from penlight.errors import CheckpointError, FileFormatError, FileMissingError, NumericalError, SaveError, StateDictError
from penlight.optim.lr_scheduler import StepLR
from penlight.train import has_checkpoint, load_checkpoint, save_checkpoint


def parts():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    optimizer = optim.AdamW(model.parameters(), lr=0.1)
    scheduler = StepLR(optimizer, 2)
    loader = DataLoader(TensorDataset(np.arange(12.0, dtype=np.float32).reshape(4, 3)), 2, shuffle=True)
    return model, optimizer, scheduler, loader


def advance(model, optimizer, scheduler, loader):
    batch = next(iter(loader))[0]
    optimizer.zero_grad()
    model(batch).square().sum().backward()
    optimizer.step()
    scheduler.step()


EXTRA = {
    "text": "x",
    "none": None,
    "numbers": [1, 2.5, float("inf"), -1e-300, True],
    "tuple": (1, "a"),
    "keys": {3: "three"},
    "array": np.arange(3, dtype=np.int8),
    "nested": {"tensor": pl.ones(2), "empty": {}},
}


def test_everything_comes_back(tmp_path):
    saved = parts()
    advance(*saved)
    pl.manual_seed(5)
    pl.rand(3)
    save_checkpoint(tmp_path / "run", *saved, step=7, extra=EXTRA)
    expected = pl.rand(4).tolist()
    fresh = parts()
    checkpoint = load_checkpoint(tmp_path / "run", *fresh)
    assert pl.rand(4).tolist() == expected
    assert checkpoint.step == 7
    for name, value in saved[0].state_dict().items():
        np.testing.assert_array_equal(fresh[0].state_dict()[name].numpy(), value.numpy())
    for number, entry in saved[1].state_dict()["state"].items():
        for name, value in entry.items():
            np.testing.assert_array_equal(fresh[1].state_dict()["state"][number][name].numpy(), value.numpy())
    assert fresh[1].state_dict()["param_groups"] == saved[1].state_dict()["param_groups"]
    assert isinstance(fresh[1].param_groups[0]["betas"], tuple)
    assert fresh[2].state_dict() == saved[2].state_dict()
    assert fresh[3].state_dict() == saved[3].state_dict() == {"seed": 0, "epoch": 0, "position": 1, "batch_size": 2}
    extra = checkpoint.extra
    plain = ("text", "none", "numbers", "tuple", "keys")
    assert [extra[key] for key in plain] == [EXTRA[key] for key in plain]
    assert extra["array"].dtype == np.int8
    assert isinstance(extra["nested"]["tensor"], pl.Tensor)


def test_the_model_alone(tmp_path):
    saved = parts()
    save_checkpoint(tmp_path, *saved)
    model = parts()[0]
    state = pl.get_rng_state()
    load_checkpoint(tmp_path, model)
    assert pl.get_rng_state() == state
    np.testing.assert_array_equal(model[0].weight.detach().numpy(), saved[0][0].weight.detach().numpy())
    save_checkpoint(tmp_path / "bare", saved[0])
    with pytest.raises(CheckpointError, match="holds no optimizer state"):
        load_checkpoint(tmp_path / "bare", *parts())


def test_one_pair_of_files_is_kept(tmp_path):
    saved = parts()
    for step in range(3):
        advance(*saved)
        save_checkpoint(tmp_path, *saved, step=step)
    assert len(list(tmp_path.iterdir())) == 2
    save_checkpoint(tmp_path, *saved, step=2)  # the same again
    assert len(list(tmp_path.iterdir())) == 2
    assert load_checkpoint(tmp_path, *parts()).step == 2


@pytest.mark.parametrize("call", ["replace", "fsync"])
@pytest.mark.parametrize("failing", range(1, 5))
def test_a_failure_at_any_point_leaves_a_whole_checkpoint(tmp_path, monkeypatch, call, failing):
    """The k-th replace or fsync fails, as on a full disk: the checkpoint before or the new one can be loaded."""
    saved = parts()
    save_checkpoint(tmp_path, *saved, step=1)
    advance(*saved)
    real, count = getattr(os, call), 0

    def fail(*args):
        nonlocal count
        count += 1
        if count == failing:
            raise OSError(28, "No space left on device")
        return real(*args)

    monkeypatch.setattr(os, call, fail)
    failed = False
    try:
        save_checkpoint(tmp_path, *saved, step=2)
    except SaveError as error:
        failed = True
        assert "disk is full" in str(error)
    monkeypatch.undo()
    assert load_checkpoint(tmp_path, *parts()).step == (1 if failed else 2)
    save_checkpoint(tmp_path, *saved, step=3)
    assert load_checkpoint(tmp_path, *parts()).step == 3
    assert len(list(tmp_path.iterdir())) == 2


def test_nan_never_replaces_a_good_checkpoint(tmp_path):
    saved = parts()
    save_checkpoint(tmp_path, *saved, step=1)
    saved[0][0].weight.detach().numpy()[1, 2] = np.nan
    with pytest.raises(NumericalError, match=r"step 2: weight 0.weight \(4, 3\) holds NaN") as caught:
        save_checkpoint(tmp_path, *saved, step=2)
    assert caught.value.exit_code == 5
    assert load_checkpoint(tmp_path, *parts()).step == 1


def test_damage_is_explained(tmp_path):
    saved = parts()
    assert not has_checkpoint(tmp_path)
    with pytest.raises(FileMissingError, match=r"no checkpoint\.json"):
        load_checkpoint(tmp_path, *parts())
    save_checkpoint(tmp_path, *saved)
    assert has_checkpoint(tmp_path)
    weights = next(tmp_path.glob("*.safetensors"))
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + b"!")
    with pytest.raises(CheckpointError, match="SHA-256 differs"):
        load_checkpoint(tmp_path, *parts())
    weights.unlink()
    with pytest.raises(CheckpointError, match="is missing; copy the whole folder"):
        load_checkpoint(tmp_path, *parts())
    text = (tmp_path / "checkpoint.json").read_text()
    for content, message in (
        ("", "empty"),
        (text[: len(text) // 2], "not a checkpoint"),
        ("[]", "not a checkpoint"),
        ('{"schema": "penlight.checkpoint/1"}', "extra, random, step, weights missing"),
        (json.dumps(json.loads(text) | {"schema": "penlight.checkpoint/9"}), "another version"),
    ):
        (tmp_path / "checkpoint.json").write_text(content)
        with pytest.raises(FileFormatError, match=message):
            load_checkpoint(tmp_path, *parts())


def test_weights_outside_the_folder_are_never_read(tmp_path):
    save_checkpoint(tmp_path / "a", *parts())
    path = tmp_path / "a" / "checkpoint.json"
    document = json.loads(path.read_text())
    file = next((tmp_path / "a").glob("*.safetensors"))
    file.rename(tmp_path / file.name)
    document["weights"]["file"] = f"../{file.name}"
    path.write_text(json.dumps(document))
    with pytest.raises(CheckpointError, match="is missing"):
        load_checkpoint(tmp_path / "a", *parts())


def test_another_model_is_refused(tmp_path):
    save_checkpoint(tmp_path, *parts())
    with pytest.raises(StateDictError, match="missing"):
        load_checkpoint(tmp_path, nn.Linear(3, 4))


def test_what_cannot_be_saved_is_explained(tmp_path):
    with pytest.raises(CheckpointError, match=r"extra\.things\.0 is a set"):
        save_checkpoint(tmp_path, nn.Linear(1, 1), extra={"things": [{1}]})
    assert list(tmp_path.iterdir()) == []

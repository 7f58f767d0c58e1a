# SPDX-License-Identifier: Apache-2.0
"""Saving: old file or new file, never a mixture; and safetensors in and out."""

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
import time

import ml_dtypes
import numpy as np
import pytest

from penlight.errors import FileFormatError, FileMissingError, SaveError
from penlight.serialize import (
    SAFETENSORS_DTYPES,
    atomic_write,
    file_sha256,
    load_arrays,
    load_safetensors,
    read_file,
    remove_leftovers,
    save_arrays,
    save_safetensors,
)
from penlight.tensor import tensor


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("data", [b"", b"new", bytearray(b"new"), memoryview(b"new")])
def test_writes_bytes(tmp_path, data):
    path = tmp_path / "file"
    path.write_bytes(b"old and longer")
    assert atomic_write(path, data) == path
    assert path.read_bytes() == bytes(data)
    assert names(tmp_path) == ["file"]


def test_writer_function(tmp_path):
    atomic_write(tmp_path / "file", lambda file: file.write(b"streamed"))
    assert (tmp_path / "file").read_bytes() == b"streamed"


def test_a_failing_writer_changes_nothing(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(file):
        file.write(b"half")
        raise KeyError("no")

    with pytest.raises(KeyError, match="no"):
        atomic_write(path, fail)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_failing_system_call_changes_nothing(tmp_path, monkeypatch, call, code):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*args):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, fail)
    expected = r"disk is full.*1,000 bytes are needed" if code == errno.ENOSPC else "Input/output error"
    with pytest.raises(SaveError, match=rf"save .*file: .*{expected}.*old file is unchanged") as caught:
        atomic_write(path, bytes(1000))
    assert caught.value.code == "PL-E1201"
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_a_real_size_limit_changes_nothing(tmp_path):
    """EFBIG through a limit of the process, in a process of its own."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    code = (
        "import resource, signal, sys; from penlight.errors import SaveError; from penlight.serialize import atomic_write\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: atomic_write(sys.argv[1], bytes(100_000))\n"
        "except SaveError as error: print(error)\n"
    )
    result = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert "100,000 bytes are needed" in result.stdout
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 4096


def test_flushes_file_before_rename_and_folder_after(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor):
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def note_replace(source, target):
        calls.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    atomic_write(tmp_path / "file", b"x")
    assert calls == ["file", "rename", "folder"]


def test_missing_folder_and_foreign_targets(tmp_path):
    with pytest.raises(SaveError, match=r"folder .*missing does not exist"):
        atomic_write(tmp_path / "missing" / "file", b"x")
    with pytest.raises(SaveError, match="expected a file"):
        atomic_write(tmp_path, b"x")
    with pytest.raises(SaveError, match="expected a file"):
        atomic_write("/dev/full", b"x")


def test_permissions_and_links_are_kept(tmp_path):
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_bytes(b"old")
    path.chmod(0o640)
    link.symlink_to(path)
    atomic_write(link, b"new")
    assert link.is_symlink()
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    umask = os.umask(0o027)
    try:
        atomic_write(tmp_path / "fresh", b"x")
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "fresh").stat().st_mode) == 0o640


def test_leftovers_of_killed_writers_are_removed(tmp_path):
    old = time.time() - 60
    for name in (".file.aaaa.tmp", ".file.bbbb.tmp", ".other.cccc.tmp"):
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (old, old))
    atomic_write(tmp_path / "file", b"x")
    assert names(tmp_path) == [".other.cccc.tmp", "file"]


def test_the_temporary_file_of_a_living_writer_stays(tmp_path):
    seen = []

    def write(file):
        (temporary,) = tmp_path.glob(".file.*.tmp")
        os.utime(temporary, (0, 0))
        seen.append(remove_leftovers(tmp_path, "file."))
        file.write(b"x")

    atomic_write(tmp_path / "file", write)
    assert seen == [0]
    assert (tmp_path / "file").read_bytes() == b"x"


def test_killed_at_random_moments_leaves_a_whole_file(tmp_path):
    path = tmp_path / "file"
    code = (
        "import sys; from penlight.serialize import atomic_write\n"
        "for i in range(10**9):\n"
        "    atomic_write(sys.argv[1], bytes([i % 256]) * 50_000)\n"
        "    i or print('ready', flush=True)\n"
    )
    rng = np.random.default_rng(0)
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            time.sleep(0.02 + 0.1 * rng.random())
            process.send_signal(signal.SIGKILL)
        data = path.read_bytes()
        assert len(data) == 50_000
        assert len(set(data)) == 1
    time.sleep(1.1)
    atomic_write(path, b"x")
    assert names(tmp_path) == ["file"]


def test_read_file_explains(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(FileMissingError, match=r"config .*none: No such file"):
        read_file(tmp_path / "none", "config")
    with pytest.raises(FileFormatError, match=r"config .*empty: the file is empty"):
        read_file(tmp_path / "empty", "config")
    assert issubclass(FileMissingError, FileNotFoundError)
    assert (FileMissingError("x").exit_code, FileFormatError("x").exit_code) == (3, 3)


ARRAYS = {
    "transposed": np.arange(6.0).reshape(2, 3).T,
    "scalar": np.array(3, np.float32),
    "empty": np.zeros((0, 3), np.int64),
    "bf16": np.array([1.5, -2], ml_dtypes.bfloat16),
    "nan": np.array([np.nan, np.inf, -0.0], np.float16),
    "flags": np.array([True, False]),
}


def test_arrays_round_trip(tmp_path):
    path = save_arrays(tmp_path / "x.safetensors", ARRAYS, {"note": "text"})
    loaded = load_arrays(path)
    assert loaded.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert (loaded[name].dtype, loaded[name].shape) == (array.dtype, array.shape)
        assert loaded[name].tobytes() == array.tobytes()
        assert loaded[name].flags.writeable
    assert len(file_sha256(path)) == 64


@pytest.mark.parametrize("dtype", SAFETENSORS_DTYPES.values(), ids=str)
def test_every_dtype_round_trips(tmp_path, dtype):
    array = np.arange(4).astype(dtype)
    loaded = load_arrays(save_arrays(tmp_path / "x", {"a": array}))["a"]
    assert loaded.dtype == dtype
    assert loaded.tobytes() == array.tobytes()


def test_tensors_round_trip(tmp_path):
    x = tensor([[1.0, 2.0]], requires_grad=True)
    save_safetensors(tmp_path / "x", {"x": x, "n": np.arange(3)})
    loaded = load_safetensors(tmp_path / "x")
    assert loaded["x"].numpy().tolist() == [[1.0, 2.0]]
    assert loaded["n"].numpy().tolist() == [0, 1, 2]
    assert not loaded["x"].requires_grad


def test_torch_reads_and_writes_the_same_files(tmp_path):
    pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file

    save_arrays(tmp_path / "ours", {"bf16": ARRAYS["bf16"], "nan": ARRAYS["nan"]})
    theirs = load_file(tmp_path / "ours")
    assert theirs["bf16"].tolist() == [1.5, -2]
    save_file(theirs, tmp_path / "theirs")
    assert load_arrays(tmp_path / "theirs")["bf16"].tobytes() == ARRAYS["bf16"].tobytes()


def test_bad_weight_files_are_explained(tmp_path):
    path = save_arrays(tmp_path / "x", ARRAYS)
    whole = path.read_bytes()
    for size in (1, 7, 8, 20, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(FileFormatError, match="cut off"):
            load_arrays(path)
    for content, message in (
        (b"", "empty"),
        (b"PK\3\4" + bytes(50), "zip archive"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"hello, this is text", "not a whole safetensors file"),
    ):
        path.write_bytes(content)
        with pytest.raises(FileFormatError, match=message):
            load_arrays(path)
    with pytest.raises(FileMissingError):
        load_arrays(tmp_path / "none")


def test_a_dtype_that_does_not_fit_is_explained(tmp_path):
    with pytest.raises(TypeError, match="'x' has dtype complex128"):
        save_arrays(tmp_path / "x", {"x": np.zeros(2, np.complex128)})

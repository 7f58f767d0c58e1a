# SPDX-License-Identifier: Apache-2.0
"""Damaged and hostile `.pt` files are refused with a message that says what is wrong, and nothing in them runs."""

import contextlib
import io
import os
import pickle
import random
import struct
import sys
import time
import zipfile

import numpy as np
import pt_builder as build
import pytest

import penlight as pl
from penlight.errors import FileFormatError, FileMissingError, UnsafeFileError
from penlight.pt.archive import Archive
from penlight.pt.read import Table
from penlight.pt.unpickle import UnpickleError, unpickle

GOOD = build.tensor()
MIB = 1 << 20


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.pt"


def test_the_builder_makes_files_that_load(path):
    data = np.arange(4, dtype=np.float32).tobytes()
    assert pl.load(build.write(path, GOOD, data)).tolist() == [[0.0, 1.0], [2.0, 3.0]]


GLOBALS = {
    "posix system": "would run code",
    "os system": "would run code",
    "builtins eval": "would run code",
    "builtins getattr": "would run code",
    "__main__ Net": "state_dict",
    "torch.nn.modules.linear Linear": "state_dict",
    "torch.optim.adamw AdamW": "state_dict",
    "numpy._core.multiarray scalar": "torch.from_numpy",
    "torch QInt8Storage": "quantized",
    "torch.hub load": "only tensors",
    "collections defaultdict": "only tensors",
    "penlight.pt.unpickle Global": "would run code",
}


@pytest.mark.parametrize("name", GLOBALS)
@pytest.mark.parametrize("form", ["GLOBAL", "STACK_GLOBAL"])
def test_foreign_globals_are_named_with_a_remedy(name, form, path):
    module, attribute = name.split(" ")
    named = build.global_(name) if form == "GLOBAL" else build.text(module) + build.text(attribute) + b"\x93"
    build.write(path, named + build.tuple_(build.text("echo pwned")) + b"R")
    with pytest.raises(UnsafeFileError) as caught:
        pl.load(path)
    assert f"{module}.{attribute}" in str(caught.value) and GLOBALS[name] in str(caught.value)
    assert caught.value.code == "PL-E1206" and caught.value.exit_code == 3


class Bomb:
    def __reduce__(self):
        return os.system, ("touch pwned",)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_real_exploit_does_not_run(protocol, path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    build.write(path, b"", **{"data.pkl": pickle.dumps({"weights": Bomb()}, protocol)})
    before = set(sys.modules)
    with pytest.raises(UnsafeFileError, match=r"posix\.system|nt\.system"):
        pl.load(path)
    assert not (tmp_path / "pwned").exists()
    assert set(sys.modules) == before


def deep(levels):
    return b"]" * levels + b"a" * (levels - 1)


OPCODES = [bytes([code]) for code in b"()]}0aetusbRQqhKNX\x85\x86\x87\x8f\x90\x91\x93\x94"]
ODD_KEY = b"}" + b")" + b"\x85" * 200 + b"Ns"  # hashing deep tuples recurses in C
LAUGHS = b")q\x00" + b"".join(b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x86q" + bytes([i + 1]) for i in range(60))

PROGRAMS = {
    "storage too small": (build.tensor(count=4, size=(2, 3), stride=(3, 1)), "reads element 5 of a storage with 4"),
    "storage of another size": (build.tensor(count=5), "should have 20 bytes and has 16"),
    "missing storage": (build.tensor(key="7"), "storage '7' is not in the archive"),
    "path as storage": (build.tensor(key="../../etc/passwd"), "is not in the archive"),
    "offset beyond the end": (build.tensor(offset=1), "reads element 4 of a storage with 4"),
    "negative offset": (build.tensor(offset=-1), "none of them negative"),
    "negative stride": (build.tensor(stride=(2, -1)), "none of them negative"),
    "negative size": (build.tensor(size=(-1, 2)), "none of them negative"),
    "overlapping windows": (build.tensor(stride=(1, 1)), "overlap"),
    "strides of another rank": (build.tensor(stride=(1,)), "as many strides as sizes"),
    "absurd size": (build.tensor(size=(1 << 40, 1 << 40), stride=(0, 0)), "stands for"),
    "huge integer size": (build.tensor(size=(1 << 100, 1), stride=(0, 0)), "none of them negative"),
    "too many dimensions": (build.tensor(size=(1,) * 65, stride=(1,) * 65), "at most 64"),
    "two sizes of one storage": (b"](" + GOOD + build.tensor(kind="torch DoubleStorage") + b"e", "also said to have 32"),
    "float size": (GOOD.replace(build.integer(2), b"G" + struct.pack(">d", 2), 1), "none of them negative"),
    "tensor of a string": (
        build.global_("torch._utils _rebuild_tensor_v2") + build.tuple_(*[build.text("x")] * 6) + b"R",
        "expected a typed storage",
    ),
    "tensor with too few arguments": (build.global_("torch._utils _rebuild_tensor_v2") + b")R", "missing"),
    "hooks": (GOOD[:-2].removesuffix(build.global_("collections OrderedDict") + b")R") + build.text("x") + b"tR", "hooks"),
    "malformed id": (build.text("0") + b"Q", "expected a reference to a storage"),
    "short id": (build.tuple_(build.text("storage"), build.text("0")) + b"Q", "expected a reference to a storage"),
    "parameter of a list": (build.global_("torch._utils _rebuild_parameter") + b"(]\x89}tR", "expected a tensor under a parameter"),
    "function as result": (build.global_("torch._utils _rebuild_tensor_v2"), "is no data"),
    "storage as result": (build.storage(4), "is no data"),
    "calls a string": (build.text("x") + b")R", "calls a str"),
    "calls a tensor": (GOOD + b")R", "calls a Tensor"),
    "sets an item of a list": (b"](K\x00K\x01u", "sets an item of a list"),
    "sets an item of a tensor": (GOOD + b"K\x00K\x01s", "sets an item of a Tensor"),
    "appends to a dict": (b"}K\x00a", "appends to a dict"),
    "adds to a list": (b"](K\x00\x90", "adds to a list"),
    "state of a tensor": (GOOD + b"}b", "sets the state of a Tensor"),
    "state that hides methods": (
        build.global_("collections OrderedDict") + b")R}" + build.text("items") + b"Nsb",
        "sets the state of a OrderedDict",
    ),
    "key without value": (b"}(K\x00u", "a key without a value"),
    "list as key": (b"}]Ns", "a list as the key"),
    "deep tuple as key": (ODD_KEY, "a tuple as the key"),
    "contains itself": (b"]q\x00h\x00a", "contains itself"),
    "contains itself in a dict": (b"}q\x00K\x01h\x00s", "contains itself"),
    "too deep": (deep(101), "nested more than 100 deep"),
    "much too deep": (deep(200_000), "nested more than 100 deep"),
    "too many marks": (b"(" * 1001, "marks are open"),
    "unknown memo": (b"h\x05", "memo 5, which was never written"),
    "empty stack": (b"R", "finds an empty stack"),
    "nothing": (b"", "other than one value"),
    "two values": (b"NN", "other than one value"),
    "open mark": (b"(N", "other than one value"),
    "unknown opcode": (b"\xff", "is not one that"),
    "instance opcode": (b"(i" + b"os\nsystem\n", "is not one that"),
    "extension registry": (b"\x82\x01", "is not one that"),
    "next buffer": (b"\x97", "is not one that"),
    "huge integer": (b"\x8b" + struct.pack("<I", 1000) + b"\1" * 1000, "an integer of 1000 bytes"),
    "text beyond the end": (b"X" + struct.pack("<I", 1 << 31), "ends in the middle"),
    "text of 2^63 bytes": (b"\x8d" + struct.pack("<Q", 1 << 63), "ends in the middle"),
    "text that is not UTF-8": (b"X\x01\0\0\0\xff", "not UTF-8"),
    "name without end": (b"c" + b"a" * 300, "does not end"),
    "bytearray of a size": (build.global_("builtins bytearray") + build.tuple_(build.integer(1 << 40)) + b"R", "other than bytes"),
    "OrderedDict of singles": (
        build.global_("collections OrderedDict") + build.tuple_(build.tuple_(build.tuple_())) + b"R",
        "collections.OrderedDict: not enough values",
    ),
    "codec": (
        build.global_("_codecs encode") + build.tuple_(build.text("x"), build.text("zlib")) + b"R",
        "other than latin1",
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_hostile_programs(name, path):
    body, message = PROGRAMS[name]
    build.write(path, body)
    start = time.process_time()
    with pytest.raises(FileFormatError) as caught:
        pl.load(path)
    assert message in str(caught.value) and str(path) in str(caught.value)
    assert time.process_time() - start < 5


def test_a_thousand_random_programs_raise_nothing_else(path):
    """Mutated programs: opcodes changed, put in, taken out and repeated."""
    archive = Archive(io.BytesIO(build.write(path, GOOD).read_bytes()), path)
    nested = b"}(" + build.text("a") + GOOD + build.text("b") + b"](K\x01(K\x02K\x03tNe" + build.text("c") + b"h\x00u"
    whole = build.program(b"]q\x000" + nested)
    generator, loaded = random.Random(7), 0
    for _ in range(1000):
        program = bytearray(whole)
        for _ in range(generator.randint(1, 3)):
            place = generator.randrange(len(program))
            part = bytes(program[place : place + generator.randint(0, 9)])
            program[place : place + generator.randint(0, 3)] = generator.choice(
                [b"", part, bytes([generator.randrange(256)]), generator.choice(OPCODES)]
            )
        table = Table(archive)
        with contextlib.suppress(FileFormatError, UnpickleError):
            unpickle(bytes(program), table.find, table.storages.find, (pl.Tensor,))
            loaded += 1
    assert 0 < loaded < 500


def test_billions_of_laughs_cost_nothing(path):
    """Sixty doublings of a tuple are sixty tuples in memory, and no check walks them 2^60 times."""
    build.write(path, b"(" + LAUGHS + b"t")
    start = time.process_time()
    assert len(pl.load(path)) == 61
    assert time.process_time() - start < 5


def test_truncated_at_every_length(path):
    whole = build.write(path, GOOD).read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(FileFormatError, match=r"cut off|not a whole zip"):
            pl.load(path)


@pytest.mark.parametrize("mask", [0x55, 0xFF])
def test_flipped_bytes_never_do_worse_than_an_error(mask, path):
    """A flipped byte is noticed, or changes a number or a date; CRCs guard all content."""
    whole = build.write(path, GOOD).read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ mask]) + whole[position + 1 :])
        with contextlib.suppress(FileFormatError):
            assert pl.load(path).shape == (2, 2)


def test_a_compressed_bomb(path):
    build.write(path, GOOD, b"\0" * (64 * MIB), zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < MIB
    with pytest.raises(FileFormatError, match=r"member 'archive/data\.pkl' is compressed"):
        pl.load(path)


def test_a_member_that_claims_more_than_the_file(path):
    whole = bytearray(build.write(path, GOOD).read_bytes())
    place = whole.rindex(b"archive/data/0") - 46  # its entry of the central directory
    struct.pack_into("<II", whole, place + 20, 1 << 30, 1 << 30)
    path.write_bytes(whole)
    with pytest.raises(FileFormatError, match="claim more bytes than"):
        pl.load(path)


def test_an_encrypted_member(path):
    whole = bytearray(build.write(path, GOOD).read_bytes())
    place = whole.rindex(b"archive/data/0") - 46
    whole[place + 8] |= 1
    path.write_bytes(whole)
    with pytest.raises(FileFormatError, match="encrypted"):
        pl.load(path)


def test_duplicate_members(path):
    build.write(path, GOOD)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("archive/data/0", b"\1" * 16)
    with pytest.raises(FileFormatError, match="is there twice"):
        pl.load(path)


def test_two_programs(path):
    build.write(path, GOOD)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("other/data.pkl", build.program(b"N"))
    with pytest.raises(FileFormatError, match=r"expected one member data\.pkl in the archive, found 2"):
        pl.load(path)


MEMBERS = {
    "no program": ({"data.pkl": None}, "found 0"),
    "no version": ({"version": None}, "not written by torch.save"),
    "future version": ({"version": b"9\n"}, "format version is b'9'"),
    "wrong byte order": ({"byteorder": b"middle"}, "byte order is b'middle'"),
    "long byte order": ({"byteorder": b"l" * 100}, "more than 16"),
    "protocol 0": ({"data.pkl": b"\x80\x00N."}, "protocol 0; expected 2 to 5"),
    "protocol 9": ({"data.pkl": b"\x80\x09N."}, "protocol 9; expected 2 to 5"),
    "no stop": ({"data.pkl": b"\x80\x02N"}, "ends in the middle"),
    "empty program": ({"data.pkl": b""}, "ends in the middle"),
    "TorchScript": ({"code/model.py": b"pass", "constants.pkl": b""}, "TorchScript archive"),
}


@pytest.mark.parametrize("name", MEMBERS)
def test_wrong_members(name, path):
    changes, message = MEMBERS[name]
    with pytest.raises(FileFormatError, match=message):
        pl.load(build.write(path, GOOD, **changes))


def test_a_program_of_absurd_length(path, monkeypatch):
    monkeypatch.setattr("penlight.pt.archive.MAX_PROGRAM_BYTES", 1000)
    with pytest.raises(FileFormatError, match=r"'data\.pkl' has 2,003 bytes, more than 1,000"):
        pl.load(build.write(path, b"0N" * 1000))


LOOK_ALIKES = {
    "empty": (b"", "the file is empty"),
    "text": (b"hello, world" * 10, "neither a .pt nor a .safetensors"),
    "pickle": (pickle.dumps({"a": 1}), "a bare pickle"),
    "legacy": (pickle.dumps(0x1950A86A20F9469CFC6C, 2), "before PyTorch 1.6"),
    "git lfs": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "zip magic": (b"PK\x03\x04" + b"\0" * 100, "not a whole zip archive"),
    "safetensors": (struct.pack("<Q", 100) + b"{" + b"x" * 50, "safetensors"),
}


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_files_of_other_formats(name, path):
    content, message = LOOK_ALIKES[name]
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=message):
        pl.load(path)


def test_npz_and_missing_files(path, tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones(2))
    with pytest.raises(FileFormatError, match="read_npz"):
        pl.load(tmp_path / "a.npz")
    for missing in (path, tmp_path):
        with pytest.raises(FileMissingError, match="check the path"):
            pl.load(missing)

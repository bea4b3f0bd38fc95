"""Model files made to do harm: refused in one line, in little time and memory."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.helpers import fakes
from tests.helpers.files import tree
from tests.helpers.processes import Commands

BASE = 150.0
"""MB that the command has without any weights, and some more."""


def weights(path: Path) -> bytes:
    """The HDF5 file of a good model."""
    with zipfile.ZipFile(path) as archive:
        return archive.read("model.weights.h5")


def replaced(path: Path, content: bytes) -> None:
    """Put another HDF5 file into a model file."""
    with zipfile.ZipFile(path) as archive:
        kept = {name: archive.read(name) for name in ("metadata.json", "config.json")}
    with zipfile.ZipFile(path, "w") as archive:
        for name, member in kept.items():
            archive.writestr(name, member)
        archive.writestr("model.weights.h5", content)


def first_array(file: h5py.File) -> str:
    found: list[str] = []
    file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    return found[0]


def large_chunk(path: Path) -> None:
    """A small array, kept as the corner of a chunk of 400 MB."""
    buffer = io.BytesIO(weights(path))
    with h5py.File(buffer, "r+") as file:
        name = first_array(file)
        shape = file[name].shape
        del file[name]
        rest = (100_000_000 // int(np.prod(shape[1:])), *shape[1:])
        array = file.create_dataset(
            name, shape, np.float32, maxshape=(None,) * len(shape), chunks=rest, compression="gzip"
        )
        packer = zlib.compressobj(9)
        size = 4 * int(np.prod(rest, dtype=np.int64))
        packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(size >> 20))
        packed += packer.compress(bytes(size % (1 << 20))) + packer.flush()
        array.id.write_direct_chunk((0,) * len(shape), packed)
    replaced(path, buffer.getvalue())


def hard_links(path: Path) -> None:
    """Groups that hold the same group many times, and so on: 20 to the power of 15 paths."""
    buffer = io.BytesIO(weights(path))
    with h5py.File(buffer, "r+") as file:
        last = file.create_group("a")
        for level in range(15):
            group = file.create_group(f"level{level}")
            for name in "bcdefghijklmnopqrstu":
                group[name] = last
            last = group
    replaced(path, buffer.getvalue())


def false_size(path: Path) -> None:
    """A member of 400 MB that says it has 1,000 bytes."""
    packer = zlib.compressobj(9, wbits=-15)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(400)) + packer.flush()
    name = b"config.json"
    facts = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 0, 0, len(packed), 1000, len(name), 0)
    local = b"PK\3\4" + facts + name + packed
    central = b"PK\1\2" + struct.pack("<H", 20) + facts + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)
    path.write_bytes(local + central + end)


def many_members(path: Path) -> None:
    """A directory of 300,000 entries."""
    name = b"x"
    facts = struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 0, 0, 0, 0, len(name), 0)
    entry = b"PK\1\2" + struct.pack("<H", 20) + facts + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name
    central = entry * 300_000
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, len(central), 0, 0)
    path.write_bytes(central + end)


@pytest.mark.parametrize("make", [large_chunk, hard_links, false_size, many_members])
def test_a_small_model_file_cant_take_the_machine(
    command: Commands, scans: Path, identity: Path, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(identity)
    ended = command(scans, "--out", tmp_path / "o", "--model", identity, timeout=10)
    assert not ended.hung
    assert ended.peak < BASE
    assert ended.code == 3
    assert ended.errors == ended.err.splitlines()
    assert len(ended.errors) == 1
    assert str(identity) in ended.errors[0]


@pytest.mark.parametrize("engine", ["numpy"])
def test_a_model_that_gives_no_numbers_makes_no_files(
    command: Commands, scans: Path, tmp_path: Path, engine: str
) -> None:
    model = fakes.write_model(
        tmp_path / "m.keras",
        "PatchAutoencoder",
        {**fakes.SMALL, "residual": False, "center": False},
        lambda name, shape: np.resize([3e38, -3e38], shape),
    )
    ended = command(scans, "--out", tmp_path / "o", "--model", model, "--engine", engine)
    assert ended.code == 3
    assert len(ended.errors) == 1
    assert "m.keras" in ended.errors[0]
    assert "Warning" not in ended.err
    assert tree(tmp_path / "o") == []


@pytest.mark.parametrize("where", ["run", "show", "json"])
def test_a_models_card_cant_drive_the_terminal(
    command: Commands, scans: Path, tmp_path: Path, where: str
) -> None:
    text = "good\x1b[2J\x9b2J \u202edesrever\nError: forged" + "x" * 10_000
    model = fakes.write_model(
        tmp_path / "m.keras",
        "PatchAutoencoder",
        {**fakes.SMALL, "residual": True},
        lambda *_: 0.0,
        {"summary": text, "noise": text},
    )
    if where == "run":
        ended = command(scans, "--out", tmp_path / "o", "--model", model)
        assert max(map(len, ended.err.splitlines())) < 300
    elif where == "json":
        ended = command("models", "show", model, "--json")
        assert json.loads(ended.out)["card"] == {"summary": text, "noise": text}
    else:
        ended = command("models", "show", model)
        assert len(ended.out.splitlines()) == 4
        assert "\\nError: forged" in ended.out
    assert ended.code == 0
    assert not set(ended.out + ended.err) & {"\x1b", "\x9b", "\u202e"}
    assert ended.errors == []

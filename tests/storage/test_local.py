"""A folder as a storage."""

from __future__ import annotations

from pathlib import Path

import pytest

from denoiser.storage.base import Entry, ExistsError, MissingError, StorageError
from denoiser.storage.local import LocalStorage


def test_what_is_written_is_listed_read_and_removed(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "out")
    assert list(storage.list()) == []
    written = storage.write("a/b.txt", b"one", create=True)
    (tmp_path / "file").write_bytes(b"three")
    assert storage.write(".x/y", tmp_path / "file").size == 5
    assert list(storage.list()) == [Entry(".x/y", 5, str(storage.stat(".x/y")[2])), written]  # type: ignore[index]
    with pytest.raises(ExistsError):
        storage.write("a/b.txt", b"two", create=True)
    assert storage.read("a/b.txt") == b"one"
    assert storage.download("a/b.txt", tmp_path / "copy") == written
    assert (tmp_path / "copy").read_bytes() == b"one"
    storage.delete("a/b.txt")
    storage.delete("a/b.txt")
    assert storage.stat("a/b.txt") is None
    with pytest.raises(MissingError):
        storage.read("a/b.txt")


def test_a_local_name_never_leads_out_of_its_folder(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "out")
    for key in ("../x", "a/../../x", "/x", "a//x", "a\\..\\x", "a/./x", "x\0"):
        with pytest.raises(StorageError, match="can't be the name of a file"):
            storage.write(key, b"")
    assert not list(tmp_path.iterdir())

"""Files are complete or not there."""

from __future__ import annotations

import errno
import os
import signal
import sys
from pathlib import Path

import pytest

from denoiser.system import atomic


def test_a_block_that_ends_well_replaces_the_file(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "x.png"
    for content in (b"one", b"two"):
        with atomic.replacing(target) as file:
            file.write(content)
        assert target.read_bytes() == content
    assert [path.name for path in target.parent.iterdir()] == ["x.png"]


@pytest.mark.parametrize("fault", [ValueError, KeyboardInterrupt])
def test_a_block_that_does_not_leaves_the_old_one(tmp_path: Path, fault: type[BaseException]) -> None:
    target = tmp_path / "x.png"
    target.write_bytes(b"old")

    def write() -> None:
        with atomic.replacing(target) as file:
            file.write(b"half")
            raise fault

    with pytest.raises(fault):
        write()
    assert target.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_what_is_written_in_one_piece_is_there_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, write = tmp_path / "deep" / "x.png", os.write
    monkeypatch.setattr(os, "write", lambda number, content: write(number, content[:3]))
    for content in (b"the first content", b"the second"):
        atomic.write(target, content)
        assert target.read_bytes() == content
    assert [path.name for path in target.parent.iterdir()] == ["x.png"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, calls = tmp_path / "x.png", [4]
    target.write_bytes(b"old")

    def write(*_: object) -> int:
        if calls:
            return calls.pop()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(OSError, match="No space"):
        atomic.write(target, b"the new content")
    assert target.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(os.name == "nt", reason="no masks of signals")
def test_an_interruption_while_the_file_is_created_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = atomic._create

    def interrupted(destination: Path, ending: str = "") -> tuple[str, int]:
        made = create(destination, ending)
        signal.raise_signal(signal.SIGINT)
        return made

    monkeypatch.setattr(atomic, "_create", interrupted)
    with pytest.raises(KeyboardInterrupt), atomic.replacing(tmp_path / "x.png") as file:
        file.write(b"new")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_seen_before_the_end(tmp_path: Path) -> None:
    target = tmp_path / "x.png"
    with atomic.replacing(target) as file:
        file.write(b"half")
        file.flush()
        assert not target.exists()


def test_names_as_long_as_a_file_system_allows(tmp_path: Path) -> None:
    for name in ("x" * 251 + ".png", "ü" * 125 + ".png"):
        with atomic.replacing(tmp_path / name) as file:
            file.write(b"content")
        assert (tmp_path / name).read_bytes() == b"content"


def test_a_links_target_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"precious")
    (tmp_path / "x.png").symlink_to(tmp_path / "real")
    with atomic.replacing(tmp_path / "x.png") as file:
        file.write(b"new")
    assert (tmp_path / "real").read_bytes() == b"precious"
    assert not (tmp_path / "x.png").is_symlink()


def test_files_have_the_rights_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    with atomic.replacing(tmp_path / "x.png") as file:
        file.write(b"")
    assert (tmp_path / "x.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_sweeping_takes_the_dead_and_spares_the_living(tmp_path: Path) -> None:
    (tmp_path / f".a.0123456789ab{atomic.SUFFIX}").write_bytes(b"dead")
    (tmp_path / "a.png").write_bytes(b"done")
    with atomic.replacing(tmp_path / "b.png") as file:
        file.write(b"living")
        assert atomic.sweep([tmp_path, tmp_path / "nowhere"]) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_what_may_be_another_machines_is_kept_for_a_day(tmp_path: Path) -> None:
    left = tmp_path / f".a.png.01234567-0123456789ab{atomic.SUFFIX}"
    left.write_bytes(b"half")
    assert atomic.sweep([tmp_path], own=True) == atomic.sweep([tmp_path], alone=False) == 0
    os.utime(left, (1, 1))
    assert atomic.sweep([tmp_path], own=True) == 0
    assert atomic.sweep([tmp_path], alone=False) == 1
    left.write_bytes(b"half")
    assert atomic.sweep([tmp_path]) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such a folder")
def test_a_folder_that_takes_no_files_or_folders_is_an_error() -> None:
    """In /proc, whatever one makes is missing, although the folder is there."""
    with pytest.raises(FileNotFoundError):
        atomic.make_folders("/proc/nope/deeper")
    with pytest.raises(FileNotFoundError), atomic.replacing(Path("/proc/nope.png")) as file:
        file.write(b"lost")

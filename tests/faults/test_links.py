"""Things that lie where the record should be: nothing is written through a link, and nothing waits."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from denoiser.pipeline import record
from tests.helpers.processes import Commands


def symbolic(path: Path, precious: Path) -> None:
    path.symlink_to(precious)


def hard(path: Path, precious: Path) -> None:
    path.hardlink_to(precious)


def fifo(path: Path, precious: Path) -> None:
    os.mkfifo(path)


def endless(path: Path, precious: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [symbolic, hard, fifo, endless])
@pytest.mark.parametrize("place", ["out", "look"])
@pytest.mark.parametrize("name", [record.NAME, record.FOLDER, f"{record.FOLDER}/0.jsonl"])
def test_nothing_is_written_or_waited_for_through_the_records_name(
    command: Commands,
    scans: Path,
    identity: Path,
    tmp_path: Path,
    make: Callable[[Path, Path], None],
    place: str,
    name: str,
) -> None:
    (tmp_path / place / name).parent.mkdir(parents=True)
    content = (scans / "a.png").read_bytes()
    make(tmp_path / place / name, scans / "a.png")
    patch = "import resource; resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))"
    common = (scans, "--out", tmp_path / "out", "--model", identity, "--compare", tmp_path / "look")
    ended = command(*common, timeout=20, patches=[patch])
    assert not ended.hung
    assert ended.code == 2
    assert len(ended.errors) == 1
    assert str(tmp_path / place / name) in ended.errors[0]
    assert (scans / "a.png").read_bytes() == content

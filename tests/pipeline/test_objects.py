"""Objects that are cleaned in one process."""

from __future__ import annotations

from pathlib import Path

import pytest

from denoiser.inference.denoiser import Denoiser
from denoiser.pipeline.cleaner import Cleaner, Output
from denoiser.pipeline.objects import NOWHERE, ObjectCleaner, ObjectJob, Places
from denoiser.storage.base import Entry, StorageError
from denoiser.storage.local import LocalStorage


def cleaner(identity: Path, scans: Path, out: Path, scratch: Path) -> ObjectCleaner:
    places = Places((str(scans),), str(out))
    return ObjectCleaner(
        Cleaner(Denoiser(identity), Output()), places, lambda text: LocalStorage(Path(text)), scratch
    )


def test_files_of_this_machine_are_read_and_written_in_place(
    identity: Path, scans: Path, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    jobs = [ObjectJob(NOWHERE, NOWHERE, key, 0, Entry(key, 1, "x"), False) for key in ("b.png", "no.png")]
    done, gone = cleaner(identity, scans, tmp_path / "o", scratch).outcomes(jobs)
    assert done.stored is not None
    assert done.stored[1] == LocalStorage(tmp_path / "o").stat("b.png")
    assert (gone.stored, gone.error is not None) == (None, True)
    assert list(scratch.iterdir()) == []


def test_no_room_for_files_is_said_once(identity: Path, scans: Path, tmp_path: Path) -> None:
    jobs = [ObjectJob(NOWHERE, NOWHERE, "a.png", 0, Entry("a.png", 1, "x"), False)]
    with pytest.raises(StorageError, match=r"Files can't be kept in .*/nowhere: No such file.* Set TMPDIR"):
        list(cleaner(identity, scans, tmp_path / "o", tmp_path / "nowhere").outcomes(jobs))

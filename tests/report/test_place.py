"""Where a report goes: tried before any work, and taken back without a trace."""

from __future__ import annotations

from pathlib import Path

import pytest

from denoiser.errors import UsageError
from denoiser.report.place import Draft, Target
from tests.helpers.command import Denoise
from tests.helpers.reports import Page, cleaned, noisy_and_clean


@pytest.mark.parametrize("place", ["new/deep/look", "new/deep/worst.html", "there/look", "there"])
def test_trying_leaves_nothing_behind(tmp_path: Path, place: str) -> None:
    (tmp_path / "there").mkdir()
    before = sorted(tmp_path.rglob("*"))
    Draft(Target(tmp_path / place)).try_writing()
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("place", ["file/look", "file/worst.html", f"there/new/{'x' * 300}"])
def test_a_place_that_cant_be_written_is_refused_without_a_trace(tmp_path: Path, place: str) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match=r"can't be written: .*\. Choose another place for it\."):
        Draft(Target(tmp_path / place)).try_writing()
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_taken_back_is_its_own(tmp_path: Path) -> None:
    draft, earlier = (Draft(Target(tmp_path / "new" / "look")) for _ in range(2))
    pictures = tmp_path / "new" / "look" / "img"
    pictures.mkdir(parents=True)
    own, old, foreign = f"{draft.token}-{'0' * 24}.jpg", f"{earlier.token}-{'0' * 24}.jpg", "mine.jpg"
    for name in (own, old, foreign):
        (pictures / name).touch()
    draft.discard()
    assert sorted(path.name for path in pictures.iterdir()) == sorted((old, foreign))
    (pictures / old).rename(pictures / own)
    (pictures / foreign).unlink()
    draft.discard()
    assert not (tmp_path / "new").exists()
    assert tmp_path.exists()


def test_a_folder_that_was_there_stays(tmp_path: Path) -> None:
    (tmp_path / "look").mkdir()
    draft = Draft(Target(tmp_path / "look"))
    (tmp_path / "look" / "img").mkdir()
    draft.discard()
    assert list(tmp_path.iterdir()) == [tmp_path / "look"]
    assert not list((tmp_path / "look").iterdir())


def test_a_report_that_fails_leaves_the_earlier_one_whole(
    tmp_path: Path, denoise: Denoise, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = {"a.png": noisy_and_clean(1, (200, 200))}
    cleaned(tmp_path / "scans", tmp_path / "clean", images)
    job = ("report", tmp_path / "clean", "--to", tmp_path / "look")
    assert denoise(*job).code == 0
    before = {path: path.read_bytes() for path in (tmp_path / "look").rglob("*") if path.is_file()}
    cleaned(tmp_path / "scans", tmp_path / "clean", {**images, "b.png": noisy_and_clean(2, (200, 200))})

    def full(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("denoiser.report.build.render", full)
        outcome = denoise(*job)
    assert outcome.code == 1
    assert outcome.err == f"Error: The report {tmp_path / 'look'} can't be written: the disk is full.\n"
    after = {path: path.read_bytes() for path in (tmp_path / "look").rglob("*") if path.is_file()}
    assert after == before
    assert denoise(*job).code == 0
    assert len(Page(tmp_path / "look" / "index.html").rows) == 2


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_file_where_pictures_go_is_foreign(tmp_path: Path, denoise: Denoise, kind: str) -> None:
    cleaned(tmp_path / "scans", tmp_path / "clean", {"a.png": noisy_and_clean(1, (200, 200))})
    (tmp_path / "look").mkdir()
    if kind == "file":
        (tmp_path / "look" / "img").touch()
    else:
        (tmp_path / "look" / "img").symlink_to("nowhere")
    outcome = denoise("report", tmp_path / "clean", "--to", tmp_path / "look")
    assert outcome.code == 2
    assert outcome.err == (
        f"Error: The folder {tmp_path / 'look'} holds other files. Name a new folder for the report.\n"
    )

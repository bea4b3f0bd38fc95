"""The bar of a run: never backwards, by bytes, and in words."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from denoiser.commands.run_progress import RunProgress
from denoiser.imaging.source import Fingerprint
from denoiser.pipeline.meter import Reading
from denoiser.pipeline.outcomes import Outcome, Result, Status
from denoiser.progress import TerminalProgress


class Recorded:
    """A bar that remembers."""

    def __init__(self) -> None:
        self.total = 0.0
        self.updates: list[tuple[float, str]] = []

    def start(self, total: float, unit: str, text: str) -> None:
        self.total = total

    def update(self, done: float, text: str = "") -> None:
        self.updates.append((done, text))

    def finish(self) -> None:
        pass


def files(tmp_path: Path, *sizes: int) -> list[Path]:
    paths = [tmp_path / f"{index}.png" for index in range(len(sizes))]
    for path, size in zip(paths, sizes, strict=True):
        path.write_bytes(b"x" * size)
    return paths


def result(path: Path, size: int) -> Result:
    return Result(path, path, Status.DONE, Outcome(fingerprint=Fingerprint(size, 0)))


def test_a_large_file_counts_as_much_as_it_takes(tmp_path: Path) -> None:
    bar = Recorded()
    small, large = files(tmp_path, 100, 9900)
    progress = RunProgress(bar, [small, large])
    assert bar.total == 10_000
    progress.told(result(small, 100))
    assert bar.updates[-1] == (100, "1 of 2 images")
    progress.watch([Reading(4950.0, 14, 28)])
    assert bar.updates[-1] == (5050.0, "1 of 2 images, page 14 of 28")
    progress.watch([Reading(9000.0, 1, 1, 12_000, 826_281)])
    assert bar.updates[-1] == (9100.0, "1 of 2 images, patch 12,000 of 826,281")
    progress.told(result(large, 9900))
    assert bar.updates[-1] == (10_000.0, "2 of 2 images")


def test_one_file_is_not_counted(tmp_path: Path) -> None:
    bar = Recorded()
    progress = RunProgress(bar, files(tmp_path, 50))
    progress.watch([Reading(25.0, 2, 3, 5000, 9000)])
    assert bar.updates[-1] == (25.0, "page 2 of 3, patch 5,000 of 9,000")


def test_files_that_cannot_be_read_count_too(tmp_path: Path) -> None:
    bar = Recorded()
    gone = tmp_path / "gone.png"
    progress = RunProgress(bar, [gone, *files(tmp_path, 10)])
    progress.told(Result(gone, gone, Status.FAILED, Outcome(error="gone")))
    assert bar.updates[-1] == (1.0, "1 of 2 images")


@given(st.lists(st.floats(0, 100), max_size=20))
def test_it_never_goes_backwards(readings: list[float]) -> None:
    bar = Recorded()
    progress = RunProgress(bar, [Path("no such file")])
    for done in readings:
        progress.watch([Reading(done, 1, 1)])
    shown = [done for done, _ in bar.updates]
    assert shown == sorted(shown)


def test_the_terminal_shows_the_words_and_no_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    bar = TerminalProgress()
    bar.start(10_000, "", "denoise")
    bar._bar.mininterval = 0  # or only ten a second are drawn
    bar.update(2500, "page 7 of 28")
    bar.finish()
    assert "denoise page 7 of 28:  25%" in stderr.getvalue()
    assert "2500" not in stderr.getvalue()

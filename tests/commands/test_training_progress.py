"""How far a training is, where no person watches stderr."""

from __future__ import annotations

import pytest

from denoiser.commands import training_progress
from denoiser.progress import NullProgress, TerminalProgress


def test_a_line_a_minute() -> None:
    now, lines = [0.0], list[str]()
    progress = training_progress.Lines(lines.append, lambda: now[0])
    progress.start(100.0, "%", "training general")
    for second in range(0, 601):
        now[0] = float(second)
        progress.update(second / 12, "5,000 patches/s")
    progress.finish()
    assert len(lines) == 10
    assert lines[0] == "Training general: 5 %, 5,000 patches/s, about 19 min left"
    assert lines[-1] == "Training general: 50 %, 5,000 patches/s, about 10 min left"


def test_the_time_left_of_a_resumed_training_counts_from_where_it_resumed() -> None:
    now, lines = [100.0], list[str]()
    progress = training_progress.Lines(lines.append, lambda: now[0])
    progress.start(100.0, "%", "training digits")
    progress.update(80.0)
    now[0] = 160.0
    progress.update(90.0)
    now[0] = 220.0
    progress.update(99.0)
    assert lines == [
        "Training digits: 90 %, about 1 min left",
        "Training digits: 99 %, less than a minute left",
    ]


def test_a_bar_for_a_person_and_nothing_if_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(training_progress.training_progress(quiet=False), training_progress.Lines)
    assert isinstance(training_progress.training_progress(quiet=True), NullProgress)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert isinstance(training_progress.training_progress(quiet=False), TerminalProgress)

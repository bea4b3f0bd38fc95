"""Progress on a terminal, and nowhere else."""

from __future__ import annotations

import io
import sys
import time

import pytest

from denoiser.progress import NullProgress, TerminalProgress, progress_for


def test_a_bar_only_where_somebody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    assert isinstance(progress_for(quiet=True), NullProgress)
    bar = progress_for(quiet=False)
    assert isinstance(bar, TerminalProgress)
    bar.start(4, "images", "denoise")
    time.sleep(0.15)  # bars are redrawn ten times a second at most
    bar.update(3, "words")
    bar.finish()
    text = stderr.getvalue()
    assert "3/4 images" in text
    assert "words" in text
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert isinstance(progress_for(quiet=False), NullProgress)

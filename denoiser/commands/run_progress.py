"""The bar of a run: images that are finished, and the pages and patches of those that are not.

The time left goes by the bytes of the files, of which a large one has many: it takes as much longer.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from denoiser.pipeline.meter import Reading
from denoiser.pipeline.outcomes import Result, Status
from denoiser.progress import NullProgress, Progress

_MANY_PATCHES = 4096
"""Pages of fewer patches take a second or two."""


class RunProgress:
    """Shows how far a run is.

    Args:
        progress: draws it.
        sources: the files to clean, or the first of them; or their sizes.
        count: how many they are, as far as that is known; None: just these.
        final: whether there are no more.

    """

    def __init__(
        self,
        progress: Progress,
        sources: Iterable[Path] | Iterable[int],
        count: int | None = None,
        *,
        final: bool = True,
    ) -> None:
        self._progress = progress
        # Asking for sizes takes time that is lost where nothing is drawn.
        sizes = (
            []
            if isinstance(progress, NullProgress)
            else [_size(each) if isinstance(each, Path) else max(1, each) for each in sources]
        )
        self._sized, self._mean = len(sizes), sum(sizes) / max(1, len(sizes))
        self._shows = not isinstance(progress, NullProgress) and bool(count is None or count)
        self._count = len(sizes) if count is None else count
        self._final = final
        self._files = 0
        self._bytes = 0.0
        self._shown = 0.0
        progress.start(self._mean * self._count, "", "denoise")
        self._show(())

    def told(self, result: Result) -> None:
        """Count a file that is finished."""
        if not self._shows or result.status not in (Status.DONE, Status.FAILED):
            return
        fingerprint = result.outcome.fingerprint
        self._files += 1
        self._bytes += _size(Path(result.source)) if fingerprint is None else max(1, fingerprint.size)
        self._show(())

    def expect(self, count: int, *, final: bool) -> None:
        """Expect another number of files; `final` says that there are no more."""
        if not self._shows:
            return
        self._count, self._final = max(count, self._files), final
        mean = self._bytes / self._files if self._files > self._sized else self._mean
        self._progress.start(self._bytes + mean * (self._count - self._files), "", "denoise")
        self._show(())

    def watch(self, readings: Sequence[Reading]) -> None:
        """Show how far the files are that are being cleaned."""
        self._show(readings)

    def finish(self) -> None:
        """Remove the bar."""
        self._progress.finish()

    def _show(self, readings: Sequence[Reading]) -> None:
        # A file that is finished and not yet told of is in neither number for a moment.
        self._shown = max(self._shown, self._bytes + sum(reading.done for reading in readings))
        text = f"{self._files:,} of {self._count:,} images" if self._count != 1 else ""
        text += "" if self._final else " so far"
        parts = [text, *(_place(reading) for reading in readings if _is_long(reading))]
        self._progress.update(self._shown, ", ".join(part for part in parts[:2] if part))


def _is_long(reading: Reading) -> bool:
    return reading.pages > 1 or reading.of > _MANY_PATCHES


def _place(reading: Reading) -> str:
    page = f"page {reading.page:,} of {reading.pages:,}" if reading.pages > 1 else ""
    patches = f"patch {reading.patches:,} of {reading.of:,}" if reading.of > _MANY_PATCHES else ""
    return ", ".join(part for part in (page, patches) if part)


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        return max(1, os.stat(path).st_size)  # noqa: PTH116 - a third of the time, for every file
    return 1

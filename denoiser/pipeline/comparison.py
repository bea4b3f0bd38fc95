"""Pictures of the changes, in a folder of their own, with a record of the pictures that are ours."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from denoiser._types import PATCH, Floats
from denoiser.errors import FileError, reason
from denoiser.imaging.picture import quantize
from denoiser.imaging.source import Fingerprint
from denoiser.inference.patches import whole_from_image
from denoiser.pipeline.record import Record
from denoiser.system import atomic
from denoiser.system.atomic import Written

_GAIN, _MOST = 4.0, 95.0
"""How much stronger differences are shown, and how many of them, in per cent, are to be told apart."""

_ROWS = 256


class Comparisons:
    """Writes comparisons below a folder; a file there that is not ours stays, unless `force` is set."""

    def __init__(
        self, folder: Path, *, force: bool = False, sync: bool = False, writer: str | None = None
    ) -> None:
        self._folder = folder
        self._force = force
        self._sync = sync
        self._record = Record(folder, sync=sync, writer=writer)

    def up_to_date(self, relative: str, source: Path, made_with: str) -> bool:
        """Return True if there is a comparison of this output, of its first page if it has several.

        It must have been made from `source` as it is now, with these settings.
        """
        names = (self._name(relative, 0, 1), self._name(relative, 0, 2))
        return any(self._record.up_to_date(name, source, self._folder / name, made_with) for name in names)

    def share(self) -> None:
        """Have processes that are forked from this one write to its file of the record."""
        self._record.open()

    def done(
        self,
        relative: str,
        pictures: Sequence[tuple[str, Written]],
        source: Path,
        fingerprint: Fingerprint,
        made_with: str,
    ) -> None:
        """Record the input and the settings of an output's comparisons, once the output is complete.

        Our pictures of pages that it had once and has no longer are removed.
        """
        for name, written in pictures:
            self._record.done(name, source, fingerprint, made_with, written)
        self._remove_others(relative, len(pictures))

    def _remove_others(self, relative: str, count: int) -> None:
        several = count > 1
        if several:
            self._remove(self._name(relative, 0, 1))
        index = count if several else 0
        while self._remove(self._name(relative, index, index + 2)):
            index += 1

    def _remove(self, name: str) -> bool:
        """Remove a picture; returns False if there is none, or none of ours."""
        path = self._folder / name
        if not path.exists() or not self._is_ours(name, path):
            return False
        with contextlib.suppress(OSError):
            path.unlink()
        return True

    @staticmethod
    def _name(relative: str, index: int, count: int) -> str:
        return f"{relative}{f'.page{index + 1}' if count > 1 else ''}.png"

    def write(
        self, relative: str, index: int, count: int, before: Floats, after: Floats
    ) -> tuple[str, Written]:
        """Write one page's comparison; returns its name, and the file's size and time.

        Raises FileError if another's file is there or it can't be written.
        """
        name = self._name(relative, index, count)
        path = self._folder / name
        try:
            if path.exists() and not self._force and not self._is_ours(name, path):
                raise FileError(
                    f"can't be compared: {path} exists and was not written by denoise.",
                    "Use --force to overwrite, or another --compare.",
                )
            self._record.begin([name])
            with atomic.replacing(path, sync=self._sync) as file:
                compare(before, after).save(file, "PNG")
        except OSError as error:
            raise FileError(f"can't be compared in {path}: {reason(error)}.") from error
        return name, file.written

    def _is_ours(self, name: str, path: Path) -> bool:
        if not self._record.is_ours(name, path):
            self._record.refresh()  # a process that died may have begun it
        return self._record.is_ours(name, path)


def compare(before: Floats, after: Floats) -> Image.Image:
    """Before, after, and their difference around middle gray, side by side as an 8-bit image.

    The difference is shown four times as strong, or less where most of it would be black or white: a page
    whose paper was made white differs everywhere.

    Where whole mode gave 28x28, the original is shown as the network saw it.
    """
    if after.shape[:2] != before.shape[:2] and after.shape[:2] == (PATCH, PATCH):
        if before.ndim == 2:
            before = whole_from_image(before, darken=False)[0]
        else:
            planes = (np.ascontiguousarray(plane) for plane in np.moveaxis(before, 2, 0))
            before = np.stack([whole_from_image(plane, darken=False)[0] for plane in planes], axis=-1)
    differs = before.shape == after.shape
    if differs:
        sampled = slice(None, None, max(1, len(before) // 1024))
        usual = float(np.percentile(np.abs(before[sampled] - after[sampled]), _MOST))
        gain = np.float32(min(_GAIN, 0.5 / max(usual, 1e-6)))

    def difference(rows: slice) -> Floats:
        return np.asarray(np.clip(0.5 + gain * (before[rows] - after[rows]), 0.0, 1.0))

    parts: list[tuple[tuple[int, ...], Callable[[slice], Floats]]]
    parts = [(before.shape, before.__getitem__), (after.shape, after.__getitem__)]
    if differs:
        parts.append((before.shape, difference))
    height = max(shape[0] for shape, _ in parts)
    gap = max(2, height // 100)
    width = sum(shape[1] + gap for shape, _ in parts) - gap
    mode, white = ("L", 255) if before.ndim == 2 else ("RGB", (255, 255, 255))
    whole, left = Image.new(mode, (width, height), white), 0
    for shape, part in parts:
        # A few rows at a time: next to the page and its result, memory has room for little.
        for top in range(0, shape[0], _ROWS):
            rows = quantize(part(slice(top, top + _ROWS)), 8)
            whole.paste(Image.fromarray(np.ascontiguousarray(rows)), (left, top))
        left += shape[1] + gap
    return whole

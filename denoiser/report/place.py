"""Where a report goes: what must not lie there, whether it can be written there, and how it is taken back."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from denoiser.errors import UsageError, reason
from denoiser.imaging.formats import NO_FOLDERS, SUFFIXES
from denoiser.report.page import MARK
from denoiser.system import atomic

MOST_ROWS = 10_000
PAGE, ALL, PICTURES = "index.html", "results.jsonl", "img"

PICTURE = re.compile(r"([0-9a-f]{8}-)?[0-9a-f]{24}\.(jpg|webp|png)")
"""Names of pictures: the token of the run that drew them, and a digest."""

_ROW_BYTES, _LITTLE_BYTES = 500_000, 500_000_000
"""Most that the pictures of a file take, whole and detail before and after; and what is not worth a word."""


@dataclass(frozen=True)
class Target:
    """Where a report goes: a folder, or one file that stands alone."""

    path: Path

    @property
    def alone(self) -> bool:
        """Whether it is one file."""
        return self.path.suffix.lower() in (".html", ".htm")

    @property
    def folder(self) -> Path:
        """The folder that links start from."""
        return self.path.parent if self.alone else self.path

    @property
    def pictures(self) -> Path | None:
        """The folder of the pictures; None where they stand in the page."""
        return None if self.alone else self.path / PICTURES

    @property
    def page(self) -> Path:
        """The page."""
        return self.path if self.alone else self.path / PAGE


def check(target: Target, out: Path, folders: Iterable[Path]) -> None:
    """Refuse a report that would lie inside an input folder or the output folder, or replace a foreign file.

    Args:
        target: where the report is to go.
        out: the output folder.
        folders: the folders of inputs.

    Raises:
        UsageError: it would.

    """
    place = real(target.folder if target.alone else target.path)
    results = real(out)
    if place == results or place.is_relative_to(results):
        raise UsageError(
            f"The report {target.path} would lie in the output folder {out}.", "Choose another place for it."
        )
    if not target.alone and results.is_relative_to(place):
        raise UsageError(f"The report's folder {target.path} holds the output folder.", "Name another one.")
    for folder in folders:
        if place.is_relative_to(real(folder)):
            raise UsageError(
                f"The report {target.path} would lie in the input folder {folder}.",
                "Choose another place for it.",
            )
    _check_foreign(target)


def _check_foreign(target: Target) -> None:
    page = target.page
    ending = target.path.suffix.lower()
    if ending in NO_FOLDERS | SUFFIXES and not target.alone and not target.path.is_dir():
        raise UsageError(
            f"The report {target.path} can't be a {ending}.", "Name a folder, or a file that ends in .html."
        )
    if target.alone and target.path.is_dir():
        raise UsageError(f"{target.path} is a folder.", "Choose another name for the report.")
    if not target.alone and target.path.exists() and not target.path.is_dir():
        raise UsageError(f"{target.path} is a file.", "Name a folder, or a file that ends in .html.")
    if page.exists():
        try:
            with page.open("rb") as file:
                ours = MARK.encode() in file.read(1024)
        except OSError as error:
            raise UsageError(f"{page} can't be read: {reason(error)}.") from error
        if not ours:
            raise UsageError(f"{page} exists and is no report of denoise.", "Choose another place for it.")
    elif not target.alone and target.path.is_dir() and not _is_begun(target):
        raise UsageError(f"The folder {target.path} holds other files.", "Name a new folder for the report.")


def _is_begun(target: Target) -> bool:
    """Whether a folder holds nothing, or no more than the pictures of a report that a killed run began."""
    names = {path.name for path in target.path.iterdir()}
    if names - {PICTURES}:
        return False
    pictures = target.path / PICTURES
    if not pictures.is_dir():
        return not names
    atomic.sweep([pictures])
    return all(PICTURE.fullmatch(path.name) for path in pictures.iterdir())


def real(path: Path) -> Path:
    """Return a path without links."""
    return Path(os.path.realpath(path))


def input_folders(out: Path, sources: Iterable[Path]) -> set[Path]:
    """Return the folders of which the files below are inputs, as far as these tell.

    The folder of files that were named one by one is none; in it, images are left that were not cleaned.
    """
    folders: dict[Path, set[str]] = {}
    for source in sources:
        folders.setdefault(source.parent, set()).add(source.name)
    found = set()
    for folder, names in folders.items():
        resolved = real(folder)
        if real(out).is_relative_to(resolved):
            with contextlib.suppress(OSError):
                there = {each.name for each in folder.iterdir() if each.suffix.lower() in SUFFIXES}
                if len(names) < 2 or not there <= names:
                    continue
        found.add(resolved)
    return found


def space(target: Target, count: int) -> str | None:
    """Say how much disk a report of so many files may take; None where that is little.

    Raises:
        UsageError: so much is not free.

    """
    files = 0 if target.alone else min(count, MOST_ROWS)
    needed = files * _ROW_BYTES
    if needed < _LITTLE_BYTES:
        return None
    place = next(folder for folder in (target.path, *real(target.path).parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise UsageError(
            f"The report of {files:,} files may take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free "
            f"for {target.path}.",
            "Choose another place, or one file: --report worst.html",
        )
    return f"the pictures of the report may take up to {needed / 1e9:.1f} GB in {target.path}"


class Draft:
    """A report that is being written, as long as it can be taken back.

    Args:
        target: where it goes.

    Attributes:
        token: begins the names of its pictures, so that they are told from those of an earlier report there.

    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.token = os.urandom(4).hex()
        self._made = tuple(_missing(target.pictures or target.folder))

    def try_writing(self) -> None:
        """Find out whether a report can be written there, and leave nothing behind.

        Raises:
            UsageError: it can't.

        """
        folder = self.target.folder
        there = next(each for each in (folder, *folder.absolute().parents) if os.path.lexists(each))
        try:
            if not there.is_dir():
                raise NotADirectoryError(None, f"{there} is a file")
            atomic.make_folders(str(folder))
            with atomic.marker(folder, self.token):
                pass
        except OSError as error:
            raise UsageError(
                f"The report {self.target.path} can't be written: {reason(error)}.",
                "Choose another place for it.",
            ) from error
        finally:
            self._remove_folders()

    def discard(self) -> None:
        """Remove its pictures, whichever process drew them, and the folders that are empty then."""
        folder = self.target.pictures
        if folder is not None:
            with contextlib.suppress(OSError):
                for path in folder.iterdir():
                    if path.name.startswith(f"{self.token}-") and PICTURE.fullmatch(path.name):
                        with contextlib.suppress(OSError):
                            path.unlink()
        self._remove_folders()

    def _remove_folders(self) -> None:
        """Remove the folders that were missing before, where nothing is in them."""
        for folder in self._made:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _missing(folder: Path) -> Iterator[Path]:
    """Yield a folder and those above it, as far as they don't exist, the innermost first."""
    while not os.path.lexists(folder):
        yield folder
        folder = folder.parent

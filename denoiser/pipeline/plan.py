"""Which file becomes which: inputs to jobs, checked before any work.

The folder tree is mirrored, names are kept, two inputs never share one output, and no input is ever
written to. Listing folders is the only thing this module does to the disk.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from denoiser.errors import UsageError
from denoiser.imaging.formats import SUFFIXES
from denoiser.pipeline.record import FOLDER, NAME

_Fail = Callable[[Path, Path, OSError], None]
"""Told of a folder that can't be listed: the whole path, the path below the walk's root, and the error."""


@dataclass(frozen=True)
class Job:
    """One file to clean: `relative` is its place under the output folder, `destination` the whole path."""

    source: Path
    destination: Path
    relative: str


@dataclass(frozen=True)
class Walk:
    """How folders are searched.

    Attributes:
        patterns: file names (or paths below the folder, for a pattern with a slash) must match one of them;
            none: any image.
        recursive: whether folders in folders are searched.
        follow_links: whether links to folders are.
        suffixes: endings that count as images, in lower case.
        left_out: called with each subfolder that is left out because it holds results of ours.

    """

    patterns: tuple[str, ...] = ()
    recursive: bool = True
    follow_links: bool = False
    suffixes: frozenset[str] = SUFFIXES
    left_out: Callable[[Path], object] = lambda _: None


class NothingFoundError(UsageError):
    """The inputs exist, and hold no image."""


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key by which page9 comes before page10, whatever the case."""
    parts = re.split(r"([0-9]+)", text.casefold())
    return tuple((0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts)


def plan(
    inputs: Sequence[str],
    out: Path,
    *,
    walk: Walk | None = None,
    suffixes: Sequence[str] | None = None,
    renamed: Mapping[str, str] | None = None,
    aside: Iterable[Path] = (),
    onerror: Callable[[Job, OSError], None] | None = None,
) -> list[Job]:
    """List the jobs for files, folders and glob patterns.

    Args:
        inputs: paths, or patterns for what the shell did not expand.
        out: the output folder; it need not exist.
        walk: how folders are searched.
        suffixes: endings an output may have where the format is given (".tif", ".tiff"); the first is put in
            place of any other. None keeps each file's own.
        renamed: where files keep their own, the endings, in lower case, that an output can't have, and what
            takes their place.
        aside: more folders that hold outputs, left out of the walk as `out` is.
        onerror: called with each folder that can't be listed, as a job, and the error; the walk goes on
            without it. None raises UsageError instead.

    Returns:
        Jobs in natural order, folder by folder; none at all only where `onerror` was called.

    Raises:
        UsageError: no such path, nothing found, an output that is an input, two inputs for one output, or a
            folder that can't be listed without `onerror`.

    """
    walk = walk or Walk()
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file, not a folder.", "Name a folder with --out.")
    roots = [root for text in inputs for root in _expand(text)]
    several = len(roots) > 1
    hidden = (out, *aside)
    jobs: dict[tuple[str, str], Job] = {}
    unlisted: list[Job] = []

    def fail(prefix: Path, folder: Path, below: Path, error: OSError) -> None:
        if onerror is None:
            raise UsageError(f"The folder {folder} can't be read: {error.strerror}.") from error
        unlisted.append(Job(folder, out / prefix / below, (prefix / below).as_posix()))
        onerror(unlisted[-1], error)

    for root in roots:
        if root.is_dir():
            if _real(root) == _real(out):
                raise UsageError(
                    f"The output folder {out} is the input folder {root}.",
                    "Choose another folder with --out.",
                )
            prefix = Path(_name(root)) if several else Path()
            found = _walk(root, walk, hidden, partial(fail, prefix))
        else:
            prefix, found = Path(), iter((root.relative_to(root.parent),))
            root = root.parent
        base = os.path.abspath(root)  # noqa: PTH100 - resolving links would merge distinct inputs
        for below in found:
            relative = prefix / below if several else below
            if suffixes is not None and relative.suffix.lower() not in suffixes:
                relative = relative.with_suffix(suffixes[0])
            elif suffixes is None and renamed and relative.suffix.lower() in renamed:
                relative = relative.with_suffix(renamed[relative.suffix.lower()])
            name = relative.as_posix()
            # The same file named twice is one job.
            jobs.setdefault((os.path.join(base, below), name), Job(root / below, out / relative, name))  # noqa: PTH118
    if not jobs and not unlisted:
        wanted = f"matching {' or '.join(walk.patterns)}" if walk.patterns else "of a known image type"
        raise NothingFoundError(
            f"No images found in {', '.join(map(str, roots))}.",
            f"There is no file {wanted} there; the known types end in {' '.join(sorted(walk.suffixes))}.",
        )
    _refuse_collisions(list(jobs.values()))
    return list(jobs.values())


def _real(path: Path) -> str:
    return os.path.normcase(os.path.realpath(path))  # Path.resolve() raises where a link leads to itself


def _name(folder: Path) -> str:
    """What a folder is called, also where it was given as `.` or `..`."""
    return folder.name if folder.name not in ("", "..") else folder.resolve().name


def _expand(text: str) -> list[Path]:
    path = Path(text)
    if path.exists():
        return [path]
    if path.is_symlink():
        raise UsageError(f"{text} is a link to nothing.")
    if glob.has_magic(text):
        try:
            matches = sorted(glob.glob(text, recursive=True), key=natural_key)  # noqa: PTH207 - any root
        except RecursionError:
            raise UsageError(
                f"{text}: the folders there are too deep for a pattern.", "Name the folder itself."
            ) from None
        if matches:
            return [Path(match) for match in matches]
        raise UsageError(f"No file matches {text}.")
    raise UsageError(f"{text}: no such file or folder.")


def _walk(root: Path, walk: Walk, hidden: Sequence[Path], fail: _Fail) -> Iterator[Path]:
    """Yield images below `root`, relative to it, each folder's files before its folders.

    A folder that can't be listed is handed to `fail`, and left out, as the `hidden` ones are.
    """
    matches = _matcher(walk)
    # Known by number and not by name: resolving the name of each of a thousand folders takes minutes.
    unseen = {(status.st_dev, status.st_ino) for status in map(_status, hidden) if status is not None}
    seen: set[tuple[int, int]] = set()
    waiting = [Path()]  # a stack of our own: folders may be deeper than Python's calls
    while waiting:
        below = waiting.pop()
        folder = root / below
        try:
            status = folder.stat()
            number = (status.st_dev, status.st_ino)
            # A link that leads back up would be walked for ever.
            if number in seen or (number in unseen and below != Path()):
                continue
            seen.add(number)
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: natural_key(entry.name))
        except OSError as error:
            fail(folder, below, error)
            continue
        if below.parts and any(entry.name in (FOLDER, NAME) for entry in entries):
            walk.left_out(folder)
            continue
        folders = []
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if _is_folder(entry, follow=walk.follow_links):
                folders.append(below / entry.name)
            elif not _is_folder(entry, follow=True) and matches(path := below / entry.name):
                yield path
        if walk.recursive:
            waiting.extend(reversed(folders))


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _is_folder(entry: os.DirEntry[str], *, follow: bool) -> bool:
    try:
        return entry.is_dir(follow_symlinks=follow)
    except OSError:
        return False  # such as a link to itself, which will fail by itself when it is read


def _matcher(walk: Walk) -> Callable[[Path], bool]:
    if not walk.patterns:
        return lambda path: path.suffix.lower() in walk.suffixes

    def matches(path: Path) -> bool:
        return any(
            fnmatch.fnmatch(path.as_posix() if "/" in pattern else path.name, pattern)
            for pattern in walk.patterns
        )

    return matches


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    # On file systems that ignore case, A.png and a.png are one file.
    fold = str.casefold if sys.platform in ("darwin", "win32") else str
    folders: dict[str, str] = {}

    def beside(path: str) -> str:
        """The path with its folder's links resolved, and not its own."""
        folder, name = os.path.split(path)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        return os.path.normcase(f"{folders[folder]}{os.sep}{name}")

    sources = {
        _real(job.source) if os.path.islink(job.source) else beside(str(job.source))  # noqa: PTH114 - faster
        for job in jobs
    }
    taken: dict[str, Job] = {}
    for job in jobs:
        other = taken.setdefault(fold(job.relative), job)
        if other is not job:
            raise UsageError(
                f"{other.source} and {job.source} would both be written to {job.destination}.",
                "Run them separately with different --out folders, or rename one.",
            )
        # An existing link at the destination is replaced, not followed, so only the folder is resolved.
        if beside(str(job.destination)) in sources:
            raise UsageError(
                f"The output {job.destination} is an input; inputs are never written to.",
                "Choose another folder with --out.",
            )

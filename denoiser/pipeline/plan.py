"""Which file becomes which: inputs to jobs, output folder by output folder.

The folder tree is mirrored, names are kept, two inputs never share one output, and no input is ever written
to. All of that can be checked within one output folder. So only one folder's names are in memory, and whoever
asks for a folder may begin with it. Listing folders is the only thing this module does to the disk.
"""

from __future__ import annotations

import bisect
import glob
import itertools
import os
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from denoiser.errors import UsageError
from denoiser.pipeline.repeats import without_repeats
from denoiser.pipeline.walk import (
    MadeWhenAsked,
    Number,
    Part,
    Tree,
    Walk,
    below,
    natural_key,
    number_of,
    suffix_of,
)


@dataclass(frozen=True)
class Job:
    """One file to clean: `relative` is its place under the output folder, `destination` the whole path."""

    source: Path
    destination: Path
    relative: str

    @property
    def size(self) -> int:
        """Size of the source in bytes; 0 if there is none."""
        try:
            return os.stat(self.source).st_size  # noqa: PTH116 - a third of the time, for every file
        except OSError:
            return 0


class NothingFoundError(UsageError):
    """The inputs exist, and hold no image."""


class Folder(MadeWhenAsked[Job]):
    """The jobs whose outputs go to one folder, each made when it is asked for.

    Args:
        destination: the folder.
        relative: its path below the output folder; "" is the output folder itself.
        parts: the inputs.
        first: number of the first job in the plan.
        renamed: gives the name of an output for that of an input.

    """

    def __init__(
        self,
        destination: str,
        relative: str,
        parts: Sequence[Part],
        first: int,
        renamed: Callable[[str], str],
    ) -> None:
        self.destination, self.relative, self.parts, self.first = destination, relative, parts, first
        self._renamed = renamed
        self._starts = [0, *itertools.accumulate(len(part.names) for part in parts)]

    def __len__(self) -> int:
        return self._starts[-1]

    def _made(self, index: int) -> Job:
        number = bisect.bisect_right(self._starts, index) - 1
        part = self.parts[number]
        name = part.names[index - self._starts[number]]
        output = self._renamed(name)
        return Job(
            Path(os.path.join(part.folder, name)),  # noqa: PTH118 - half the time of joining paths
            Path(os.path.join(self.destination, output)),  # noqa: PTH118
            below(self.relative, output),
        )

    def outputs(self) -> Iterator[str]:
        """Yield the names of the outputs in this folder."""
        return (self._renamed(name) for part in self.parts for name in part.names)

    def without(self, indices: set[int]) -> Folder:
        """Return the folder without some of its jobs."""
        parts = []
        for part, start in zip(self.parts, self._starts, strict=False):
            names = [name for index, name in enumerate(part.names, start) if index not in indices]
            parts.append(Part(part.folder, names, part.links))
        return Folder(self.destination, self.relative, parts, self.first, self._renamed)


class Selection(MadeWhenAsked[Job]):
    """Some of the jobs of an output folder.

    Args:
        jobs: jobs whose outputs go to one folder.
        destination: that folder.
        relative: its path below the output folder.
        indices: which jobs; None takes all.

    """

    def __init__(
        self, jobs: Sequence[Job], destination: str, relative: str, indices: Sequence[int] | None = None
    ) -> None:
        self._jobs, self.destination, self.relative = jobs, destination, relative
        self._indices = range(len(jobs)) if indices is None else indices

    def __len__(self) -> int:
        return len(self._indices)

    def _made(self, index: int) -> Job:
        return self._jobs[self._indices[index]]

    def __iter__(self) -> Iterator[Job]:
        return map(self._jobs.__getitem__, self._indices)

    def only(self, indices: Iterable[int]) -> Selection:
        """Return some of these jobs."""
        chosen = array("Q", (self._indices[index] for index in indices))
        return Selection(self._jobs, self.destination, self.relative, chosen)


def selections(jobs: Iterable[Job], out: Path) -> Iterator[Selection]:
    """Yield jobs that are known already, those of one output folder together."""
    for folder, group in itertools.groupby(jobs, key=lambda job: job.destination.parent):
        relative = folder.relative_to(out).as_posix() if folder.is_relative_to(out) else ""
        yield Selection(list(group), str(folder), "" if relative == "." else relative)


class Inputs(Protocol):
    """Some of the inputs of a plan."""

    def folders(self) -> Iterator[tuple[str, list[Part]]]:
        """Yield the paths of folders below the output folder, each once, and the files that go there."""

    def visited(self) -> Iterator[tuple[str, list[Part]]]:
        """Yield the same again, without a word about what is left out."""

    def count(self) -> Iterator[int]:
        """Yield numbers of files, which are all of them together; every so often, also 0."""

    def lie_in(self, folder: str) -> bool:
        """Return True if some lie in a folder, which is given by its real path, or it can't be told soon."""


class _Files:
    """Files that were named one by one; they go straight into the output folder."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = _distinct(paths)

    def folders(self) -> Iterator[tuple[str, list[Part]]]:
        """Yield the one folder."""
        parts = []
        for folder, paths in itertools.groupby(self._paths, key=lambda path: path.parent):
            named = list(paths)
            links = [path.name for path in named if path.is_symlink()]
            parts.append(Part(str(folder), [path.name for path in named], links))
        yield "", parts

    visited = folders

    def count(self) -> Iterator[int]:
        """Yield the number."""
        yield len(self._paths)

    def lie_in(self, folder: str) -> bool:
        """Return True if a file lies there."""
        return any(is_in(real(path.parent), folder) for path in self._paths)


class _Trees:
    """Folders that go to one place below the output folder."""

    def __init__(
        self, place: str, roots: Sequence[Path], walk: Walk, hidden: Iterable[Path], fail: _FailAt
    ) -> None:
        self._place, self._roots, self._walk = place, roots, walk
        self._tree = Tree(roots, walk, hidden)
        self._fail = fail

    def folders(self) -> Iterator[tuple[str, list[Part]]]:
        """Yield folder by folder."""
        for place, parts in self._tree.folders(partial(self._fail, self._place), self._walk.left_out):
            yield below(self._place, place), parts
            del parts  # the next one is listed meanwhile

    def visited(self) -> Iterator[tuple[str, list[Part]]]:
        """Yield folder by folder."""
        return self._tree.folders(lambda *_: None, lambda _: None)

    def count(self) -> Iterator[int]:
        """Yield numbers of files."""
        return self._tree.count()

    def lie_in(self, folder: str) -> bool:
        """Return True if a root lies there, or links are followed, which may lead there."""
        return self._walk.follow_links or any(is_in(real(root), folder) for root in self._roots)


_FailAt = Callable[[str, str, str, OSError], None]


def plan(
    inputs: Sequence[str],
    out: Path,
    *,
    walk: Walk | None = None,
    suffixes: Sequence[str] | None = None,
    renamed: Mapping[str, str] | None = None,
    aside: Iterable[Path] = (),
    onerror: Callable[[Job, OSError], None] | None = None,
) -> Plan:
    """Plan the jobs for files, folders and glob patterns.

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
        Jobs folder by folder, in natural order within each.

    Raises:
        UsageError: no such path, or the output folder is an input folder. Iterating raises it, too.

    """
    walk = walk or Walk()
    check_folder(out)
    roots = [root for text in inputs for root in _expand(text)]
    several = len(roots) > 1
    aside = tuple(aside)
    roots = without_repeats(roots, walk, (out, *aside))
    unlisted: list[Path] = []

    def fail(prefix: str, folder: str, place: str, error: OSError) -> None:
        if onerror is None:
            raise UsageError(f"The folder {folder} can't be read: {error.strerror}.") from error
        unlisted.append(Path(folder))
        del unlisted[1:]  # whether there is one is all that matters
        relative = below(prefix, place) or "."
        onerror(Job(Path(folder), out / relative, relative), error)

    # What goes to one place is planned together, as outputs could meet there.
    fold = _fold()
    places: dict[tuple[bool, str], list[Path]] = {}
    for root in roots:
        if root.is_dir():
            refuse_same(root, out)
            if several and not _name(root):
                raise UsageError(f"{root} has no name of its own.", "Give it alone, without other inputs.")
            places.setdefault((True, _name(root) if several else ""), []).append(root)
        else:
            places.setdefault((False, ""), []).append(root)
    merged: dict[tuple[bool, str], tuple[str, list[Path]]] = {}
    for (is_folder, place), paths in places.items():
        merged.setdefault((is_folder, fold(place)), (place, []))[1].extend(paths)
    hidden = (out, *aside)
    sources: list[Inputs] = [
        _Trees(place, _distinct(paths), walk, hidden, fail) if is_folder else _Files(paths)
        for (is_folder, _), (place, paths) in merged.items()
    ]
    wanted = f"matching {' or '.join(walk.patterns)}" if walk.patterns else "of a known image type"
    nothing = NothingFoundError(
        f"No images found in {', '.join(map(str, roots))}.",
        f"There is no file {wanted} there; the known types end in {' '.join(sorted(walk.suffixes))}.",
    )
    return Plan(sources, out, renamer(suffixes, renamed), lambda: None if unlisted else nothing)


class Plan:
    """The jobs of a run, output folder by output folder.

    Args:
        sources: the inputs; no two have an output folder in common.
        out: the output folder.
        renamed: gives the name of an output for that of an input; None keeps all names.
        nothing: called where no files are found; the error to raise, if any.

    """

    def __init__(
        self,
        sources: Sequence[Inputs],
        out: Path,
        renamed: Callable[[str], str] | None,
        nothing: Callable[[], NothingFoundError | None],
    ) -> None:
        self._sources, self._out, self._nothing = sources, out, nothing
        self._renamed = renamed
        self._real_out = real(out)
        self._inside = any(source.lie_in(self._real_out) for source in sources)
        self._visited: set[Number] | None = None
        self._targets: dict[str, set[str]] = {}
        """Files in the output folder that links among the inputs lead to, by folder."""

    def __iter__(self) -> Iterator[Folder]:
        """Yield the folders, checked.

        Raises:
            UsageError: an output of the next folder is an input, or two inputs have one output.
            NothingFoundError: there is no file at all.

        """
        first = 0
        for source in self._sources:
            for relative, parts in source.folders():
                folder = Folder(str(self._out / relative), relative, parts, first, self._renamed or str)
                del parts
                first += len(folder)
                folder = self._without_twins(folder)
                self._refuse_inputs(folder)
                yield folder
                del folder  # the next one is listed meanwhile
        nothing = self._nothing()
        if not first and nothing is not None:
            raise nothing

    def count(self) -> Iterator[int]:
        """Yield numbers of files, all of them together; every so often, also 0. Names alone are read."""
        return itertools.chain.from_iterable(source.count() for source in self._sources)

    def _without_twins(self, folder: Folder) -> Folder:
        """Leave out inputs that are named twice; refuse two inputs with one output."""
        fold = _fold()
        listing = len(folder.parts) == 1 and not isinstance(folder.parts[0].names, list)
        if listing and self._renamed is None and fold is str:
            return folder  # the names that a folder has differ
        # By digests, as there may be millions; those that are equal are looked at.
        import numpy as np

        digests = np.fromiter((hash(fold(name)) for name in folder.outputs()), np.int64, len(folder))
        order = np.sort(digests)
        twice = set(order[1:][order[1:] == order[:-1]].tolist())
        if not twice:
            return folder
        taken: dict[str, Job] = {}
        repeated: set[int] = set()
        for index in np.flatnonzero(np.isin(digests, list(twice))).tolist():
            job = folder[index]
            other = taken.setdefault(fold(job.relative), job)
            if other is job:
                continue
            if os.path.abspath(other.source) != os.path.abspath(job.source):  # noqa: PTH100 - links are inputs
                raise UsageError(
                    f"{other.source} and {job.source} would both be written to {job.destination}.",
                    "Run them separately with different --out folders, or rename one.",
                )
            repeated.add(index)
        return folder.without(repeated) if repeated else folder

    def _refuse_inputs(self, folder: Folder) -> None:
        """Refuse outputs that are inputs. Outputs lie in the output folder, so inputs mostly can't be met."""
        for part in folder.parts:
            for name in part.links:
                there, target = os.path.split(real(Path(part.folder, name)))
                if is_in(there, self._real_out):
                    self._targets.setdefault(there, set()).add(target)
        number = number_of(folder.destination)
        if number is None:
            return  # nothing lies there yet
        # An existing link at the destination is replaced, not followed, so only the folder is resolved.
        there = real(Path(folder.destination))
        inputs = set(self._targets.get(there, ()))
        if self._inside or not is_in(there, self._real_out):
            inputs |= self._inputs_in(number)
        if inputs:
            for job in folder:
                if os.path.normcase(job.destination.name) in inputs:
                    raise UsageError(
                        f"The output {job.destination} is an input; inputs are never written to.",
                        "Choose another folder with --out.",
                    )

    def _inputs_in(self, number: Number) -> set[str]:
        """Return the names of inputs in a folder."""
        visited = (part for source in self._sources for _, parts in source.visited() for part in parts)
        if self._visited is None:
            numbers = (number_of(part.folder) for part in visited)
            self._visited = {number for number in numbers if number is not None}
        if number not in self._visited:
            return set()
        visited = (part for source in self._sources for _, parts in source.visited() for part in parts)
        return {
            os.path.normcase(name)
            for part in visited
            if number_of(part.folder) == number
            for name in part.names
        }


def renamer(suffixes: Sequence[str] | None, renamed: Mapping[str, str] | None) -> Callable[[str], str] | None:
    """Return what gives an output's name for an input's; None if all keep their names. See `plan`."""
    if suffixes is None and not renamed:
        return None

    def rename(name: str) -> str:
        suffix = suffix_of(name)
        if suffixes is not None:
            new = suffix if suffix.lower() in suffixes else suffixes[0]
        else:
            new = (renamed or {}).get(suffix.lower(), suffix)
        return name[: len(name) - len(suffix)] + new

    return rename


def _fold() -> Callable[[str], str]:
    """Return what makes names equal that are one file: some file systems ignore case."""
    return str.casefold if sys.platform in ("darwin", "win32") else str


def check_folder(out: Path) -> None:
    """Refuse an output folder that is a file."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file, not a folder.", "Name a folder with --out.")


def refuse_same(root: Path, out: Path) -> None:
    """Refuse an output folder that is the input folder."""
    if real(root) == real(out):
        raise UsageError(
            f"The output folder {out} is the input folder {root}.", "Choose another folder with --out."
        )


def real(path: Path) -> str:
    """Return the path with all links resolved."""
    return os.path.normcase(os.path.realpath(path))  # Path.resolve() raises where a link leads to itself


def is_in(path: str, folder: str) -> bool:
    """Whether a real path is a folder, or lies in it."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _distinct(paths: Sequence[Path]) -> list[Path]:
    return list({os.path.abspath(path): path for path in reversed(paths)}.values())[::-1]  # noqa: PTH100


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

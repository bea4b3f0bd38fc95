"""Search folders for images, one folder at a time, in natural order.

Only one folder's names are in memory, each as the key that it is sorted by: archives have millions of files.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar, overload

from denoiser.imaging.formats import SUFFIXES
from denoiser.pipeline.record import FOLDER, NAME

Item = TypeVar("Item")

Number = tuple[int, int]
"""Device and inode, which identify a folder whatever links lead to it."""

Fail = Callable[[str, str, OSError], None]
"""Told of a folder that can't be listed: its path, its path below the root, and the error."""

_NUMBERS = re.compile(r"([0-9]+)")

COUNTED = 1_000
"""Files between two numbers of a count, which thus never takes long."""


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


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key by which page9 comes before page10, whatever the case."""
    parts = _NUMBERS.split(text.casefold())
    return tuple((0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts)


def sort_key(name: str) -> bytes:
    """Return a file's name, and before it what sorts it as `natural_key` does, in one small object.

    Each part of the key starts with its kind. A number continues with how many digits it has, and ends with
    its zeros in front, if any. `name_of` is the inverse.
    """
    key = bytearray()
    for part in _NUMBERS.split(name.casefold()):
        if part.isdecimal():
            digits = str(int(part))
            longer, rest = divmod(len(digits), 255)
            key += b"\x01" + b"\xff" * longer + bytes((rest,)) + digits.encode()
            key += b":" if part == digits != "0" else part.encode() + b"\0"
        else:
            key += b"\x02" + part.encode("utf-8", "surrogatepass") + b"\0"
    return bytes(key) + b"\0" + name.encode("utf-8", "surrogatepass")


def name_of(key: bytes) -> str:
    """Return the name that a sort key is of."""
    return key.rpartition(b"\0")[2].decode("utf-8", "surrogatepass")


class MadeWhenAsked(Sequence[Item]):
    """A sequence whose items are made when they are asked for; a slice of it is a list."""

    def _made(self, index: int) -> Item:
        """Make the item at an index from 0."""
        raise NotImplementedError

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...

    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        if isinstance(index, slice):
            return [self._made(each) for each in range(*index.indices(len(self)))]
        index += len(self) if index < 0 else 0
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._made(index)


class Names(MadeWhenAsked[str]):
    """The names in sort keys."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = keys

    def __len__(self) -> int:
        return len(self._keys)

    def _made(self, index: int) -> str:
        return name_of(self._keys[index])


class Part(NamedTuple):
    """Files of one input folder: its path, their names, and which of them are links."""

    folder: str
    names: Sequence[str]
    links: Sequence[str] = ()


def number_of(folder: str | Path) -> Number | None:
    """Return the number of a folder; None if there is none."""
    try:
        status = os.stat(folder)  # noqa: PTH116 - text or path
    except OSError:
        return None
    return status.st_dev, status.st_ino


def below(folder: str, name: str) -> str:
    """Join two paths with a slash; either may be empty."""
    return f"{folder}/{name}" if folder and name else folder or name


class _HoldsResults(Exception):  # noqa: N818 - no error
    """A folder has a record of ours."""


class Tree:
    """The images below one or several folders that share one place below the output folder.

    Args:
        roots: the folders.
        walk: how they are searched.
        hidden: folders that are left out; they may be made later.

    """

    def __init__(self, roots: Sequence[Path], walk: Walk, hidden: Iterable[Path]) -> None:
        self._roots = tuple(map(str, roots))
        self._walk = walk
        self._matches = matcher(walk)
        self._hidden: dict[Path, Number | None] = dict.fromkeys(hidden)
        self._real_roots: list[Path] | None = None

    def folders(self, fail: Fail, left_out: Callable[[Path], object]) -> Iterator[tuple[str, list[Part]]]:
        """Yield the path of each folder below the roots, and its files; each before the folders in it.

        A folder that can't be listed is handed to `fail`, and left out.
        """
        seen: set[Number] = set()
        # A stack of our own: folders may be deeper than Python's calls.
        waiting = [("", self._roots)]
        while waiting:
            place, roots = waiting.pop()
            parts: list[Part] = []
            folders: dict[bytes, list[str]] = {}
            for root in roots:
                folder = root + os.sep * (not root.endswith(("/", os.sep))) + place if place else root
                files, links = [], []
                try:
                    if not self._is_new(folder, place, seen):
                        continue
                    for entry, is_folder in self._entries(folder, place):
                        key = sort_key(entry.name)
                        if is_folder:
                            folders.setdefault(key, []).append(root)
                        else:
                            files.append(key)
                            if entry.is_symlink():
                                links.append(entry.name)
                except OSError as error:
                    fail(folder, place, error)
                except _HoldsResults:
                    left_out(Path(folder))
                else:
                    files.sort()
                    if files:
                        parts.append(Part(folder, Names(files), links))
                    continue
                for key in [key for key, having in folders.items() if root in having]:
                    folders[key].remove(root)
            if parts:
                yield place, parts
            if self._walk.recursive:
                for key in sorted(folders, reverse=True):
                    if folders[key]:
                        waiting.append((below(place, name_of(key)), tuple(folders[key])))

    def count(self) -> Iterator[int]:
        """Yield numbers of files, which are all of them together; every so often, also 0."""
        seen: set[Number] = set()
        waiting = [(root, "") for root in self._roots]
        while waiting:
            folder, place = waiting.pop()
            found, folders = 0, []
            try:
                if not self._is_new(folder, place, seen):
                    continue
                for entry, is_folder in self._entries(folder, place):
                    if is_folder:
                        folders.append(entry.name)
                        continue
                    found += 1
                    if found >= COUNTED:
                        yield found
                        found = 0
            except (OSError, _HoldsResults):
                continue
            yield found
            if self._walk.recursive:
                waiting.extend((os.path.join(folder, name), below(place, name)) for name in folders)  # noqa: PTH118

    def _is_new(self, folder: str, place: str, seen: set[Number]) -> bool:
        """Whether a folder is neither hidden nor a link that leads back up, which would be walked for ever.

        Folders are known by number and not by name: resolving a thousand names takes minutes.
        """
        status = os.stat(folder)  # noqa: PTH116 - text
        number = (status.st_dev, status.st_ino)
        for path, known in self._hidden.items():
            self._hidden[path] = known or number_of(path)
        if number in seen or (place and number in self._hidden.values()):
            return False
        seen.add(number)
        return True

    def _leads_inside(self, link: str) -> bool:
        """Whether a link leads to a folder that is walked anyhow, whose results keep their place."""
        if self._real_roots is None:
            self._real_roots = [Path(os.path.realpath(root)) for root in self._roots]
        target = Path(os.path.realpath(link))
        return any(
            target.is_relative_to(root)
            and not any(part.startswith(".") for part in target.relative_to(root).parts)
            for root in self._real_roots
        )

    def _entries(self, folder: str, place: str) -> Iterator[tuple[os.DirEntry[str], bool]]:
        """Yield the images and folders in a folder, and which it is.

        Raises OSError, and _HoldsResults if a subfolder has a record.
        """
        with os.scandir(folder) as listing:
            for entry in listing:
                name = entry.name
                if name.startswith("."):
                    if place and name in (FOLDER, NAME):
                        raise _HoldsResults
                elif _is_folder(entry, follow=self._walk.follow_links):
                    if not (entry.is_symlink() and self._leads_inside(entry.path)):
                        yield entry, True
                elif not _is_folder(entry, follow=True) and self._matches(place, name):
                    yield entry, False


def _is_folder(entry: os.DirEntry[str], *, follow: bool) -> bool:
    try:
        return entry.is_dir(follow_symlinks=follow)
    except OSError:
        return False  # such as a link to itself, which will fail by itself when it is read


def suffix_of(name: str) -> str:
    """Return the ending of a name with its dot, as `Path.suffix` does."""
    dot = name.rfind(".")
    return name[dot:] if 0 < dot < len(name) - 1 else ""


def matcher(walk: Walk) -> Callable[[str, str], bool]:
    """Return what says whether a file is wanted: by the path of its folder below the root, and its name."""
    if not walk.patterns:
        return lambda _, name: suffix_of(name).lower() in walk.suffixes

    def matches(place: str, name: str) -> bool:
        return any(
            fnmatch.fnmatch(below(place, name) if "/" in pattern else name, pattern)
            for pattern in walk.patterns
        )

    return matches

"""Inputs that a list names, one by one, in a file or on stdin: paths, or URLs.

A list may be longer than the memory, so it is read twice: once to check it, to count its files and to find
the folder common to all, and once folder by folder.
"""

from __future__ import annotations

import codecs
import contextlib
import itertools
import os
import shlex
import shutil
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from denoiser.errors import UsageError, reason
from denoiser.pipeline.plan import NothingFoundError, Plan, check_folder, refuse_same
from denoiser.pipeline.walk import Part, below
from denoiser.storage.base import scheme_of

STDIN = "-"
_LONGEST = 1 << 15
"""Bytes of a path; Linux allows 4,096."""

_BLOCK = 1 << 16


class _Named(NamedTuple):
    """A file that is named: its line or number from 1, its folder as it is named, its name."""

    line: int
    folder: str
    name: str

    @property
    def kind(self) -> str:
        """What names it."""
        return "a path" if scheme_of(self.folder) is None else "a URL"


class Lines:
    """What a list names, in its order, as often as it is asked for.

    Args:
        file: the list; "-" is stdin.
        null: whether NUL ends a path or URL; else the end of its line does.

    """

    def __init__(self, file: str, *, null: bool = False) -> None:
        self.name = "The list on stdin" if file == STDIN else f"The list {file}"
        self._file, self._end = file, b"\0" if null else b"\n"
        self._content: IO[bytes] | None = None

    def __iter__(self) -> Iterator[_Named]:
        """Yield the files. Raises UsageError if the list can't be read, or names what can't be a file."""
        for number, content in enumerate(self._entries(), 1):
            entry = content.removesuffix(b"\r") if self._end == b"\n" else content
            if number == 1 and self._end == b"\n":
                entry = entry.removeprefix(codecs.BOM_UTF8)  # an editor's, and no part of a name
            if not entry:
                continue
            path = os.fsdecode(entry)
            is_url = scheme_of(path) is not None
            folder, name = path.rsplit("/", 1) if is_url else os.path.split(path)
            named = _Named(number, folder, name)
            if b"\0" in entry:
                raise UsageError(
                    f"{self.name} has a NUL in {self.line(named)}.", "Add -0 if NUL ends a path."
                )
            if name in ("", os.curdir, os.pardir) or (is_url and scheme_of(folder) is None):
                raise UsageError(
                    f"{self.name}: {path} in {self.line(named)} is no file.", "Name files alone."
                )
            if is_url and not {"", os.curdir, os.pardir}.isdisjoint(folder.split("/")[3:]):
                raise UsageError(
                    f"{self.name}: {path} in {self.line(named)} has a part that is empty, . or ..",
                    "No object can be reached by such a name: leave it out.",
                )
            yield named

    def line(self, named: _Named) -> str:
        """Say where a file is named."""
        return f"{'line' if self._end != bytes(1) else 'path'} {named.line}"

    @property
    def sorting(self) -> str:
        """A command that sorts the list; a character before the names keeps folders together."""
        file = "LIST" if self._file == STDIN else shlex.quote(self._file)
        if self._end == b"\0":
            return f"LC_ALL=C sed -z 's|[^/]*$|\\x01&|' {file} | LC_ALL=C sort -z | tr -d '\\001' > SORTED"
        return (
            "LC_ALL=C awk -F/ -v OFS=/ '{$NF=\"\\001\"$NF}1' "
            f"{file} | LC_ALL=C sort | tr -d '\\001' > SORTED"
        )

    def _entries(self) -> Iterator[bytes]:
        """Yield what is between the ends of paths."""
        rest = b""
        with self._opened() as file:
            while block := self._read(file):
                *entries, rest = (rest + block).split(self._end)
                if len(rest) > _LONGEST:
                    hint = "Add -0 if NUL ends a path." if self._end == b"\n" else "Leave -0 out?"
                    raise UsageError(f"{self.name} has a path that is too long.", hint)
                yield from entries
        yield rest

    def _read(self, file: IO[bytes]) -> bytes:
        try:
            return file.read(_BLOCK)
        except OSError as error:
            raise UsageError(f"{self.name} can't be read: {reason(error)}.") from error

    @contextlib.contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        """Open the list at its start; what can be read only once is copied to a temporary file."""
        try:
            if self._file != STDIN and self._content is None:
                file: IO[bytes] = open(self._file, "rb")  # noqa: SIM115, PTH123 - closed below
                if file.seekable():
                    with file:
                        yield file
                    return
                with file:
                    self._content = _copied(file)
            elif self._content is None:
                if sys.stdin is None:
                    raise UsageError(
                        "stdin is closed, and --files-from - reads it.", "Redirect a list into it."
                    )
                self._content = _copied(sys.stdin.buffer)
        except OSError as error:
            raise UsageError(f"{self.name} can't be read: {reason(error)}.") from error
        self._content.seek(0)
        yield self._content


class _List(ABC):
    """The files that a list names: what lists of paths and lists of URLs have in common.

    Args:
        lines: the list.
        root: the folder below which the files are mirrored; None: the one common to all.

    Attributes:
        root: that folder.
        total: how many files there are, each as often as it is named.

    Raises:
        UsageError: the list can't be read, isn't sorted by folder, or names both paths and URLs; or a file is
            not below the root.
        NothingFoundError: it names no file.

    """

    def __init__(self, lines: Lines, root: str | None = None) -> None:
        self._lines = lines
        self.total = 0
        self.root = self._check(None if root is None else self._whole(root))

    @abstractmethod
    def _whole(self, folder: str) -> str:
        """Return the name of a folder by which it is told from others."""

    @abstractmethod
    def _common(self, one: str, other: str) -> str:
        """Return the folder that two have in common. Raises UsageError if there is none."""

    def _check(self, root: str | None) -> str:
        """Read all of the list; returns the root."""
        seen: set[int] = set()
        first, last, common = None, None, root
        for named in self._lines:
            self.total += 1
            first = first or named
            if named.kind != first.kind:
                raise UsageError(
                    f"{self._lines.name} mixes paths and URLs: {self._lines.line(first)} is {first.kind}, and"
                    f" {self._lines.line(named)} {named.kind}.",
                    "Make two lists of them.",
                )
            folder = self._whole(named.folder)
            if folder == last:
                continue
            last = folder
            if hash(folder) in seen:
                raise UsageError(
                    f"{self._lines.name} isn't sorted by folder: {self._lines.line(named)} comes back to"
                    f" {folder}.",
                    f"Sort it: {self._lines.sorting}",
                )
            seen.add(hash(folder))
            if root is None:
                common = folder if common is None else self._common(common, folder)
            elif folder != root and not folder.startswith(_with_end(root)):
                raise UsageError(
                    f"{named.folder}{'/' * bool(named.folder)}{named.name} is not below {root}, the --root"
                    " folder.",
                    "Name a folder that holds all files of the list, or leave --root out.",
                )
        if common is None or not self.total:
            raise NothingFoundError(f"{self._lines.name} names no files.", "Write one path a line.")
        return common

    def _placed(self) -> Iterator[tuple[str, _Named]]:
        """Yield the place of each file's folder below the root, and the file."""
        last, place = None, ""
        above = len(_with_end(self.root))
        for named in self._lines:
            if named.folder != last:
                last = named.folder
                place = self._whole(last)[above:].replace(os.sep, "/")
            yield place, named

    def keys(self) -> Iterator[str]:
        """Yield what each file is called below the root, with slashes, once."""
        last: str | None = None
        names: set[str] = set()
        for place, named in self._placed():
            if place != last:
                last, names = place, set()
            if named.name not in names:
                names.add(named.name)
                yield below(place, named.name)


class FileList(_List):
    """The files that a list of paths names; the root is an absolute path."""

    def _whole(self, folder: str) -> str:
        return os.path.abspath(folder)  # noqa: PTH100 - not resolved: a link is a folder of its own

    def _common(self, one: str, other: str) -> str:
        try:
            return os.path.commonpath((one, other))
        except ValueError as error:  # two drives
            raise UsageError(
                f"{one} and {other} have no folder in common.", "Make two lists of them."
            ) from error

    def folders(self) -> Iterator[tuple[str, list[Part]]]:
        """Yield folder by folder."""
        last, folder = None, ""
        names: list[str] = []
        for place, named in self._placed():
            if place != last:
                if last is not None:
                    yield last, [_part(folder, names)]
                last, folder, names = place, named.folder, []
            names.append(named.name)
        if last is not None:
            yield last, [_part(folder, names)]

    visited = folders

    def count(self) -> Iterator[int]:
        """Yield the number of files."""
        yield self.total

    def lie_in(self, folder: str) -> bool:
        """Return True: a folder on the way to a file may be a link that leads there."""
        return bool(folder)


class ObjectList(_List):
    """The objects that a list of URLs names; the root is a URL. Names are taken as they are."""

    def _whole(self, folder: str) -> str:
        return folder.rstrip("/")  # of the root; no other ends so

    def _common(self, one: str, other: str) -> str:
        pairs = zip(one.split("/"), other.split("/"), strict=False)
        common = [mine for mine, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)]
        if len(common) < 3:  # the scheme, nothing, and a bucket or a server
            raise UsageError(f"{one} and {other} have no folder in common.", "Make two lists of them.")
        return "/".join(common)


def read_list(file: str, *, null: bool = False, root: str | None = None) -> FileList | ObjectList:
    """Read a list of paths or of URLs; which it is, its first line says.

    Args:
        file: the list; "-" is stdin.
        null: whether NUL ends a path or URL; else the end of its line does.
        root: a path or URL: the folder below which the files are mirrored; None: the one common to all.

    Raises:
        UsageError: as `_List` does, or the root is a path and the list one of URLs, or the other way round.
        NothingFoundError: it names no file.

    """
    lines = Lines(file, null=null)
    first = next(iter(lines), None)
    kind = "a path" if first is None else first.kind
    if root is not None and first is not None and (scheme_of(root) is None) != (kind == "a path"):
        other = "a URL" if kind == "a path" else "a folder"
        raise UsageError(
            f"--root {root} is {other}, and {lines.name[0].lower()}{lines.name[1:]} names"
            f" {'paths' if kind == 'a path' else 'URLs'}.",
            "Name a folder that holds all files of the list, or leave --root out.",
        )
    return FileList(lines, root) if kind == "a path" else ObjectList(lines, root)


def plan_list(files: FileList, out: Path, renamed: Callable[[str], str] | None) -> Plan:
    """Plan the jobs for the files of a list; see `denoiser.pipeline.plan.plan`."""
    check_folder(out)
    refuse_same(Path(files.root), out)
    return Plan([files], out, renamed, lambda: None)


def _with_end(folder: str) -> str:
    """Return a folder as the names begin of all that lies in it."""
    end = os.sep if scheme_of(folder) is None else "/"
    return folder if folder.endswith(end) else folder + end


def _part(folder: str, names: list[str]) -> Part:
    links = [name for name in names if os.path.islink(os.path.join(folder, name))]  # noqa: PTH114, PTH118 - faster
    return Part(folder, names, links)


def _copied(file: IO[bytes]) -> IO[bytes]:
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - it goes with this process
    shutil.copyfileobj(file, copy)
    return copy

"""Inputs that a list names, one by one, in a file or on stdin.

A list may be longer than the memory, so it is read twice: once to check it, to count its files and to find
the folder common to all, and once folder by folder.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from denoiser.errors import UsageError, reason
from denoiser.pipeline.plan import NothingFoundError, Plan, check_folder, refuse_same
from denoiser.pipeline.walk import Part

STDIN = "-"
_LONGEST = 1 << 15
"""Bytes of a path; Linux allows 4,096."""

_BLOCK = 1 << 16


class _Named(NamedTuple):
    """A path of the list: its line or number from 1, its folder as it is named, its name."""

    line: int
    folder: str
    name: str


class FileList:
    """The files that a list names.

    Args:
        file: the list; "-" is stdin.
        null: whether NUL ends a path; else the end of its line does.
        root: the folder below which the paths are mirrored; None: the one common to all.

    Raises:
        UsageError: the list can't be read or isn't sorted by folder, or a path is not below the root.
        NothingFoundError: it names no file.

    """

    def __init__(self, file: str, *, null: bool = False, root: Path | None = None) -> None:
        self._name = "The list on stdin" if file == STDIN else f"The list {file}"
        self._file, self._end = file, b"\0" if null else b"\n"
        self._content: IO[bytes] | None = None
        self._count = 0
        self._folders: tuple[str, ...] = ()
        common = self._check(None if root is None else os.path.abspath(root))  # noqa: PTH100 - not resolved
        self.root = Path(common if root is None else root)
        self._root = common

    def _check(self, root: str | None) -> str:
        """Read all of it; returns the absolute path of the root."""
        seen: set[int] = set()
        last, common = None, root
        for named in self._named():
            self._count += 1
            folder = os.path.abspath(named.folder)  # noqa: PTH100 - a link is a folder of its own
            if folder == last:
                continue
            last = folder
            if hash(folder) in seen:
                raise UsageError(
                    f"{self._name} isn't sorted by folder: {self._line(named)} comes back to {folder}.",
                    f"Sort it: {self._sorting()}",
                )
            seen.add(hash(folder))
            if root is None:
                common = folder if common is None else _common(common, folder)
            elif folder != root and not folder.startswith(root.rstrip(os.sep) + os.sep):
                raise UsageError(
                    f"{os.path.join(named.folder, named.name)} is not below {root}, the --root folder.",  # noqa: PTH118
                    "Name a folder that holds all files of the list, or leave --root out.",
                )
        if common is None or not self._count:
            raise NothingFoundError(f"{self._name} names no files.", "Write one path a line.")
        return common

    def _sorting(self) -> str:
        """Return a command that sorts the list; a character before the names keeps folders together."""
        file = "LIST" if self._file == STDIN else shlex.quote(self._file)
        if self._end == b"\0":
            return f"LC_ALL=C sed -z 's|[^/]*$|\\x01&|' {file} | LC_ALL=C sort -z | tr -d '\\001' > SORTED"
        return (
            "LC_ALL=C awk -F/ -v OFS=/ '{$NF=\"\\001\"$NF}1' "
            f"{file} | LC_ALL=C sort | tr -d '\\001' > SORTED"
        )

    def _line(self, named: _Named) -> str:
        return f"{'line' if self._end != bytes(1) else 'path'} {named.line}"

    def _named(self) -> Iterator[_Named]:
        """Yield the paths."""
        for number, content in enumerate(self._entries(), 1):
            entry = content.removesuffix(b"\r") if self._end == b"\n" else content
            if not entry:
                continue
            path = os.fsdecode(entry)
            folder, name = os.path.split(path)
            named = _Named(number, folder, name)
            if b"\0" in entry:
                raise UsageError(
                    f"{self._name} has a NUL in {self._line(named)}.", "Add -0 if NUL ends a path."
                )
            if name in ("", os.curdir, os.pardir):
                raise UsageError(
                    f"{self._name}: {path} in {self._line(named)} is no file.", "Name files alone."
                )
            yield named

    def _entries(self) -> Iterator[bytes]:
        """Yield what is between the ends of paths."""
        rest = b""
        with self._opened() as file:
            while block := self._read(file):
                *entries, rest = (rest + block).split(self._end)
                if len(rest) > _LONGEST:
                    hint = "Add -0 if NUL ends a path." if self._end == b"\n" else "Leave -0 out?"
                    raise UsageError(f"{self._name} has a path that is too long.", hint)
                yield from entries
        yield rest

    def _read(self, file: IO[bytes]) -> bytes:
        try:
            return file.read(_BLOCK)
        except OSError as error:
            raise UsageError(f"{self._name} can't be read: {reason(error)}.") from error

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
            raise UsageError(f"{self._name} can't be read: {reason(error)}.") from error
        self._content.seek(0)
        yield self._content

    def folders(self) -> Iterator[tuple[str, list[Part]]]:
        """Yield folder by folder."""
        last, place, folder = None, "", ""
        names: list[str] = []
        for named in self._named():
            absolute = os.path.abspath(named.folder) if named.folder != folder or last is None else last  # noqa: PTH100
            if absolute != last and last is not None:
                yield place, [_part(folder, names)]
                names = []
            if absolute != last:
                last, folder = absolute, named.folder
                place = os.path.relpath(absolute, self._root).replace(os.sep, "/")
                place = "" if place == "." else place
            names.append(named.name)
        if names:
            yield place, [_part(folder, names)]

    visited = folders

    def count(self) -> Iterator[int]:
        """Yield the number of files."""
        yield self._count

    def lie_in(self, folder: str) -> bool:
        """Return True: a folder on the way to a file may be a link that leads there."""
        return bool(folder)


def plan_list(files: FileList, out: Path, renamed: Callable[[str], str] | None) -> Plan:
    """Plan the jobs for the files of a list; see `denoiser.pipeline.plan.plan`."""
    check_folder(out)
    refuse_same(files.root, out)
    return Plan([files], out, renamed, lambda: None)


def _part(folder: str, names: list[str]) -> Part:
    links = [name for name in names if os.path.islink(os.path.join(folder, name))]  # noqa: PTH114, PTH118 - faster
    return Part(folder, names, links)


def _common(one: str, other: str) -> str:
    try:
        return os.path.commonpath((one, other))
    except ValueError as error:  # two drives
        raise UsageError(f"{one} and {other} have no folder in common.", "Make two lists of them.") from error


def _copied(file: IO[bytes]) -> IO[bytes]:
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - it goes with this process
    shutil.copyfileobj(file, copy)
    return copy

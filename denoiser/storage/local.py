"""A folder of this machine as a storage, so that folders and buckets mix."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from denoiser.errors import reason
from denoiser.storage.base import Entry, ExistsError, MissingError, StorageError
from denoiser.system import atomic


class LocalStorage:
    """The files below a folder, or one file; links to folders are not followed. See `Storage`."""

    def __init__(self, root: Path) -> None:
        self._root = Path(os.path.abspath(root))  # noqa: PTH100 - links stay as they were named

    @property
    def url(self) -> str:
        """The folder."""
        return str(self._root)

    def path(self, key: str) -> Path:
        """Return the path of a file. Raises StorageError if the key leads out of the folder."""
        parts = key.split("/")
        if key and (any(part in ("", ".", "..") for part in parts) or "\\" in key or "\0" in key):
            raise StorageError(f"{key!r} can't be the name of a file.", "Rename the object.")
        return self._root / key if key else self._root

    def list(self) -> Iterator[Entry]:
        """Yield all files; what is hidden first, as it is in a bucket."""
        waiting: list[tuple[str, os.DirEntry[str] | None]] = [("", None)]
        while waiting:
            below, file = waiting.pop()
            if file is not None:
                with contextlib.suppress(OSError):  # gone meanwhile
                    yield _entry(below, file.stat())
                continue
            try:
                with os.scandir(self._root / below) as listing:
                    entries = sorted(listing, key=lambda entry: (not entry.name.startswith("."), entry.name))
            except FileNotFoundError:
                continue
            except NotADirectoryError:
                if not below:
                    return  # one file
                continue
            except OSError as error:
                folder = self._root / below
                raise StorageError(f"The folder {folder} can't be read: {reason(error)}.") from error
            for entry in reversed(entries):
                key = f"{below}/{entry.name}" if below else entry.name
                with contextlib.suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append((key, None))
                    elif entry.is_file():
                        waiting.append((key, entry))

    def read(self, key: str) -> bytes:
        """Return the content of a file."""
        try:
            return self.path(key).read_bytes()
        except FileNotFoundError as error:
            raise MissingError(f"{self.path(key)} doesn't exist.") from error
        except OSError as error:
            raise StorageError(f"{self.path(key)} can't be read: {reason(error)}.") from error

    def download(self, key: str, path: Path) -> Entry:
        """Copy a file."""
        content = self.read(key)
        path.write_bytes(content)
        found = self.stat(key)
        return found or Entry(key, len(content), "")

    def write(self, key: str, content: bytes | Path, *, create: bool = False) -> Entry:
        """Write a file atomically."""
        path = self.path(key)
        if create and os.path.lexists(path):
            raise ExistsError(f"{path} exists.")
        try:
            data = content.read_bytes() if isinstance(content, Path) else content
            written = atomic.write(path, data)
        except OSError as error:
            raise StorageError(f"{path} can't be written: {reason(error)}.") from error
        return Entry(key, written.size, str(written.mtime_ns))

    def stat(self, key: str) -> Entry | None:
        """Describe a file."""
        try:
            status = self.path(key).stat()
        except OSError:
            return None
        return _entry(key, status)

    def delete(self, key: str) -> None:
        """Remove a file."""
        try:
            self.path(key).unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"{self.path(key)} can't be removed: {reason(error)}.") from error


def _entry(key: str, status: os.stat_result) -> Entry:
    return Entry(key, status.st_size, str(status.st_mtime_ns))

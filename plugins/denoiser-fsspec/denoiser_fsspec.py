"""Let denoise read from and write to what fsspec opens: sftp, webdav, smb, hdfs and more.

    denoise sftp://host/scans --out sftp://host/clean
    denoise webdav+https://host/scans --out ./clean

An object is written under a temporary name and renamed, so that it is whole or not there. Credentials come
from fsspec's own configuration and environment, such as FSSPEC_SFTP_PASSWORD, and from ssh's keys.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import fsspec
from fsspec.registry import get_filesystem_class

from denoiser import hookimpl
from denoiser.storage.base import Entry, ExistsError, MissingError, StorageError

BUILT_IN = frozenset(("s3", "s3a", "gs", "gcs", "az", "azure", "adl", "abfs", "abfss", "file", "local"))
_LOCK = threading.RLock()
"""Held for each call: fsspec has one connection for all URLs of a server, which threads may not share."""

_Described = list[tuple[str, dict[str, Any]]]
_TAGS = ("ETag", "etag", "mtime", "modified", "LastModified", "last_modified", "created")


@hookimpl
def open_storage(url: str) -> FsspecStorage | None:
    """Open a URL whose scheme fsspec knows and denoise does not."""
    scheme = url.partition("://")[0].lower()
    if scheme in BUILT_IN:
        return None
    try:
        get_filesystem_class(scheme)
    except ValueError:
        return None  # neither does fsspec
    except ImportError as error:
        raise StorageError(f"{scheme}:// needs another package: {error}.", "Install it.") from error
    return FsspecStorage(url)


class FsspecStorage:
    """The files below a URL; one call at a time, as not every file system may be used by several threads."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        with self._said(self.url):
            system, root = fsspec.core.url_to_fs(self.url)
        self._system: Any = system
        self._root: str = root.rstrip("/")

    @contextmanager
    def _said(self, name: str) -> Iterator[None]:
        """Turn whatever a file system raises into an error of a storage."""
        try:
            with _LOCK:
                yield
        except StorageError:
            raise
        except FileNotFoundError as error:
            raise MissingError(f"{name} doesn't exist.") from error
        except Exception as error:  # each file system has exceptions of its own
            text = " ".join(str(error).split()) or type(error).__name__
            raise StorageError(f"{name}: {text}.", "The same command goes on from here.") from error

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}" if key else self._root

    def _name(self, key: str) -> str:
        return f"{self.url}/{key}" if key else self.url

    def list(self) -> Iterator[Entry]:
        """Yield all files, folder by folder; hidden ones first, as denoise's own record is."""
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            entries = self._listed(folder)
            folders = [key for key, each in entries if each["type"] == "directory"]
            hidden = [key for key in folders if key.rpartition("/")[2].startswith(".")]
            for key in hidden:
                yield from (_entry(name, each) for name, each in self._listed(key) if each["type"] == "file")
            yield from (_entry(key, each) for key, each in entries if each["type"] == "file")
            waiting += [key for key in reversed(folders) if key not in hidden]

    def _listed(self, folder: str) -> _Described:
        """Return the keys of what lies straight in a folder, described and sorted."""
        path = self._path(folder)
        with self._said(self._name(folder)):
            try:
                self._system.invalidate_cache()
                described = self._system.ls(path, detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return []
        found = []
        for each in described:
            name = each["name"].rstrip("/").rpartition("/")[2]
            if each["name"].strip("/") != path.strip("/"):  # a file lists itself
                found.append((f"{folder}/{name}" if folder else name, each))
        return sorted(found, key=lambda entry: entry[0])

    def read(self, key: str) -> bytes:
        """Return the content of a file."""
        with self._said(self._name(key)):
            return bytes(self._system.cat_file(self._path(key)))

    def download(self, key: str, path: Path) -> Entry:
        """Copy a file to this machine."""
        with self._said(self._name(key)):
            with self._system.open(self._path(key), "rb") as remote, path.open("xb") as file:
                shutil.copyfileobj(remote, file, 1 << 20)
            return _entry(key, self._system.info(self._path(key)))

    def write(self, key: str, content: bytes | Path, *, create: bool = False) -> Entry:
        """Write a file under a temporary name, and rename it."""
        path = self._path(key)
        folder, _, name = path.rpartition("/")
        temporary = f"{folder}/.{name[:100]}.{os.urandom(6).hex()}.denoise-tmp"
        data = content.read_bytes() if isinstance(content, Path) else content
        with self._said(self._name(key)):
            if create and self._system.exists(path):
                raise ExistsError(f"{self._name(key)} exists.")
            self._system.makedirs(folder, exist_ok=True)
            try:
                self._system.pipe_file(temporary, data)
                if self._system.info(temporary)["size"] != len(data):
                    raise OSError("what was written is shorter than it should be")
                self._system.mv(temporary, path)
            except BaseException:
                with suppress(Exception):
                    self._system.rm_file(temporary)
                raise
            return _entry(key, self._system.info(path))

    def stat(self, key: str) -> Entry | None:
        """Describe a file."""
        with self._said(self._name(key)):
            try:
                described = self._system.info(self._path(key))
            except FileNotFoundError:
                return None
        return _entry(key, described) if described["type"] == "file" else None

    def delete(self, key: str) -> None:
        """Remove a file."""
        with self._said(self._name(key)):
            try:
                self._system.rm_file(self._path(key))
            except FileNotFoundError:
                return


def _entry(key: str, described: dict[str, Any]) -> Entry:
    tag = next((str(described[name]) for name in _TAGS if described.get(name)), "")
    return Entry(key, int(described.get("size") or 0), tag)

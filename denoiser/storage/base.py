"""What a storage must be able to do, whatever stands behind it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from denoiser.errors import DenoiserError

_URL = re.compile(r"([a-z][a-z0-9+.-]+)://.+", re.DOTALL)


class StorageError(DenoiserError):
    """A storage can't be reached, or refuses what was asked of it."""


class MissingError(StorageError):
    """There is no such object."""


class ExistsError(StorageError):
    """An object that was to be created is there already."""


class Entry(NamedTuple):
    """An object of a storage.

    Attributes:
        key: its name below the storage's root, with slashes; for a bucket's folder, all that follows it.
        size: in bytes.
        tag: text that changes whenever the content does: an ETag, or a modification time.

    """

    key: str
    size: int
    tag: str


class Storage(Protocol):
    """Objects below one root. All methods may be called from several threads at once.

    They raise `StorageError`, with a message that names the object and says why.
    """

    @property
    def url(self) -> str:
        """The root, without a slash at its end."""

    def list(self) -> Iterator[Entry]:
        """Yield all objects below the root, in the order of their keys, without holding them in memory."""

    def read(self, key: str) -> bytes:
        """Return the content of a small object; MissingError if there is none."""

    def download(self, key: str, path: Path) -> Entry:
        """Write the content of an object to a new file; MissingError if there is no such object."""

    def write(self, key: str, content: bytes | Path, *, create: bool = False) -> Entry:
        """Write an object, whole or not at all, from memory or from a file.

        create: raise ExistsError, and change nothing, if it is there already.
        """

    def stat(self, key: str) -> Entry | None:
        """Describe an object; None if there is none. The empty key stands for the root itself."""

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""


def scheme_of(text: str) -> str | None:
    """Return the scheme of a URL in lower case; None for the path of a file."""
    match = _URL.fullmatch(text)
    return match[1] if match else None


def name_of(url: str) -> str:
    """Return the last part of a URL, which its results are called by below the output."""
    return url.rstrip("/").rpartition("/")[2]

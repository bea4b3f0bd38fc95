"""From a path or URL to a storage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from denoiser.storage.base import Storage, StorageError, scheme_of
from denoiser.storage.bucket import SCHEMES, BucketStorage
from denoiser.storage.local import LocalStorage


def open_storage(text: str, ask: Callable[[str], Storage | None]) -> Storage:
    """Open a storage.

    Args:
        text: a path, or a URL.
        ask: called with a URL before the built-in forms are; plugins answer.

    Raises:
        StorageError: nothing here opens such a URL, or a package is missing.

    """
    scheme = scheme_of(text)
    if scheme is None:
        return LocalStorage(Path(text))
    asked = ask(text)
    if asked is not None:
        return asked
    if scheme in SCHEMES:
        return BucketStorage(text)
    if scheme == "file":
        raise StorageError(f"{text} is a URL of a local file.", "Write the path alone.")
    raise StorageError(
        f"Nothing here opens {scheme}:// URLs.",
        f"Built in: {', '.join(sorted(SCHEMES))}. plugins/denoiser-fsspec opens sftp, webdav and more.",
    )

"""A bucket as a storage, through obstore: S3 and whatever speaks like it, Google Cloud Storage, Azure.

A PUT is atomic, so there are no temporary names. Credentials and endpoints come from the environment alone.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

from denoiser.storage.base import Entry, ExistsError, MissingError, StorageError

SCHEMES = frozenset(("s3", "s3a", "gs", "az", "azure", "adl", "abfs", "abfss"))
INSTALL = "python -m pip install 'denoiser[cloud]'"

_RETRIES = {"max_retries": 5, "retry_timeout": timedelta(seconds=60)}
_VARIABLES = {"s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", "gs": "GOOGLE_APPLICATION_CREDENTIALS"}
_METADATA = re.compile(
    r"https?://(169\.254\.169\.254|metadata\.google\.internal)/|[A-Z]+ https?://[^/\s]+/latest/(api/token|meta-data)"
)
"""Where the library asks for the role of a machine, as it finds no credentials."""

_PROFILES = (
    'Profiles are not read; this sets them from one: eval "$(aws configure export-credentials --format env)"'
)
_CAUSES = {
    "dns error": "there is no such host",
    "BadScheme": "it is not encrypted, for which AWS_ALLOW_HTTP=true must be set",
    r'message: "([^"]+)"': r"\1",
    r"(?i)(invalid peer certificate: \w+)": r"\1",
    r"(?i)timed ?out": "timed out",
}
"""What the library tells for developers only, and what is said of it."""

_CHUNK = 1000  # keys that a page of a listing has anyway


class BucketStorage:
    """The objects below a URL. See `Storage`.

    Raises:
        StorageError: obstore is not installed, or the URL is none of a bucket.

    """

    def __init__(self, url: str) -> None:
        scheme, _, rest = url.partition("://")
        if rest[:1] in ("", "/"):
            raise StorageError(f"{url} names no bucket.", f"Write {scheme}://BUCKET/FOLDER")
        try:
            import obstore
            from obstore.store import from_url
        except ImportError as error:
            raise StorageError(
                f"{url} needs the package obstore, which is not installed.", f"Install it: {INSTALL}"
            ) from error
        self._url = url.rstrip("/")
        self._obstore: Any = obstore
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._store: Any = from_url(_quoted(self._url), retry_config=_RETRIES)
        except Exception as error:
            raise StorageError(f"{url} can't be opened: {_short(error)}.", _hint(url)) from error

    @property
    def url(self) -> str:
        """The root."""
        return self._url

    def list(self) -> Iterator[Entry]:
        """Yield all objects, page by page."""
        try:
            for page in self._obstore.list(self._store, chunk_size=_CHUNK):
                for each in page:
                    yield _entry(each["path"], each)
        except Exception as error:
            self._raise(error, self._url)

    def read(self, key: str) -> bytes:
        """Return the content of an object."""
        try:
            return bytes(self._obstore.get(self._store, key).bytes())
        except Exception as error:
            self._raise(error, self._name(key))

    def download(self, key: str, path: Path) -> Entry:
        """Write the content of an object to a new file, in pieces."""
        try:
            result = self._obstore.get(self._store, key)
            with path.open("xb") as file:
                for piece in result.stream(min_chunk_size=1 << 20):
                    file.write(piece)
            return _entry(key, result.meta)
        except Exception as error:
            self._raise(error, self._name(key))

    def write(self, key: str, content: bytes | Path, *, create: bool = False) -> Entry:
        """Put an object."""
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        try:
            mode = "create" if create else "overwrite"
            return _entry(key, {**self._obstore.put(self._store, key, content, mode=mode), "size": size})
        except Exception as error:
            self._raise(error, self._name(key))

    def stat(self, key: str) -> Entry | None:
        """Describe an object."""
        if not key and "/" not in self._url.partition("://")[2]:
            return None  # a bucket itself
        try:
            return _entry(key, self._obstore.head(self._store, key))
        except FileNotFoundError:
            return None
        except Exception as error:
            self._raise(error, self._name(key))

    def delete(self, key: str) -> None:
        """Remove an object."""
        try:
            self._obstore.delete(self._store, key)
        except FileNotFoundError:
            return
        except Exception as error:
            self._raise(error, self._name(key))

    def _name(self, key: str) -> str:
        return f"{self._url}/{key}" if key else self._url

    def _raise(self, error: Exception, name: str) -> NoReturn:
        """Raise the error of the library in words of ours."""
        from obstore import exceptions

        text = str(error)
        if "NoSuchBucket" in text or "ContainerNotFound" in text:
            raise StorageError(f"{name}: there is no such bucket.", "Check its name.") from error
        if isinstance(error, exceptions.AlreadyExistsError | exceptions.PreconditionError):
            raise ExistsError(f"{name} exists.") from error
        if isinstance(error, FileNotFoundError):
            raise MissingError(f"{name} doesn't exist.") from error
        if _METADATA.search(text):  # before what is refused: a machine's own service may refuse, too
            raise StorageError(f"{name}: there are no credentials.", _hint(name)) from error
        refused = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError)
        if isinstance(error, refused) or "403 Forbidden" in text or "401 Unauthorized" in text:
            raise StorageError(f"{name}: the credentials are refused.", _hint(name)) from error
        if "oauth" in text.lower():
            raise StorageError(f"{name}: there are no credentials.", _hint(name)) from error
        raise StorageError(
            f"{name} can't be reached: {_short(error)}.", "The same command goes on from here."
        ) from error


def _quoted(url: str) -> str:
    """Return a URL as the library parses it, for which # and ? would end the path, and %20 be a space."""
    scheme, _, rest = url.partition("://")
    bucket, slash, path = rest.partition("/")
    return f"{scheme}://{quote(bucket, safe='@:')}{slash}{quote(path)}"


def _entry(key: str, described: Any) -> Entry:
    tag = described.get("e_tag") or str(described.get("last_modified", ""))
    return Entry(key, int(described["size"]), str(tag).removeprefix("W/").strip('"'))


def _hint(url: str) -> str:
    variables = _VARIABLES.get(url.partition("://")[0][:2], "AZURE_STORAGE_ACCOUNT_NAME and a key or token")
    hint = f"They come from the environment: {variables}."
    profile = url.startswith("s3") and ("AWS_PROFILE" in os.environ or _has_profiles())
    return f"{hint} {_PROFILES}" if profile else hint


def _has_profiles() -> bool:
    try:
        return (Path.home() / ".aws/credentials").exists()
    except (OSError, RuntimeError):  # no home
        return False


def _short(error: Exception) -> str:
    """Return the part of the library's message that says why, with the server if it doesn't answer."""
    whole = str(error)
    text, _, debug = whole.partition("\n\nDebug source:")
    text = re.sub(r"^Generic \w+ error: ", "", " ".join(text.split())) or type(error).__name__
    reasons = re.findall(r"(?:status code: [^:<]+|timed out)", text)
    if reasons:
        return str(reasons[-1]).strip()
    for pattern, words in _CAUSES.items():
        cause = re.search(pattern, debug)
        if cause is not None:
            server = re.search(r"\b[A-Z]+ (https?://[^/\s]+)", text)
            return f"{server[1]}: {cause.expand(words)}" if server is not None else cause.expand(words)
    return text[:200].strip().rstrip(".:")

"""Small objects beside the record by which a cluster's workers show that they see the same storage.

The process that hands out the work writes one, and again every hour while it is alive. What a killed run has
left is thus known by the time in it, also from other machines, which can't know whether that run is alive.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterable

from denoiser.pipeline.record import FOLDER
from denoiser.storage.base import MissingError, Storage, StorageError

RENEW_SECONDS = 3600.0
"""How often a probe is written again."""

STALE_SECONDS = 24 * 3600.0
"""Age of a probe that nobody renews any more."""

_PREFIX = f"{FOLDER}/probe-"
_CONTENT = re.compile(rb"([0-9a-f]{16}) ([0-9]{1,12})")


class Probe:
    """The probe of a run, which workers read by its key.

    Raises StorageError if it can't be written.
    """

    def __init__(self, storage: Storage, run: str) -> None:
        self._storage, self._run = storage, run
        self.key = f"{_PREFIX}{run}"
        self._write()

    def _write(self) -> None:
        self._storage.write(self.key, f"{self._run} {time.time():.0f}".encode("ascii"))
        self._written = time.monotonic()

    def renew(self) -> None:
        """Write it again where it is an hour old; a storage that is lost shows elsewhere."""
        if time.monotonic() - self._written > RENEW_SECONDS:
            with contextlib.suppress(StorageError):
                self._write()

    def remove(self) -> None:
        """Remove it, when the work is over."""
        with contextlib.suppress(StorageError):
            self._storage.delete(self.key)


def is_probe(key: str) -> bool:
    """Return True if an object has the name of a probe."""
    return key.startswith(_PREFIX)


def is_seen(storage: Storage, key: str, run: str) -> bool:
    """Return True if the probe of a run is there, and this process can write to the storage, too.

    Raises StorageError if it can't.
    """
    try:
        content = storage.read(key)
    except MissingError:
        return False
    own = f"{key}-{os.urandom(4).hex()}"
    storage.write(own, content)
    storage.delete(own)
    found = _CONTENT.fullmatch(content)
    return found is not None and found[1] == run.encode("ascii")


def sweep(storage: Storage, keys: Iterable[str]) -> None:
    """Remove the probes with these keys that killed runs have left a day ago or earlier."""
    for key in keys:
        with contextlib.suppress(StorageError):  # it does no harm
            found = _CONTENT.fullmatch(storage.read(key))
            if found is not None and time.time() - int(found[2]) > STALE_SECONDS:
                storage.delete(key)

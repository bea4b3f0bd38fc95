"""Objects to objects: what is stale is fetched in waves, cleaned as files, and put.

A wave is some files of at most so many bytes. While one is cleaned, the next is fetched and the last is put,
by threads; only three waves are on the disk at a time. A folder's files are read and written in place.
"""

from __future__ import annotations

import fnmatch
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from denoiser.errors import UsageError
from denoiser.pipeline import segments
from denoiser.pipeline.outcomes import Outcome, Result, Status
from denoiser.pipeline.pipeline import Pipeline
from denoiser.pipeline.plan import Job, NothingFoundError
from denoiser.pipeline.record import FOLDER
from denoiser.pipeline.segments import Index, Segments
from denoiser.pipeline.walk import Walk
from denoiser.storage.base import Entry, ExistsError, MissingError, Storage, StorageError, name_of
from denoiser.storage.local import LocalStorage
from denoiser.system import atomic

if TYPE_CHECKING:
    from denoiser.pipeline.shard import Shard

WAVE_FILES = 1000
WAVE_BYTES = 128 << 20
WAVE_SECONDS = 30.0
"""A wave is at most so many files or bytes, and aims at this time: what a kill costs at most."""

FIRST_BYTES = 8 << 20
"""Size of a wave before it is known how fast the work goes."""

MOST_LOST = THREADS = 16
"""Objects that are fetched or put at once: most of the time of each is waiting. When so many fail, one after
the other, the storage is lost."""


@dataclass(frozen=True)
class Root:
    """An input: a storage, and the folder below the output that its objects go to ("" for none)."""

    storage: Storage
    place: str = ""


@dataclass
class Item:
    """An object on its way.

    Attributes:
        root: where it comes from.
        source: as it was listed, later as it was read.
        output: key of the output.
        replaces: whether there is an output that may be replaced.
        source_path, output_path: files on this machine.
        fetched: the fetching, which gives what was read.
        put: the putting, which gives what was written.
        outcome: how it fared.

    """

    root: Root
    source: Entry
    output: str
    replaces: bool = False
    source_path: Path = field(default_factory=Path)
    output_path: Path = field(default_factory=Path)
    fetched: Future[Entry] | None = None
    put: Future[Entry] | None = None
    outcome: Outcome = field(default_factory=Outcome)

    @property
    def url(self) -> str:
        """Name of the input."""
        return f"{self.root.storage.url}/{self.source.key}" if self.source.key else self.root.storage.url


@dataclass(frozen=True)
class _Wave:
    """Some items, and the folder that their files are in meanwhile."""

    items: list[Item]
    folder: Path


class Transfer:
    """Cleans objects of storages into one storage.

    Args:
        pipeline: cleans files, without a record.
        roots: the inputs.
        out: the output.
        walk: which objects count as images; links to folders are not followed.
        renamed: gives the name of an output for that of an input.
        tell: called with each result, on this thread.
        force, keep: as the command's options.
        shard: the part of the images that is done; None: all of them.
        left_out: called with the URL of each folder that is left out because it holds results of ours.

    Raises:
        StorageError: a storage can't be listed.

    """

    def __init__(
        self,
        pipeline: Pipeline,
        roots: Sequence[Root],
        out: Storage,
        *,
        walk: Walk,
        renamed: Callable[[str], str],
        tell: Callable[[Result], None],
        force: bool = False,
        keep: bool = False,
        shard: Shard | None = None,
        left_out: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._left_out = left_out
        self._pipeline, self._roots, self._out = pipeline, roots, out
        self._walk, self._renamed, self._tell = walk, renamed, tell
        self._force, self._keep = force, keep
        self._shard = shard
        self._record = Segments(out, shard)
        self._there = Index()
        self._taken: set[int] = set()
        self._rate = 0.0
        self._lost = 0
        self.found = 0
        for root in roots:
            if root.storage.url == out.url:
                raise UsageError(f"The output {out.url} is the input.", "Choose another place with --out.")
        own = []
        for entry in out.list():
            if segments.is_segment(entry.key):
                own.append(entry)
            elif not _hidden(entry.key):
                self._there.add(entry.key, segments.identity(entry))
        self._record.read(own)

    # --- what is to be done ---

    def stale(self) -> Iterator[Item]:
        """Yield what is not up to date, as the inputs are listed; tells of the rest.

        Raises UsageError for an output that was not written by denoise, and StorageError.
        """
        for root in self._roots:
            for entry in self._images(root):
                mine = self._shard is None or self._shard.has(self.found)
                self.found += 1
                item = Item(root, entry, self._output(root, entry))
                if item.url == self._url(item):
                    raise UsageError(
                        f"The output {item.url} is an input; inputs are never written to.",
                        "Choose another place with --out.",
                    )
                if self._is_free(item, tell=mine) and mine and self._is_stale(item):
                    yield item
        if not self.found:
            urls = ", ".join(root.storage.url for root in self._roots)
            raise NothingFoundError(
                f"No images found in {urls}.",
                f"The known types end in {' '.join(sorted(self._walk.suffixes))}.",
            )

    def _images(self, root: Root) -> Iterator[Entry]:
        """Yield the images of an input; one that is a single object is an image whatever it is called."""
        out, own = self._out.url + "/", root.storage.url + "/"
        inside = out.removeprefix(own) if out.startswith(own) else None
        left_out: str | None = None
        found = False
        for entry in root.storage.list():
            found = True
            folder, _, name = entry.key.rpartition("/")
            if (folder == FOLDER or folder.endswith(f"/{FOLDER}")) and folder != FOLDER:
                outer = folder.removesuffix(FOLDER)
                if outer != left_out and outer != inside:
                    self._left_out(f"{own}{outer}".rstrip("/"))
                left_out = outer
            if _hidden(entry.key) or (folder and not self._walk.recursive):
                continue
            if inside is not None and entry.key.startswith(inside):
                continue
            if left_out is not None and entry.key.startswith(left_out):
                continue
            if self._matches(entry.key, name):
                yield entry
        if not found:
            single = root.storage.stat("")
            if single is None:
                raise UsageError(f"{root.storage.url}: there is nothing.", "Check the name.")
            yield single

    def _matches(self, key: str, name: str) -> bool:
        if not self._walk.patterns:
            return os.path.splitext(name)[1].lower() in self._walk.suffixes  # noqa: PTH122 - a key
        return any(fnmatch.fnmatch(key if "/" in each else name, each) for each in self._walk.patterns)

    def _output(self, root: Root, entry: Entry) -> str:
        key = entry.key or name_of(root.storage.url)
        folder, slash, name = key.rpartition("/")
        place = f"{root.place}/" if root.place and entry.key else ""
        return f"{place}{folder}{slash}{self._renamed(name)}"

    def _is_free(self, item: Item, *, tell: bool) -> bool:
        """Return True if no input before it has the same output; parts know of all inputs."""
        key = segments.number(item.output)
        if key not in self._taken:
            self._taken.add(key)
            return True
        if tell:
            error = f"would be written to {self._url(item)}, as another input is. Rename one of them."
            self._fail(item, error)
        return False

    def _is_stale(self, item: Item) -> bool:
        identity = self._there.get(item.output)
        if identity is None:
            return True
        made_with = self._pipeline.made_with
        if not self._force and self._record.is_up_to_date(item.output, identity, item.source, made_with):
            self._tell_of(item, Status.UP_TO_DATE)
            return False
        item.replaces = self._force or self._record.is_ours(item.output, identity)
        if not item.replaces and self._keep:
            self._tell_of(item, Status.KEPT)
            return False
        if not item.replaces:
            raise UsageError(
                f"{self._url(item)} exists and was not written by denoise.",
                "Use --force to overwrite, --keep to leave it alone, or another --out.",
            )
        return True

    def why_stale(self, item: Item) -> str:
        """Say why an output is not up to date, in a few words."""
        if self._force:
            return "--force"
        there = self._there.get(item.output) is not None
        if self._record.is_recorded(item.output):
            return "its input, a model, a setting or a plugin changed" if there else "its result is missing"
        return "new"

    # --- the work ---

    def run(self, items: Iterator[Item], *, fail_fast: bool = False) -> None:
        """Clean the items, wave by wave, and tell each result.

        Where it is stopped, what has been put by then is recorded and told.

        Raises:
            StorageError: a storage is lost.
            UsageError: an output was not written by denoise.

        """
        with (
            tempfile.TemporaryDirectory(prefix="denoiser-", ignore_cleanup_errors=True) as scratch,
            ThreadPoolExecutor(THREADS, "denoiser-transfer") as threads,
        ):
            open_waves: list[_Wave] = []
            try:
                following = self._fetched(items, threads, Path(scratch))
                while following is not None:
                    current = following
                    open_waves.append(current)
                    self._record.begin(item.output for item in current.items)
                    following = self._fetched(items, threads, Path(scratch))
                    failed = self._clean(current, threads, fail_fast=fail_fast)
                    if len(open_waves) > 1:
                        self._finish(open_waves.pop(0))
                    if failed and fail_fast:
                        break
                while open_waves:
                    self._finish(open_waves.pop(0))
            finally:
                threads.shutdown(cancel_futures=True)
                for wave in open_waves:
                    self._finish(wave)

    def _fetched(self, items: Iterator[Item], threads: ThreadPoolExecutor, scratch: Path) -> _Wave | None:
        """Take the next wave, and have it fetched; a larger object is one by itself. None at the end."""
        most = min(WAVE_BYTES, WAVE_SECONDS / self._rate) if self._rate else FIRST_BYTES
        wave = _Wave([], scratch)
        total = 0
        while len(wave.items) < WAVE_FILES and total < most:
            item = next(items, None)
            if item is None:
                break
            wave.items.append(item)
            total += item.source.size
        if not wave.items:
            return None
        wave = _Wave(wave.items, Path(tempfile.mkdtemp(dir=scratch)))
        for index, item in enumerate(wave.items):
            try:
                self._fetch(item, wave.folder / str(index), threads)
            except (OSError, StorageError) as error:
                item.outcome = Outcome(error=f"can't be fetched: {error}")
        if isinstance(self._out, LocalStorage):
            atomic.sweep({item.output_path.parent for item in wave.items}, alone=self._shard is None)
        return wave

    def _fetch(self, item: Item, folder: Path, threads: ThreadPoolExecutor) -> None:
        """Choose where an item's files are, and have it fetched."""
        storage = item.root.storage
        if isinstance(self._out, LocalStorage):
            item.output_path = self._out.path(item.output)
        else:
            item.output_path = folder / "out" / _short(item.output)
        if isinstance(storage, LocalStorage):
            item.source_path = storage.path(item.source.key)
            return
        item.source_path = folder / "in" / _short(item.source.key or name_of(storage.url))
        item.source_path.parent.mkdir(parents=True)
        item.fetched = threads.submit(storage.download, item.source.key, item.source_path)

    def _clean(self, wave: _Wave, threads: ThreadPoolExecutor, *, fail_fast: bool) -> bool:
        """Clean what was fetched, and have each result put; returns whether a file failed."""
        ready: dict[Path, Item] = {}
        for item in wave.items:
            try:
                if item.fetched is not None:
                    item.source = item.fetched.result()._replace(key=item.source.key)
            except MissingError:
                item.outcome = Outcome(error="is gone.")
            except (StorageError, OSError) as error:
                item.outcome = Outcome(error=f"can't be fetched: {error}")
                self._count_lost(error)
            else:
                self._lost = 0
            if item.outcome.error is None:
                ready[item.output_path] = item
        started, size = time.monotonic(), sum(item.source.size for item in ready.values())

        def put(result: Result) -> None:
            item = ready[Path(result.output)]
            item.outcome = result.outcome
            if result.status is Status.DONE:
                item.put = threads.submit(self._put, item)
            if item.fetched is not None:
                item.source_path.unlink(missing_ok=True)

        jobs = [Job(item.source_path, item.output_path, item.output) for item in ready.values()]
        self._pipeline.run(jobs, put, fail_fast=fail_fast)
        if size:
            self._rate = (time.monotonic() - started) / size
        return any(item.outcome.error is not None for item in wave.items)

    def _count_lost(self, error: Exception) -> None:
        """Give up where one transfer after the other fails: it is not the files then."""
        self._lost += 1
        if self._lost >= MOST_LOST:
            raise StorageError(
                f"One object after the other fails: {error}", "The same command goes on from here."
            )

    def _put(self, item: Item) -> Entry:
        """Put a result, but not over an object that was not written by denoise."""
        if isinstance(self._out, LocalStorage):  # it lies there already
            assert item.outcome.written is not None  # noqa: S101 - it is done
            return Entry(item.output, item.outcome.written.size, str(item.outcome.written.mtime_ns))
        try:
            entry = self._out.write(item.output, item.output_path, create=not item.replaces)
        except ExistsError:
            # A try that seemed to fail may have been ours.
            content, there = item.output_path.read_bytes(), self._out.stat(item.output)
            if there is None or there.size != len(content) or self._out.read(item.output) != content:
                raise
            entry = there
        item.output_path.unlink(missing_ok=True)
        return entry._replace(key=item.output)

    def _finish(self, wave: _Wave) -> None:
        """Wait for the results of a wave to be put, record them, and tell; what was not begun is left out."""
        lines, items = [], []
        for item in wave.items:
            if (item.put is None and item.outcome.error is None) or (item.put and item.put.cancelled()):
                continue
            made = None if item.put is None else self._made(item)
            items.append(item)
            if made is None:
                lines.append(segments.failure(item.output, item.url, item.outcome.error))
                continue
            digest = item.outcome.fingerprint.sha256 if item.outcome.fingerprint else None
            lines.append(segments.line(made, item.source, item.url, self._pipeline.made_with, digest))
        try:
            self._record.done(lines)
        finally:
            for item in items:
                self._tell_of(item, Status.DONE if item.outcome.error is None else Status.FAILED)
            shutil.rmtree(wave.folder, ignore_errors=True)

    def _made(self, item: Item) -> Entry | None:
        """Return what was put; None, with the error as the outcome, if it could not be."""
        assert item.put is not None  # noqa: S101 - asked before
        try:
            return item.put.result()
        except ExistsError:
            there = f"{self._url(item)} exists and was not written by denoise."
            item.outcome = Outcome(error=f"can't be put: {there} Use --force to overwrite.")
        except (StorageError, OSError) as error:
            item.outcome = Outcome(error=f"can't be put: {error}")
        return None

    # --- words ---

    def _url(self, item: Item) -> str:
        return f"{self._out.url}/{item.output}"

    def _tell_of(self, item: Item, status: Status) -> None:
        self._tell(Result(item.url, self._url(item), status, item.outcome))

    def _fail(self, item: Item, error: str) -> None:
        item.outcome = Outcome(error=error)
        self._tell_of(item, Status.FAILED)


def _hidden(key: str) -> bool:
    return key.startswith(".") or "/." in key


def _short(key: str) -> str:
    """Return the name of a file for an object: its last part, cut where it is too long for a file."""
    stem, ending = os.path.splitext(key.rpartition("/")[2])  # noqa: PTH122 - a key
    return os.fsencode(stem)[:150].decode(errors="ignore").replace("\0", "") + ending[:50]

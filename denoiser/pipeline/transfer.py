"""Objects to objects: what is stale, as both sides are listed, and the record of what was done.

Who fetches, cleans and puts them is for `denoiser.pipeline.objects`, in this process or in others.
"""

from __future__ import annotations

import glob
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from denoiser.errors import UsageError
from denoiser.pipeline import probes, segments
from denoiser.pipeline.described import described
from denoiser.pipeline.objects import NOWHERE, ObjectJob
from denoiser.pipeline.outcomes import Outcome, Result, Status
from denoiser.pipeline.pipeline import Done, Pipeline
from denoiser.pipeline.plan import Job, NothingFoundError
from denoiser.pipeline.record import FOLDER
from denoiser.pipeline.segments import Index, Numbers, Segments
from denoiser.pipeline.walk import COUNTED, Walk, matcher
from denoiser.storage.base import Entry, Storage, StorageError, name_of
from denoiser.storage.local import LocalStorage
from denoiser.system import atomic

if TYPE_CHECKING:
    from denoiser.pipeline.listed import FileList, ObjectList
    from denoiser.pipeline.shard import Shard

RECORD_FILES, RECORD_SECONDS = 1000, 30.0
"""So many outcomes are recorded together, or those of this time: what a kill costs at most."""


class Work(Protocol):
    """Cleans jobs; see `denoiser.pipeline.pipeline.Pipeline.run`."""

    def __call__(self, jobs: Iterable[Job], done: Done, *, fail_fast: bool) -> None:
        """Clean the jobs, and call `done` with each and its outcome."""


@dataclass(frozen=True)
class Root:
    """An input.

    Attributes:
        storage: where it is.
        place: the folder below the output that its objects go to ("" for none).
        named: the list that names its objects; None: all images that are there.

    """

    storage: Storage
    place: str = ""
    named: FileList | ObjectList | None = None


@dataclass
class Item:
    """An object on its way.

    Attributes:
        root: where it comes from.
        source: as it was listed.
        output: key of the output.
        replaces: whether there is an output that may be replaced.
        outcome: how it fared.

    """

    root: Root
    source: Entry
    output: str
    replaces: bool = False
    outcome: Outcome = field(default_factory=Outcome)

    @property
    def url(self) -> str:
        """Name of the input."""
        return f"{self.root.storage.url}/{self.source.key}" if self.source.key else self.root.storage.url


class Transfer:
    """Cleans objects of storages into one storage.

    Args:
        pipeline: cleans files, without a record.
        roots: the inputs.
        out: the output.
        walk: which objects count as images; links to folders are not followed.
        renamed: gives the name of an output for that of an input; None: all keep their names.
        tell: called with each result, on this thread.
        force, keep: as the command's options.
        shard: the part of the images that is done; None: all of them.
        left_out: called with the URL of each folder that is left out because it holds results of ours.

    Attributes:
        found: how many images were listed so far.
        known: how many of them are of the part that is done.
        stale_found: how many of these are not up to date.
        complete: whether these are all.

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
        renamed: Callable[[str], str] | None,
        tell: Callable[[Result], None],
        force: bool = False,
        keep: bool = False,
        shard: Shard | None = None,
        left_out: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._left_out = left_out
        self._pipeline, self._roots, self._out = pipeline, roots, out
        self._walk, self._renamed, self._tell = walk, renamed, tell
        self._matches = matcher(walk)
        self._force, self._keep = force, keep
        self._shard = shard
        self._record = Segments(out, shard)
        self._there = Index()
        names = [name_of(root.storage.url) for root in roots]
        self._taken = None if renamed is None and len(set(names)) == len(names) else Numbers()
        self._open: dict[str, Item] = {}
        self._lines: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self.found = self.known = self.stale_found = 0
        self.complete = False
        for root in roots:
            if root.storage.url == out.url:
                raise UsageError(f"The output {out.url} is the input.", "Choose another place with --out.")
        own = []
        self._probes: list[str] = []
        for entry in out.list():
            if segments.is_segment(entry.key):
                own.append(entry)
            elif probes.is_probe(entry.key):
                self._probes.append(entry.key)
            elif not entry.key.startswith(f"{FOLDER}/"):  # a list may name what is hidden
                self._there.add(entry.key, segments.identity(entry))
        self._record.read(own)

    # --- what is to be done ---

    def stale(self) -> Generator[Item, None, None]:
        """Yield what is not up to date, as the inputs are listed; tells of the rest.

        Raises UsageError for an output that was not written by denoise, and StorageError.
        """
        for root in self._roots:
            for entry, mine, error in self._inputs(root):
                self.found += 1
                self.known += mine
                item = Item(root, entry, self._output(root, entry))
                if item.url == self._url(item):
                    raise UsageError(
                        f"The output {item.url} is an input; inputs are never written to.",
                        "Choose another place with --out.",
                    )
                if error is not None:
                    self._fail(item, error)
                elif self._is_free(item, tell=mine) and mine and self._is_stale(item):
                    self.stale_found += 1
                    yield item
        self.complete = True
        if not self.found:
            urls = ", ".join(root.storage.url for root in self._roots)
            raise NothingFoundError(
                f"No images found in {urls}.",
                f"The known types end in {' '.join(sorted(self._walk.suffixes))}.",
            )

    def _inputs(self, root: Root) -> Iterator[tuple[Entry, bool, str | None]]:
        """Yield images, whether each is of the part that is done, and why it can't be done, if so."""
        first, shard = self.found, self._shard
        if root.named is None:
            for number, entry in enumerate(self._images(root), first):
                yield entry, shard is None or shard.has(number), None
        else:
            keys = enumerate(root.named.keys(), first)
            wanted = ((key, shard is None or shard.has(number)) for number, key in keys)
            yield from described(root.storage, wanted)

    def count(self) -> Iterator[int]:
        """Yield numbers of images found so far, in listings of their own; the last is that of all."""
        found = 0
        for root in self._roots:
            if root.named is not None:
                found += root.named.total
                continue
            for _ in self._images(root, silent=True):
                found += 1
                if not found % COUNTED:
                    yield self._share(found)
        yield self._share(found)

    def _share(self, found: int) -> int:
        return found if self._shard is None else self._shard.share(found)

    def _images(self, root: Root, *, silent: bool = False) -> Iterator[Entry]:
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
                if outer != left_out and outer != inside and not silent:
                    self._left_out(f"{own}{outer}".rstrip("/"))
                left_out = outer
            if _hidden(entry.key) or (folder and not self._walk.recursive):
                continue
            if inside is not None and entry.key.startswith(inside):
                continue
            if left_out is not None and entry.key.startswith(left_out):
                continue
            if self._matches(folder, name):
                yield entry
        if not found:
            single = root.storage.stat("")
            if single is None:
                hint = "Patterns go to --glob." if glob.has_magic(root.storage.url) else "Check the name."
                raise UsageError(f"{root.storage.url}: there is nothing.", hint)
            yield single

    def _output(self, root: Root, entry: Entry) -> str:
        key = entry.key or name_of(root.storage.url)
        folder, slash, name = key.rpartition("/")
        place = f"{root.place}/" if root.place and entry.key else ""
        return f"{place}{folder}{slash}{name if self._renamed is None else self._renamed(name)}"

    def _is_free(self, item: Item, *, tell: bool) -> bool:
        """Return True if no input before it has the same output; parts know of all inputs."""
        if self._taken is None or self._taken.add(segments.number(item.output)):
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

    def tidy(self) -> None:
        """Put the parts of the record together where they are many, and remove what kills have left."""
        probes.sweep(self._out, self._probes)
        self._record.tidy()

    def run(self, items: Iterator[Item], work: Work, *, fail_fast: bool = False) -> None:
        """Clean the items, record and tell each result.

        Where it is stopped, what has been put by then is recorded and told.

        Args:
            items: what is stale.
            work: does it, as `Pipeline.run` would with its jobs and what is told.
            fail_fast: whether to stop after the first file that fails.

        Raises:
            StorageError: a storage is lost.
            UsageError: an output was not written by denoise.

        """
        over = threading.Event()
        keeper = threading.Thread(
            target=self._record_often, args=(over,), name="denoiser-record", daemon=True
        )
        keeper.start()
        try:
            work(self._jobs(items), self._done, fail_fast=fail_fast)
        finally:
            over.set()
            keeper.join()
            self._flush()

    def _jobs(self, items: Iterator[Item]) -> Iterator[Job]:
        """Yield jobs; the outputs of some are recorded as begun before the first of them is."""
        while block := _block(items):
            jobs = []
            for item in block:
                try:
                    jobs.append(self._job(item))
                except StorageError as error:  # no name for a file here
                    self._fail(item, f"can't be fetched: {error}")
            self._record.begin(job.relative for job in jobs)
            if isinstance(self._out, LocalStorage):
                atomic.sweep({job.destination.parent for job in jobs}, alone=self._shard is None)
            yield from jobs

    def _job(self, item: Item) -> Job:
        storage, out = item.root.storage, self._out
        source = storage.path(item.source.key) if isinstance(storage, LocalStorage) else NOWHERE
        destination = out.path(item.output) if isinstance(out, LocalStorage) else NOWHERE
        number = self._roots.index(item.root)
        job = ObjectJob(source, destination, item.output, number, item.source, item.replaces)
        self._open[item.output] = item
        return job

    def _done(self, job: Job, outcome: Outcome) -> None:
        """Take note of how an object fared, for the record, and tell."""
        item = self._open.pop(job.relative)
        item.outcome = outcome
        if outcome.error is not None or outcome.stored is None:
            line = segments.failure(item.output, item.url, outcome.error)
        else:
            source, made = outcome.stored
            digest = outcome.fingerprint.sha256 if outcome.fingerprint else None
            line = segments.line(made, source, item.url, self._pipeline.made_with, digest)
        with self._lock:
            self._lines.append(line)
        self._tell_of(item, Status.DONE if outcome.error is None else Status.FAILED)
        if len(self._lines) >= RECORD_FILES:
            self._flush()

    def _flush(self) -> None:
        """Put what is to be recorded."""
        with self._lock:
            lines = self._lines[:]
            self._record.done(lines)
            del self._lines[: len(lines)]  # not before: an interruption may come anywhere

    def _record_often(self, over: threading.Event) -> None:
        """Record what is finished every so often, also while a large file is cleaned."""
        while not over.wait(RECORD_SECONDS):
            try:
                self._flush()
            except StorageError:
                return  # the next try, on the other thread, will tell

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


def _block(items: Iterator[Item]) -> list[Item]:
    """Take items: so many, or those that are found within a second, but one at least."""
    until, block = time.monotonic() + 1.0, []
    for item in items:
        block.append(item)
        if len(block) >= RECORD_FILES or time.monotonic() > until:
            break
    return block

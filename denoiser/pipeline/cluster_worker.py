"""What runs on the workers of a cluster: a cleaner that is built once, from what has travelled there.

Everything that decides the pixels comes from the driver: models by their content, plugins that are files by
theirs. What must be installed (this package, plugins that are modules) is compared, and a worker that would
compute otherwise is refused by name. Nothing here writes to the record: only the driver does.
"""

from __future__ import annotations

import contextlib
import os
import platform
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import distributed
import numpy as np
import PIL

from denoiser import __version__
from denoiser.errors import ClusterError, DenoiserError, reason
from denoiser.hookspecs import IMAGE_HOOKS
from denoiser.inference import auto
from denoiser.inference.denoiser import Denoiser
from denoiser.pipeline.cleaner import Cleaner, Output
from denoiser.pipeline.objects import ObjectCleaner, ObjectJob, Places
from denoiser.pipeline.outcomes import Outcome
from denoiser.pipeline.pipeline import GROUP_FILES, made_with
from denoiser.pipeline.plan import Job
from denoiser.pipeline.pool import Works
from denoiser.pipeline.probes import is_seen
from denoiser.plugins import manager
from denoiser.storage.base import Entry, Storage, scheme_of
from denoiser.storage.opening import open_storage
from denoiser.system import atomic
from denoiser.system.malloc import keep_freed
from denoiser.weights.modelfile import ModelFile


class PluginSource(NamedTuple):
    """A plugin of `--plugin`: a module's name, or a file's name and content."""

    spec: str
    content: bytes | None = None


@dataclass(frozen=True)
class Setup:
    """Everything that a worker needs to know of a run.

    Attributes:
        run: token of the run.
        models: by name, without their unpacked weights.
        auto: whether the model is chosen for each image.
        settings: arguments of `Denoiser` that decide the pixels.
        plugins: in the order of the command line.
        installed_plugins: whether plugins of installed packages are loaded.
        plugin_options: texts NAME.KEY=VALUE.
        signature: the driver's `Denoiser.signature`.
        made_with: the driver's digest of all that decides an output.
        output: how results are written.
        probe: a file in the output folder, which every worker must see; its content is `run`.
        source: one of the inputs, which every worker must see; "" for objects.
        places: where inputs and outputs are, if they are objects; then `probe` is a key of the output, if
            that is no folder.
        entry: one of the inputs, if they are objects: the number of its place, and the object.

    """

    run: str
    models: dict[str, ModelFile]
    auto: bool
    settings: dict[str, Any]
    plugins: tuple[PluginSource, ...]
    installed_plugins: bool
    plugin_options: tuple[str, ...]
    signature: dict[str, Any]
    made_with: str
    output: Output
    probe: str
    source: str
    places: Places | None = None
    entry: tuple[int, Entry] | None = None


class Names(NamedTuple):
    """The names of a job, as the worker sees them."""

    source: str
    destination: str
    relative: str


class Cleaned(NamedTuple):
    """The outcomes of a task, fewer than its files where the run was stopped, and the seconds it took."""

    outcomes: list[Outcome]
    seconds: float


@dataclass
class _Run:
    """A run on this worker."""

    setup: Setup
    address: str
    stopped: threading.Event = field(default_factory=threading.Event)
    folder: tempfile.TemporaryDirectory[str] | None = None
    cleaner: Works | None = None
    turn: AbstractContextManager[Any] = field(default_factory=contextlib.nullcontext)


_lock = threading.Lock()
_runs: dict[str, _Run] = {}


class Delivery(distributed.WorkerPlugin):  # type: ignore[misc]  # distributed has no types here
    """Brings a run's setup to each worker once, also to those that join later."""

    def __init__(self, setup: Setup) -> None:
        self.name = f"denoiser-{setup.run}"
        self._setup = setup

    def setup(self, worker: Any) -> None:
        """Keep the setup; the cleaner is built when it is first asked for."""
        with _lock:
            _runs[self._setup.run] = _Run(self._setup, worker.address)

    def teardown(self, worker: Any) -> None:  # noqa: ARG002 - the hook's argument
        """Forget the run."""
        with _lock:
            run = _runs.pop(self._setup.run, None)
        if run is not None and run.folder is not None:
            run.folder.cleanup()


def versions() -> dict[str, str]:
    """Return the versions of what must be the same on all machines."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {
        "denoiser": __version__,
        "distributed": distributed.__version__,
        "NumPy": np.__version__,
        "Pillow": PIL.__version__,
        "Python": python,
    }


def check(run: str) -> None:
    """Build the cleaner of a run; raises ClusterError, which names this worker, if it can't be."""
    _ready(run)


def stop(run: str) -> None:
    """End the tasks of a run after the file that each is at."""
    with _lock:
        known = _runs.get(run)
    if known is not None:
        known.stopped.set()


def clean(run: str, files: Sequence[Names | ObjectJob]) -> Cleaned:
    """Clean files, in order. Raises ClusterError, or what stops everything."""
    started = time.perf_counter()
    state = _ready(run)
    assert state.cleaner is not None  # noqa: S101 - built just now
    jobs = [
        names
        if isinstance(names, ObjectJob)
        else Job(Path(names.source), Path(names.destination), names.relative)
        for names in files
    ]
    outcomes: list[Outcome] = []
    with state.turn:
        if isinstance(state.cleaner, ObjectCleaner):  # ends by itself
            outcomes += state.cleaner.outcomes(jobs)
        else:
            for start in range(0, len(jobs), GROUP_FILES):
                if state.stopped.is_set():
                    break
                for outcome in state.cleaner.outcomes(jobs[start : start + GROUP_FILES]):
                    outcomes.append(outcome)
                    if state.stopped.is_set():
                        break
    return Cleaned(outcomes, time.perf_counter() - started)


def _ready(run: str) -> _Run:
    """Return a run whose cleaner is built."""
    with _lock:
        known = _runs.get(run)
        if known is None:
            raise ClusterError(
                "A worker has not been told of this run.", "The same command goes on from here."
            )
        if known.cleaner is None:
            _build(known)
        return known


def _build(run: _Run) -> None:
    """Build the cleaner of a run, and compare what it computes with what the driver would."""
    setup, where = run.setup, f"The worker at {run.address}"
    _look(setup, where)
    keep_freed()  # as in other runs; Dask starts workers with the opposite
    run.folder = tempfile.TemporaryDirectory(prefix="denoiser-", ignore_cleanup_errors=True)
    try:
        plugins = _plugins(setup, Path(run.folder.name))
    except DenoiserError as error:
        raise ClusterError(
            f"{where} can't load the plugins: {error.message}", "Install them there, too."
        ) from None
    places = None if setup.places is None else _Places(setup, plugins, where)
    model: str | ModelFile = auto.AUTO if setup.auto else next(iter(setup.models.values()))
    denoiser = Denoiser(model, **setup.settings, engine="numpy", device="cpu", jobs=1, plugins=plugins)
    denoiser.models.update(setup.models)
    if denoiser.signature["plugins"] != setup.signature["plugins"]:
        told = _difference(setup.signature["plugins"], denoiser.signature["plugins"])
        raise ClusterError(f"{where} {told}.", "Install the same there as here, or use --no-plugins.")
    if made_with(denoiser, setup.output) != setup.made_with:
        raise ClusterError(
            f"{where} would compute something else, although its versions are the same.",
            "Install the same denoiser there as here.",
        )
    if any(IMAGE_HOOKS.intersection(plugin.hooks) for plugin in plugins.loaded):
        run.turn = (
            threading.Lock()
        )  # plugins see one image at a time, also where a worker has several threads
    run.cleaner = Cleaner(denoiser, setup.output)
    if places is not None:
        scratch = Path(run.folder.name)
        run.cleaner = ObjectCleaner(
            run.cleaner, places.places, places.open, scratch, stopped=run.stopped.is_set
        )


def _plugins(setup: Setup, folder: Path) -> manager.Plugins:
    """Load the plugins of a run; files are written to `folder` first."""
    specs = []
    for index, plugin in enumerate(setup.plugins):
        spec = plugin.spec
        if plugin.content is not None:
            path = folder / str(index) / plugin.spec
            path.parent.mkdir()
            path.write_bytes(plugin.content)
            spec = str(path)
        specs.append(spec)
    plugins = manager.load(specs, installed=setup.installed_plugins, options=setup.plugin_options)
    manager.insist(plugins)
    return plugins


def _difference(wanted: Sequence[Sequence[Any]], there: Sequence[Sequence[Any]]) -> str:
    """Say in which plugin two signatures differ."""
    theirs = {name: (version, options) for name, version, options in there}
    for name, version, _ in wanted:
        if name not in theirs:
            return f"lacks the plugin {name} {version}"
        if theirs[name][0] != version:
            return (
                f"has {theirs[name][0] or 'another version'} of the plugin {name}, and here it is {version}"
            )
    extra = [name for name in theirs if name not in {name for name, *_ in wanted}]
    return f"has a plugin that is not here: {extra[0]}" if extra else "has other options of plugins"


def _look(setup: Setup, where: str) -> None:
    """Raise ClusterError if the output folder or the inputs are not to be seen from here."""
    if setup.places is not None and scheme_of(setup.places.out) is not None:
        return
    probe = Path(setup.probe)
    shared = "Is it shared? Where it has another name there, add --path-map HERE=THERE."
    try:
        same = probe.read_text("ascii") == setup.run
    except OSError:
        same = False
    if not same:
        raise ClusterError(f"{where} can't see {probe.parent}.", shared)
    try:
        if setup.source:
            os.stat(setup.source)  # noqa: PTH116 - a string already
    except OSError:
        raise ClusterError(f"{where} can't see {setup.source}.", shared) from None
    try:
        with atomic.marker(probe.parent, setup.run):
            pass
    except OSError as error:
        raise ClusterError(
            f"{where} can't write to {probe.parent}: {reason(error)}.", "Check its permissions there."
        ) from None


class _Places:
    """The storages of a run, as this worker opens them with its own environment.

    Raises ClusterError if one can't be opened, or is not that of the driver.
    """

    def __init__(self, setup: Setup, plugins: manager.Plugins, where: str) -> None:
        assert setup.places is not None  # noqa: S101 - asked before
        assert setup.entry is not None  # noqa: S101 - set with it
        self.places, self._plugins = setup.places, plugins
        try:
            out = self.open(self.places.out)
            if scheme_of(self.places.out) is not None and not is_seen(out, setup.probe, setup.run):
                raise ClusterError(f"{where} can't see what is written to {out.url}.", _ENVIRONMENT)
            number, entry = setup.entry
            root = self.open(self.places.roots[number])
            if root.stat(entry.key) is None:
                name = f"{root.url}/{entry.key}".rstrip("/")
                raise ClusterError(f"{where} can't see {name}.", _ENVIRONMENT)
        except ClusterError:
            raise
        except DenoiserError as error:
            raise ClusterError(f"{where}: {error}") from None

    def open(self, text: str) -> Storage:
        """Open a storage."""
        return open_storage(text, self._plugins.open_storage)


_ENVIRONMENT = "Is its environment (endpoint, credentials) that of this machine?"

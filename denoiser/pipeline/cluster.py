"""A cluster of Dask workers: connect, compare versions, send a run's setup, submit tasks.

What happens to the tasks is for `denoiser.pipeline.cluster_pool`. All writing to the record stays with this
process.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import signal
import time
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from denoiser.errors import ClusterError, DenoiserError, UsageError, reason
from denoiser.inference.denoiser import Denoiser
from denoiser.pipeline.cleaner import Output
from denoiser.pipeline.objects import ObjectJob, Places
from denoiser.pipeline.plan import Job
from denoiser.pipeline.probes import Probe
from denoiser.storage.base import Entry, Storage, scheme_of
from denoiser.system import atomic

if TYPE_CHECKING:
    from denoiser.pipeline.cluster_worker import Setup

CONNECT_SECONDS = 10.0
WORKERLESS_SECONDS = 300.0
"""How long to wait for a worker where there is none, at the start or later."""

PATIENCE_SECONDS = 10.0
"""How long a run that is stopped waits for the files that workers are at."""

LOOK_SECONDS = 2.0
"""How often the workers are counted."""

_FORM = re.compile(r"local:[1-9][0-9]{0,5}|(tcp|tls)://[^/\s]+:[0-9]{1,5}|.+\.json", re.DOTALL)
AGAIN = "The same command goes on from here."
INSTALL = "python -m pip install 'denoiser[cluster]'"


def require_form(address: str) -> None:
    """Raise UsageError if an address has no known form, ClusterError if Dask distributed is not installed."""
    import importlib.util

    if not _FORM.fullmatch(address):
        raise UsageError(
            f"--cluster {address}: it must be local:N, tcp://HOST:PORT, tls://HOST:PORT, or the scheduler's"
            " file.json.",
            "An example: --cluster tcp://node1:8786",
        )
    if importlib.util.find_spec("distributed") is None:
        raise ClusterError(
            "--cluster needs Dask distributed, which is not installed.", f"Install it: {INSTALL}"
        )


class Cluster:
    """A connection to a cluster whose workers fit this process; a context manager closes it.

    Args:
        address: `local:N` starts N workers on this machine; else a scheduler's address, or the file that it
            has written.
        path_map: beginnings of paths here to their names on the workers.

    Raises:
        ClusterError: nothing answers there, no worker joins, or a worker has other versions.

    """

    def __init__(self, address: str, path_map: Mapping[str, str] | None = None) -> None:
        self._address = address
        self._path_map = dict(path_map or {})
        self._closing = contextlib.ExitStack()
        self._run = os.urandom(8).hex()
        self._counted = 0.0
        self._workers: dict[str, int] = {}
        self._shown: Probe | None = None
        _silence()
        try:
            self._client: Any = self._connect(address)
            self._await_workers()
            self._require_versions()
        except BaseException:
            self._closing.close()
            raise

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __str__(self) -> str:
        count = len(self._workers)
        return f"{count} {'worker' if count == 1 else 'workers'} of {self._address}"

    @property
    def threads(self) -> int:
        """How many threads the workers have together."""
        return max(1, sum(self._workers.values()))

    @property
    def lost(self) -> bool:
        """Whether the scheduler is gone."""
        return str(self._client.status) != "running"

    # --- connect ---

    def _connect(self, address: str) -> Any:
        import distributed

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # versions are compared below
            if address.startswith("local:"):
                where = self._local(int(address.removeprefix("local:")))
                client = distributed.Client(where, set_as_default=False)
            else:
                client = self._remote(address)
        self._closing.callback(self._end, client)
        return client

    def _remote(self, address: str) -> Any:
        import distributed

        url = _scheduler_file(Path(address)) if address.endswith(".json") else address
        if url.startswith("tls://"):
            _require_certificates(url)
        try:
            return distributed.Client(url, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, TimeoutError, ValueError, TypeError, RuntimeError) as error:
            why = "nothing answers there" if isinstance(error, OSError | TimeoutError) else first_line(error)
            raise ClusterError(
                f"The cluster at {url} can't be reached: {why}.",
                "Is its scheduler running? It is started with: dask scheduler",
            ) from error

    def _local(self, count: int) -> Any:
        """Start workers on this machine, of one thread each. Ctrl-C is for this process alone."""
        import tempfile
        from multiprocessing import resource_tracker

        import dask
        from distributed import LocalCluster
        from distributed.utils import LoopRunner

        # Workers are started from the loop's thread and inherit the signals that it blocks: a Ctrl-C on the
        # terminal would end them before their files are finished. Starting this tracker would unblock them.
        resource_tracker.ensure_running()
        runner = LoopRunner(asynchronous=False)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
        try:
            runner.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._closing.callback(runner.stop)
        scratch = self._closing.enter_context(
            tempfile.TemporaryDirectory(prefix="denoiser-", ignore_cleanup_errors=True)
        )
        # A file that ends its worker is known after two workers; there are no others to blame here.
        # A worker that isn't there 15 s after one of its ends would never be replaced. But a busy machine
        # takes longer, and one that ends often may be away anew. `WORKERLESS_SECONDS` is what ends a run.
        settings = {
            "distributed.scheduler.allowed-failures": 1,
            "distributed.deploy.lost-worker-timeout": "100 days",
        }
        self._closing.enter_context(dask.config.set(settings))
        try:
            cluster = LocalCluster(
                n_workers=count,
                threads_per_worker=1,
                host="127.0.0.1",
                memory_limit=0,
                dashboard_address=None,
                worker_dashboard_address=None,
                silence_logs=logging.CRITICAL,
                local_directory=scratch,
                loop=runner.loop,
            )
        except (OSError, RuntimeError, TimeoutError) as error:
            raise ClusterError(f"The workers can't be started: {first_line(error)}.", "Try fewer.") from error
        self._closing.callback(cluster.close, timeout=PATIENCE_SECONDS)
        return cluster

    def _await_workers(self) -> None:
        until = time.monotonic() + WORKERLESS_SECONDS
        while not self.look():
            if time.monotonic() > until:
                raise ClusterError(
                    f"The cluster at {self._address} has no workers.",
                    "They are started with: dask worker ADDRESS",
                )
            time.sleep(0.2)

    def _require_versions(self) -> None:
        """Refuse workers that have other versions than this process."""
        from denoiser.pipeline import cluster_worker

        own = cluster_worker.versions()
        for worker, theirs in self._broadcast(cluster_worker.versions):
            if not isinstance(theirs, dict):
                raise ClusterError(
                    f"The worker at {worker} has no denoiser, or a much older one: {first_line(theirs)}.",
                    f"Install denoiser {own['denoiser']} there.",
                )
            for name, version in own.items():
                if theirs.get(name) != version:
                    raise ClusterError(
                        f"The worker at {worker} has {name} {theirs.get(name)}, and here it is {version}.",
                        "Install the same on all machines.",
                    )

    def _broadcast(self, function: Any, *arguments: Any) -> Iterator[tuple[str, Any]]:
        """Call a function on each worker; yields addresses, with results or exceptions."""
        try:
            answers = self._client.run(function, *arguments, on_error="return")
        except (OSError, TimeoutError) as error:
            raise gone() from error
        yield from answers.items()

    # --- prepare ---

    def prepare(self, setup: Setup, out: Path | Storage) -> None:
        """Send a run's setup to all workers, and have each of them show that it can do the work.

        Args:
            setup: as `setup` makes it.
            out: the output: a folder, which exists, or a storage.

        Raises:
            ClusterError: a worker can't see the folder or the inputs, lacks a plugin, or would compute
                something else.

        """
        from denoiser.pipeline import cluster_worker

        setup = replace(setup, run=self._run, probe=self._probe(out))
        if setup.source:
            setup = replace(setup, source=self.there(Path(setup.source)))
        if setup.places is not None:
            places = setup.places
            setup = replace(
                setup, places=Places(tuple(map(self._place, places.roots)), self._place(places.out))
            )
        delivery = cluster_worker.Delivery(setup)
        try:
            self._client.register_plugin(delivery, name=delivery.name)
        except Exception as error:
            if self.lost:
                raise gone() from error
            raise ClusterError(f"The workers can't be set up: {first_line(error)}.") from error
        self._closing.callback(self._forget, delivery.name)
        for worker, answer in self._broadcast(cluster_worker.check, self._run):
            if isinstance(answer, DenoiserError):
                raise answer
            if isinstance(answer, Exception):
                raise ClusterError(f"The worker at {worker} can't be set up: {first_line(answer)}.")

    def _probe(self, out: Path | Storage) -> str:
        """Write what all workers must see in the output; returns its path on the workers, or its key."""
        if not isinstance(out, Path):
            self._shown = Probe(out, self._run)
            self._closing.callback(self._shown.remove)
            return self._shown.key
        try:
            atomic.sweep([out], alone=False)  # what a run has left here that was killed
            return self.there(self._closing.enter_context(atomic.marker(out, self._run)))
        except OSError as error:
            raise ClusterError(
                f"{out} can't be written to: {reason(error)}.", "Check its permissions."
            ) from error

    def _place(self, text: str) -> str:
        return text if scheme_of(text) is not None else self.there(Path(text))

    def _forget(self, name: str) -> None:
        if not self.lost:
            with contextlib.suppress(Exception):  # nothing that the run's results depend on
                self._client.unregister_worker_plugin(name)

    def there(self, path: Path) -> str:
        """Return the name that a path has on the workers."""
        own = os.path.abspath(path)  # noqa: PTH100 - links may lead elsewhere on another machine
        for here, mapped in self._path_map.items():
            if own == here or own.startswith(here.rstrip(os.sep) + os.sep):
                return mapped.rstrip("/") + own[len(here.rstrip(os.sep)) :]
        return own

    # --- work ---

    def look(self) -> set[str]:
        """Count the workers; returns the addresses of those that there are."""
        try:
            self._workers = dict(self._client.nthreads())
        except (OSError, TimeoutError) as error:
            raise gone() from error
        self._counted = time.monotonic()
        if self._shown is not None:
            self._shown.renew()
        return set(self._workers)

    @property
    def due(self) -> bool:
        """Whether the workers should be counted again."""
        return time.monotonic() - self._counted > LOOK_SECONDS

    def submit(self, jobs: Sequence[Job]) -> Any:
        """Submit a task; returns its future."""
        from denoiser.pipeline import cluster_worker

        names = [
            job
            if isinstance(job, ObjectJob)
            else cluster_worker.Names(self.there(job.source), self.there(job.destination), job.relative)
            for job in jobs
        ]
        return self._client.submit(cluster_worker.clean, self._run, names, pure=False)

    def stop(self) -> None:
        """Have the workers stop after the files that they are at."""
        from denoiser.pipeline import cluster_worker

        deque(self._broadcast(cluster_worker.stop, self._run), maxlen=0)

    def close(self) -> None:
        """End the connection; local workers end, too."""
        self._closing.close()

    def _end(self, client: Any) -> None:
        with contextlib.suppress(Exception):  # the work is over
            client.close(timeout=PATIENCE_SECONDS if client.status == "running" else 0)


def gone() -> ClusterError:
    """Return the error of a scheduler that is lost."""
    return ClusterError("The cluster is gone.", AGAIN)


def setup(
    denoiser: Denoiser,
    output: Output,
    *,
    settings: Mapping[str, Any],
    plugins: Sequence[str],
    installed_plugins: bool,
    plugin_options: Sequence[str],
    made_with: str,
    source: Path | None,
    places: Places | None = None,
    entry: tuple[int, Entry] | None = None,
) -> Setup:
    """Describe a run for the workers.

    Args:
        denoiser: the driver's.
        output: how results are written, without comparisons.
        settings: the arguments of `Denoiser` that decide the pixels, apart from model and plugins.
        plugins: files and modules, as for `denoiser.plugins.manager.load`, as are the next two.
        installed_plugins: whether plugins of installed packages are loaded.
        plugin_options: texts NAME.KEY=VALUE.
        made_with: the digest that the record keeps.
        source: one of the inputs, if they are files.
        places: where inputs and outputs are, if they are objects.
        entry: one of the inputs, if they are: the number of its place, and the object.

    """
    from denoiser.pipeline.cluster_worker import PluginSource, Setup
    from denoiser.plugins import loading

    sources = []
    for spec in plugins:
        path = loading.as_file(spec)
        sources.append(PluginSource(spec) if path is None else PluginSource(path.name, path.read_bytes()))
    signature = denoiser.signature  # loads the models
    models = {name: replace(model) for name, model in denoiser.models.items()}  # without unpacked weights
    return Setup(
        run="",
        models=models,
        auto=denoiser.auto,
        settings=dict(settings),
        plugins=tuple(sources),
        installed_plugins=installed_plugins,
        plugin_options=tuple(plugin_options),
        signature=signature,
        made_with=made_with,
        output=output,
        probe="",
        source="" if source is None else str(source),
        places=places,
        entry=entry,
    )


def _silence() -> None:
    """Keep Dask's own messages off the terminal, unless ours are wanted in full."""
    import distributed

    level = logging.getLogger("denoiser").level
    if level != logging.DEBUG:
        logging.getLogger(distributed.__name__).setLevel(logging.CRITICAL)
        for name in ("core", "client", "nanny", "scheduler", "worker", "comm", "batched"):
            logging.getLogger(f"distributed.{name}").setLevel(logging.CRITICAL)
        logging.getLogger("tornado").setLevel(logging.CRITICAL)


def _scheduler_file(path: Path) -> str:
    """Return the address in a scheduler's file, which one that was started just now is yet to write."""
    until = time.monotonic() + CONNECT_SECONDS
    while path.parent.is_dir() and not _has_content(path) and time.monotonic() < until:
        time.sleep(0.1)
    try:
        address = json.loads(path.read_text("utf-8"))["address"]
    except OSError as error:
        raise ClusterError(
            f"The scheduler's file {path} can't be read: {reason(error)}.",
            f"It is written by: dask scheduler --scheduler-file {path}",
        ) from error
    except (ValueError, KeyError, TypeError):
        address = None
    if not isinstance(address, str):
        raise ClusterError(
            f"{path} is not a scheduler's file.", f"It is written by: dask scheduler --scheduler-file {path}"
        )
    return address


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def _require_certificates(url: str) -> None:
    """Raise ClusterError if Dask's configuration names no certificates, or ones that can't be used."""
    from distributed.security import Security

    try:
        if Security().get_connection_args("client").get("ssl_context") is not None:
            return
        why = "Dask's configuration names no certificates"
    except (OSError, TypeError, ValueError) as error:
        why = f"the certificates of Dask's configuration can't be used: {first_line(error)}"
    raise ClusterError(
        f"The cluster at {url} can't be reached: {why}.", "They are set under distributed.comm.tls."
    )


def first_line(error: object) -> str:
    """Return the first line of an error's text, without a full stop."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".")

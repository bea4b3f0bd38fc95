"""A real Dask scheduler and its workers, in processes of their own on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.helpers.processes import ROOT

_START_SECONDS = 120.0


class Dask:
    """A scheduler, and the workers that a test adds.

    Attributes:
        file: the scheduler's file.
        address: where it listens.
        scheduler: its process.
        workers: theirs.

    """

    def __init__(self, folder: Path, protocol: str) -> None:
        self._protocol = ("--protocol", protocol)
        self.file = folder / "scheduler.json"
        self._folder = folder
        self.workers: list[subprocess.Popen[bytes]] = []
        self.scheduler = self._start(
            *("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(self.file)),
            *self._protocol,
        )
        until = time.monotonic() + _START_SECONDS
        while not self.file.exists() or not self.file.read_text():
            assert self.scheduler.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < until
            time.sleep(0.05)
        self.address = str(json.loads(self.file.read_text())["address"])

    def work(self, *options: str, path: Path | None = None) -> None:
        """Start a worker; `path` is a folder whose modules it finds before others."""
        options = options or ("--nthreads", "1")
        folder = self._folder / f"worker-{len(self.workers)}"
        folder.mkdir()
        where = ("--host", "127.0.0.1", "--local-directory", str(folder))
        self.workers.append(self._start("worker", self.address, *where, *self._protocol, *options, path=path))

    def wait_for_workers(self) -> None:
        """Wait until all workers that were started have joined, in a process without threads of the tests."""
        code = (
            "import sys\nfrom distributed import Client\nwith Client(sys.argv[1]) as client:\n"
            "    client.wait_for_workers(int(sys.argv[2]), timeout=float(sys.argv[3]))\n"
        )
        arguments = (self.address, str(len(self.workers)), str(_START_SECONDS))
        subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True)

    def _start(self, kind: str, *arguments: str, path: Path | None = None) -> subprocess.Popen[bytes]:
        folders = [str(each) for each in (path, ROOT) if each is not None]
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{kind}", "--no-dashboard", *arguments],
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(folders), "OPENBLAS_NUM_THREADS": "1"},
            )

    def close(self) -> None:
        """End all processes."""
        for process in (*self.workers, self.scheduler):
            process.terminate()
        for process in (*self.workers, self.scheduler):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
            process.wait()


@contextlib.contextmanager
def dask(folder: Path, protocol: str = "tcp") -> Iterator[Dask]:
    """Start a scheduler without workers, and end all at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    started = Dask(folder, protocol)
    try:
        yield started
    finally:
        started.close()

"""What the tests of faults share: the command in processes of its own, full disks, and how long to try.

The ordinary run is short. By hand: `pytest tests/faults --fuzz 20000 --kills 1000 --races 100`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
Disk = Callable[[int], AbstractContextManager[Path]]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults")
    group.addoption("--fuzz", type=int, default=None, help="Damaged files to try.")
    group.addoption("--fuzz-seed", type=int, default=0, help="Seed of the damage.")
    group.addoption("--kills", type=int, default=None, help="Runs to kill.")
    group.addoption("--races", type=int, default=None, help="Undisturbed runs over new sub-folders.")


@pytest.fixture
def repeats(request: pytest.FixtureRequest) -> Callable[[str, int], int]:
    """How often to try: what the option says, else a few times."""

    def repeats(option: str, ordinary: int) -> int:
        given = request.config.getoption(option, None)
        return ordinary if given is None else int(given)

    return repeats


@dataclass(frozen=True)
class Ended:
    """A process of the command that has ended. peak: MB of memory that it had at most."""

    code: int
    out: str
    err: str
    hung: bool
    peak: float

    @property
    def errors(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("Error")]


class Commands:
    """Calls the command in processes of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        environment["DENOISER_HOME"] = str(folder / "home")
        self._zygote = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("zygote.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=ROOT,
        )

    def __call__(
        self,
        *arguments: object,
        timeout: float = 60.0,
        patches: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Ended:
        """Call it. `patches` is code that is run in the process first, for what can't be had otherwise."""
        assert self._zygote.stdin is not None
        assert self._zygote.stdout is not None
        out, err = self._folder / "out", self._folder / "err"
        request = {
            "args": [
                os.fsencode(os.fspath(each) if isinstance(each, Path) else str(each)).hex()
                for each in arguments
            ],
            "env": dict(env or {}),
            "cwd": str(cwd or self._folder),
            "out": str(out),
            "err": str(err),
            "timeout": timeout,
            "patches": list(patches),
        }
        self._zygote.stdin.write(json.dumps(request) + "\n")
        self._zygote.stdin.flush()
        answer = json.loads(self._zygote.stdout.readline())
        texts = (path.read_text("utf-8", "replace") for path in (out, err))
        return Ended(answer["code"], *texts, answer["hung"], answer["peak_kb"] / 1024)

    def close(self) -> None:
        self._zygote.communicate()


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """The command line, each call a process."""
    commands = Commands(tmp_path_factory.mktemp("command"))
    yield commands
    commands.close()


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    """Make small disks: `with disk(kilobytes) as folder`."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root on Linux can mount a disk of a given size (tmpfs)")

    @contextmanager
    def mounted(kilobytes: int) -> Iterator[Path]:
        folder = tmp_path / f"disk-{kilobytes}"
        folder.mkdir(exist_ok=True)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
        made = subprocess.run(mount, capture_output=True, text=True)
        if made.returncode:
            pytest.skip(f"no tmpfs can be mounted here: {made.stderr.strip()}")
        try:
            yield folder
        finally:
            subprocess.run(["umount", str(folder)], check=True)

    return mounted

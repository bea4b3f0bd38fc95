"""The command in processes of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
Disk = Callable[[int], AbstractContextManager[Path]]
"""Makes small disks: `with disk(kilobytes) as folder`."""


def command(*arguments: object) -> list[str]:
    """The command line of the command with these arguments."""
    return [sys.executable, "-m", "denoiser", *map(str, arguments)]


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Call the command in a process of its own, which must not end with a traceback."""
    outcome = subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={**os.environ, **environment},
    )
    assert "Traceback" not in outcome.stderr, outcome.stderr
    return outcome


def error_of(outcome: subprocess.CompletedProcess[str]) -> str:
    """The only line on stderr that is an error."""
    lines = [line for line in outcome.stderr.splitlines() if line.startswith("Error")]
    assert len(lines) == 1, outcome.stderr
    return lines[0]


@dataclass(frozen=True)
class Ended:
    """A process of the command that has ended.

    peak: MB of memory that it had at most. pid: its number, and that of its group. killed: whether the signal
    that was asked for was sent, which it is not where the process ends first.
    """

    code: int
    out: str
    err: str
    hung: bool
    peak: float
    pid: int
    killed: bool

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
        kill: tuple[float, int, str] | None = None,
    ) -> Ended:
        """Call it.

        `patches` is code that is run in the process first, for what can't be had otherwise. `kill` says after
        how many seconds which signal is sent, and to whom: "parent", "worker" or "group".
        """
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
            "kill": kill,
        }
        self._zygote.stdin.write(json.dumps(request) + "\n")
        self._zygote.stdin.flush()
        answer = json.loads(self._zygote.stdout.readline())
        said, told = (path.read_text("utf-8", "replace") for path in (out, err))
        peak = answer["peak_kb"] / 1024
        return Ended(answer["code"], said, told, answer["hung"], peak, answer["pid"], answer["killed"])

    def close(self) -> None:
        self._zygote.communicate()


def children(process: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(each) for each in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return []

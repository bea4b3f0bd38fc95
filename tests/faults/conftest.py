"""What the tests of faults share: the command in processes of its own, full disks, and how long to try.

The ordinary run is short. By hand: `pytest tests/faults --fuzz 20000 --kills 1000 --races 100 --disks 40`,
all at once or in pieces with different `--seed`s.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.helpers.processes import Commands, Disk


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults")
    group.addoption("--fuzz", type=int, default=None, help="Damaged files to try.")
    group.addoption("--seed", type=int, default=0, help="Seed of the damage and of the kills.")
    group.addoption("--kills", type=int, default=None, help="Runs to kill.")
    group.addoption("--races", type=int, default=None, help="Undisturbed runs over new sub-folders.")
    group.addoption("--disks", type=int, default=None, help="Sizes of disk to fill, for each format.")


@pytest.fixture
def repeats(request: pytest.FixtureRequest) -> Callable[[str, int], int]:
    """How often to try: what the option says, else a few times."""

    def repeats(option: str, ordinary: int) -> int:
        given = request.config.getoption(option, None)
        return ordinary if given is None else int(given)

    return repeats


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Which damage, and which kills."""
    return int(request.config.getoption("seed", 0))


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

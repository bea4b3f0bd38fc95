"""Temporary files and processes: none of ours stays, and none of anybody else's goes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from denoiser.system import atomic
from tests.helpers.processes import ROOT, Commands, children

NO_LOCKS = "import fcntl\ndef flock(*_): raise OSError(95, 'no locks')\nfcntl.flock = flock\n"


def test_files_that_only_end_like_ours_stay(
    command: Commands, scans: Path, identity: Path, tmp_path: Path
) -> None:
    out = tmp_path / "o"
    out.mkdir()
    theirs = [f"notes{atomic.SUFFIX}", f".hidden{atomic.SUFFIX}", f"x{atomic.SUFFIX}.png"]
    for name in theirs:
        (out / name).write_text("precious")
    assert command(scans, "--out", out, "--model", identity).code == 0
    assert all((out / name).read_text() == "precious" for name in theirs)


def test_a_dead_runs_temporary_file_goes_though_nothing_is_left_to_do(
    command: Commands, scans: Path, identity: Path, tmp_path: Path
) -> None:
    common = (scans, "--out", tmp_path / "o", "--model", identity)
    assert command(*common).code == 0
    with atomic.replacing(tmp_path / "x.png"):
        (name,) = (path.name for path in tmp_path.iterdir() if path.name.endswith(atomic.SUFFIX))
    left = tmp_path / "o/box" / name
    left.write_bytes(b"half")
    assert "3 up to date" in command(*common).err
    assert not left.exists()


def test_without_locks_only_old_files_are_dead(
    command: Commands, scans: Path, identity: Path, tmp_path: Path
) -> None:
    (tmp_path / "o").mkdir()
    with atomic.replacing(tmp_path / "x.png"):
        (name,) = (path.name for path in tmp_path.iterdir() if path.name.endswith(atomic.SUFFIX))
    young, old = tmp_path / "o" / name, tmp_path / "o" / name.replace(".x.", ".y.")
    for path in (young, old):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    assert command(scans, "--out", tmp_path / "o", "--model", identity, patches=[NO_LOCKS]).code == 0
    assert young.exists()
    assert not old.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_no_worker_outlives_its_parent(identity: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for index in range(300):
        Image.new("L", (28, 28), index % 256).save(tmp_path / f"in/{index}.png")
    (tmp_path / "slow.py").write_text(
        "import os, time\nfrom denoiser import hookimpl\n@hookimpl\ndef preprocess(image):\n"
        f"    open({str(tmp_path / 'at-')!r} + str(os.getpid()), 'w').close()\n    time.sleep(1)\n"
    )
    command = [sys.executable, "-m", "denoiser", tmp_path / "in", "--out", tmp_path / "o", "--jobs", "2"]
    command += ["--model", identity, "--plugin", tmp_path / "slow.py"]
    process = subprocess.Popen(
        list(map(str, command)), env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL
    )
    until = time.monotonic() + 60
    while len(list(tmp_path.glob("at-*"))) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    workers = children(process.pid)
    assert len(workers) == 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    until = time.monotonic() + 5  # a worker is at 64 files of a second each
    while (alive := [each for each in workers if _runs(each)]) and time.monotonic() < until:
        time.sleep(0.05)
    assert not alive
    assert not list((tmp_path / "o").rglob(f"*{atomic.SUFFIX}*"))


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False

"""Objects over several processes, of which each fetches and puts its own; and the bar that counts them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.buckets import NEEDS_A_BUCKET, Seen, contents, plugin, wait_for_images
from tests.helpers.command import Denoise
from tests.helpers.files import noise_images
from tests.helpers.processes import command

pytest.importorskip("obstore")
pytestmark = [
    *NEEDS_A_BUCKET,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone"),
]

MANY = 300
TELLS = "(HERE / f'pid-{os.getpid()}').touch()"


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """So many small images that processes are worth while."""
    return noise_images(tmp_path / "many", MANY, lambda index: f"box{index % 2}/{index}.png")


@pytest.fixture
def wanted(denoise: Denoise, many: Path, model: Path, tmp_path: Path) -> dict[str, bytes]:
    """What a run from folder to folder makes of them."""
    assert denoise(many, "--out", tmp_path / "one", "--model", model).code == 0
    return contents(tmp_path / "one")


def body(*lines: str) -> str:
    return "\n    ".join(("import os, signal", TELLS, *lines))


def start(*arguments: object, **options: object) -> subprocess.Popen[str]:
    line = command(*arguments, "--jobs", 2)
    return subprocess.Popen(line, stderr=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload,no-any-return]


def pids(folder: Path) -> set[int]:
    return {int(path.name.removeprefix("pid-")) for path in folder.glob("pid-*")}


def test_processes_share_the_work_and_one_that_dies_is_replaced(
    many: Path,
    model: Path,
    wanted: dict[str, bytes],
    place: str,
    tmp_path: Path,
) -> None:
    killer = plugin(
        tmp_path,
        body(
            "if page.path.name == '122.png' and not (HERE / 'once').exists():",
            "    (HERE / 'once').touch()",
            "    os.kill(os.getpid(), signal.SIGKILL)",
            "if page.path.name == '7.png': os.kill(os.getpid(), signal.SIGKILL)",
        ),
    )
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environment = {**os.environ, "TMPDIR": str(scratch)}
    arguments = (many, "--out", f"{place}/clean", "--model", model, "--plugin", killer)
    process = start(*arguments, env=environment)
    told = process.communicate(timeout=240)[1]
    assert process.returncode == 1, told
    assert f"{many}/box1/7.png can't be done: twice, the process at it was killed (signal 9)" in told
    assert f"{MANY - 1} cleaned, 1 failed" in told
    assert (tmp_path / "once").exists()
    assert len(pids(tmp_path)) >= 4  # two, and those in the places of the dead
    assert process.pid not in pids(tmp_path)
    seen = Seen(f"{place}/clean")
    assert seen.images() == {name: content for name, content in wanted.items() if name != "box1/7.png"}
    assert list(scratch.iterdir()) == []  # nor is anything left of those that died


def test_ctrl_c_keeps_and_records_what_is_put(
    denoise: Denoise,
    many: Path,
    model: Path,
    wanted: dict[str, bytes],
    place: str,
    tmp_path: Path,
) -> None:
    slow = plugin(tmp_path, body("time.sleep(float(os.environ.get('SLOW', '0')))"))
    arguments = (many, "--out", f"{place}/clean", "--model", model, "--plugin", slow)
    process = start(
        *arguments,
        env={**os.environ, "SLOW": "0.2"},
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    seen = Seen(f"{place}/clean")
    wait_for_images(seen, 10, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: all processes get it
    told = process.communicate(timeout=90)[1]
    assert process.returncode == 130, told
    assert "Traceback" not in told, told
    assert re.search(r"Interrupted: \d+ cleaned.* The same command goes on from here\.", told)
    there = seen.images()
    recorded = {line["output"] for line in seen.record() if "sha256" in line}
    assert 0 < len(recorded) <= len(there) < MANY
    assert recorded <= set(there)
    outcome = denoise(*arguments)
    assert f"{MANY - len(recorded)} cleaned, {len(recorded)} up to date" in outcome.err
    assert seen.images() == wanted


def test_the_death_of_the_process_that_hands_out_the_work_is_told_in_one_line(
    denoise: Denoise,
    many: Path,
    model: Path,
    wanted: dict[str, bytes],
    place: str,
    tmp_path: Path,
) -> None:
    slow = plugin(tmp_path, body("time.sleep(0.2)"))
    arguments = (many, "--out", f"{place}/clean", "--model", model)
    process = start(*arguments, "--plugin", slow)
    seen = Seen(f"{place}/clean")
    wait_for_images(seen, 10, process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    told = process.communicate(timeout=90)[1]
    assert process.returncode == 3, told
    assert told.splitlines()[-1] == (
        "Error: The process that cleans was killed. The same command goes on from here."
    )
    until = time.monotonic() + 60
    for pid in pids(tmp_path):  # and its own processes end with it
        while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
            time.sleep(0.1)
        assert not Path(f"/proc/{pid}").exists()
    assert denoise(*arguments).code == 0
    assert seen.images() == wanted


def test_a_terminal_sees_how_many_are_done_of_how_many(
    many: Path, model: Path, place: str, tmp_path: Path
) -> None:
    import fcntl
    import pty
    import struct
    import termios

    slow = plugin(tmp_path, body("time.sleep(0.02)"))
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    arguments = (many, "--out", f"{place}/clean", "--model", model, "--plugin", slow)
    command = [sys.executable, "-m", "denoiser", *map(str, arguments), "--jobs", "2"]
    process = subprocess.Popen(command, stderr=slave)
    os.close(slave)
    seen = b""
    while True:
        try:
            seen += os.read(master, 1 << 16)
        except OSError:  # its end is closed
            break
    os.close(master)
    assert process.wait(60) == 0, seen
    counts = [tuple(map(int, found)) for found in re.findall(rb"(\d+) of (\d+) images", seen)]
    assert len({done for done, _ in counts}) > 3  # the last of them may be gone before it is drawn
    assert {of for _, of in counts} == {MANY}

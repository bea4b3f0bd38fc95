"""`--watch`: what arrives is cleaned once it stands still, until Ctrl-C."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from denoiser.commands import watch
from denoiser.errors import ExitCode
from denoiser.pipeline.plan import Job
from tests.helpers.command import Denoise


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let these functions be called between the rounds, the last of which is followed by Ctrl-C."""

    def set_up(*steps: Callable[[], object]) -> None:
        left: Iterator[Callable[[], object]] = iter(steps)

        def sleep(_: float) -> None:
            step = next(left, None)
            if step is None:
                raise KeyboardInterrupt
            step()

        init = watch.Watch.__init__

        def with_sleep(self: watch.Watch, request: Any, jobs: Any, clean: Any) -> None:
            init(self, request, jobs, clean, sleep)

        monkeypatch.setattr(watch.Watch, "__init__", with_sleep)

    return set_up


def nothing() -> None:
    pass


def without_waiting(jobs: Callable[[], list[Job]], clean: Callable[[list[Job]], int]) -> watch.Watch:
    """A watch whose rounds follow each other at once, until one of the functions ends it."""

    class Asked:
        watch, quiet = 1.0, True

    return watch.Watch(Asked(), jobs, clean, sleep=lambda _: None)  # type: ignore[arg-type]


def test_files_are_cleaned_when_they_stand_still(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path, rounds: Callable[..., None]
) -> None:
    incoming, out = tmp_path / "incoming", tmp_path / "out"
    incoming.mkdir()
    seen: list[list[str]] = []

    def look() -> None:
        seen.append(sorted(path.name for path in out.glob("*.png")))

    def arrive() -> None:
        shutil.copy(scans / "a.png", incoming / "a.png")
        (incoming / "b.png").write_bytes((scans / "b.png").read_bytes()[:100])

    def grow() -> None:
        look()
        shutil.copy(scans / "b.png", incoming / "b.png")

    rounds(arrive, grow, look, look, nothing)
    outcome = denoise(incoming, "--out", out, "--model", identity, "--watch", 5)
    assert outcome.code == 0, outcome.err
    assert seen == [[], ["a.png"], ["a.png", "b.png"]]
    lines = outcome.err.splitlines()
    assert lines[0] == "Watching every 5 seconds. Ctrl-C ends it."
    assert lines[-1] == "Watching has ended."
    assert sum("1 cleaned" in line for line in lines) == 2


def test_a_file_that_fails_is_tried_again_when_it_changes(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path, rounds: Callable[..., None]
) -> None:
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    (incoming / "a.png").write_text("no image")
    rounds(nothing, nothing, lambda: shutil.copy(scans / "a.png", incoming / "a.png"), nothing)
    outcome = denoise(incoming, "--out", tmp_path / "out", "--model", identity, "--watch", 1)
    assert outcome.code == 1
    assert outcome.err.count("Error: ") == 1
    assert (tmp_path / "out" / "a.png").is_file()


def test_a_folder_that_can_not_be_listed_is_named_once_and_counts_as_failed(
    denoise: Denoise,
    scans: Path,
    identity: Path,
    tmp_path: Path,
    rounds: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (scans / "shut").mkdir()
    listing = os.scandir

    def scandir(folder: Any) -> Any:
        if Path(folder).name == "shut":
            raise PermissionError(13, "Permission denied")
        return listing(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    rounds(nothing, nothing, nothing)
    outcome = denoise(scans, "--out", tmp_path / "out", "--model", identity, "--watch", 1)
    assert outcome.code == 1
    assert outcome.err.count(f"Error: {scans / 'shut'} can't be read: Permission denied.") == 1
    assert (tmp_path / "out" / "a.png").is_file()


def test_a_share_that_drops_out_and_comes_back_ends_nothing(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path, rounds: Callable[..., None]
) -> None:
    away = tmp_path / "away"

    def back() -> None:
        away.rename(scans)
        shutil.copy(scans / "a.png", scans / "new.png")

    rounds(nothing, lambda: scans.rename(away), nothing, back, nothing)
    outcome = denoise(scans, "--out", tmp_path / "out", "--model", identity, "--watch", 1)
    assert outcome.code == 1
    assert outcome.err.count(f"Error: {scans}: no such file or folder.") == 1
    assert outcome.err.count("Error: ") == 1
    assert (tmp_path / "out" / "new.png").is_file()


def test_a_file_in_the_way_stops_its_own_image_only(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path, rounds: Callable[..., None]
) -> None:
    out = tmp_path / "out"

    def arrive() -> None:
        (out / "y.png").write_text("somebody's")
        for name in ("x.png", "y.png", "z.png"):
            shutil.copy(scans / "a.png", scans / name)

    rounds(nothing, arrive, nothing, nothing)
    outcome = denoise(scans, "--out", out, "--model", identity, "--watch", 1)
    assert outcome.code == 1
    assert outcome.err.count("Error: ") == 1
    assert f"Error: {out / 'y.png'} exists and was not written by denoise" in outcome.err
    assert (out / "y.png").read_text() == "somebody's"
    assert (out / "x.png").is_file()
    assert (out / "z.png").is_file()


def test_what_is_wrong_from_the_start_ends_it(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path, rounds: Callable[..., None]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.png").write_text("somebody's")
    rounds(nothing, nothing)
    outcome = denoise(scans, "--out", out, "--model", identity, "--watch", 1)
    assert outcome.code == 2
    assert outcome.err.endswith("Use --keep to leave it alone, or another --out.\n")  # it refuses --force
    assert denoise(tmp_path / "none", "--out", out, "--model", identity, "--watch", 1).code == 2


@pytest.mark.parametrize("seconds", ["nan", "inf", "1e300", "0"])
def test_what_is_no_time_is_refused(denoise: Denoise, scans: Path, tmp_path: Path, seconds: str) -> None:
    outcome = denoise(scans, "--out", tmp_path / "out", "--watch", seconds)
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert "--watch" in outcome.err


def test_files_that_are_gone_are_forgotten() -> None:
    job = Job(Path(__file__), Path("out"), "out")
    found = iter([[job], [job], [], []])

    def jobs() -> list[Job]:
        try:
            return next(found)
        except StopIteration:
            raise KeyboardInterrupt from None

    watched = without_waiting(jobs, lambda _: int(ExitCode.OK))
    assert watched.run() == ExitCode.OK
    assert not watched._handled


def test_ctrl_c_during_the_work_is_told_apart() -> None:
    job = Job(Path(__file__), Path("out"), "out")
    watched = without_waiting(lambda: [job], lambda _: int(ExitCode.INTERRUPTED))
    assert watched.run() == ExitCode.INTERRUPTED


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to a process")
def test_ctrl_c_ends_a_real_process_well(scans: Path, identity: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "denoiser", str(scans), "--out", str(tmp_path / "out")]
    process = subprocess.Popen(
        [*command, "--model", str(identity), "--watch", "0.05"], stderr=subprocess.PIPE, text=True
    )
    try:
        until = time.monotonic() + 60
        while not (tmp_path / "out" / "box" / "c.tif").exists():
            assert time.monotonic() < until
            time.sleep(0.05)
        assert process.stderr is not None
        while "3 cleaned" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    assert err == "Watching has ended.\n"


def test_what_is_there_already_is_up_to_date_in_the_next_run(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path, rounds: Callable[..., None]
) -> None:
    common = (scans, "--out", tmp_path / "out", "--model", identity)
    assert denoise(*common).code == 0
    rounds(nothing)
    assert "3 up to date" in denoise(*common, "--watch", 1).err

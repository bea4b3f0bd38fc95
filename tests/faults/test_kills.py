"""Runs that are killed at any moment: nothing torn, nothing lost, nothing left over.

A few in the ordinary run; by hand, `pytest tests/faults/test_kills.py --kills 1000 --seed 7`.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers import fakes
from tests.helpers.files import tree
from tests.helpers.processes import ROOT, children

KINDS = ("single", "pool", "large", "compare")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
ATTEMPTS = 4


def inputs(folder: Path, kind: str) -> Path:
    rng = np.random.default_rng(1)
    count, side = {"single": (60, 60), "pool": (400, 28), "large": (4, 700), "compare": (40, 60)}[kind]
    endings = ("png", "jpg", "tif", "bmp")
    for index in range(count):
        path = folder / str(index % 3) / f"{index}.{'png' if kind == 'pool' else endings[index % 4]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (side, side), np.uint8)).save(path)
    return folder


def kill(process: subprocess.Popen[bytes], chance: random.Random) -> None:
    """Send one of the signals to the parent, a worker or the whole group."""
    number, target = chance.choice(SIGNALS), chance.choice(("parent", "worker", "group"))
    workers = children(process.pid)
    with contextlib.suppress(ProcessLookupError):
        if target == "group":
            os.killpg(process.pid, number)
        elif target == "worker" and workers:
            os.kill(chance.choice(workers), signal.SIGKILL)
        else:
            process.send_signal(number)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_killed_again_and_again_ends_as_one_that_was_not(
    tmp_path: Path, kind: str, seed: int, repeats: Callable[[str, int], int]
) -> None:
    chance = random.Random(f"{kind} {seed}")
    model = fakes.flattener(tmp_path / "m.keras")
    folder = inputs(tmp_path / "in", kind)

    def begin(place: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "denoiser", folder, "--model", model, "--jobs", "2"]
        command += ["--out", place / "o"]
        if kind == "compare":
            command += ["--compare", place / "look"]
        if kind == "pool":
            command += ["--mode", "whole"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "DENOISER_HOME": str(tmp_path / "home")}
        return subprocess.Popen(
            list(map(str, command)), stderr=subprocess.PIPE, start_new_session=True, env=environment
        )

    def contents(place: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(place)): path.read_bytes()
            for path in place.rglob("*")
            if path.is_file() and ".denoise" not in path.parts
        }

    started = time.monotonic()
    whole = begin(tmp_path / "whole")
    assert whole.wait() == 0
    duration = time.monotonic() - started
    wanted = contents(tmp_path / "whole")
    kills, attempt = repeats("kills", ATTEMPTS) // len(KINDS), 0
    while kills > 0:
        attempt += 1
        place = tmp_path / f"killed{attempt}"
        for _ in range(min(kills, 3)):
            process = begin(place)
            time.sleep(chance.uniform(0.05, 1.1) * duration)
            if process.poll() is None:  # else it has ended before it could be killed
                kill(process, chance)
                kills -= 1
            _, errors = process.communicate(timeout=60)
            assert b"Traceback" not in errors, errors.decode()
            until = time.monotonic() + 10
            while (alive := _group(process.pid)) and time.monotonic() < until:
                time.sleep(0.02)
            assert not alive
            for name, content in contents(place).items():
                assert name.endswith(".denoise-tmp") or content == wanted[name], name
        process = begin(place)
        _, errors = process.communicate()
        assert process.returncode == 0, errors.decode()
        assert contents(place) == wanted
        shutil.rmtree(place)
    assert tree(tmp_path / "whole/o") == tree(folder)


def _group(number: int) -> bool:
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    return True

"""Runs that are killed at any moment: nothing torn, nothing lost, nothing left over.

A few in the ordinary run; by hand, `pytest tests/faults/test_kills.py --kills 1000 --seed 7`.
"""

from __future__ import annotations

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
from tests.helpers.processes import ROOT, Commands

KINDS = ("single", "pool", "large", "compare")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
ATTEMPTS = 3
"""Kills of each kind in the ordinary run."""


def inputs(folder: Path, kind: str) -> Path:
    rng = np.random.default_rng(1)
    count, side = {"single": (60, 60), "pool": (400, 28), "large": (4, 700), "compare": (40, 60)}[kind]
    endings = ("png", "jpg", "tif", "bmp")
    for index in range(count):
        path = folder / str(index % 3) / f"{index}.{'png' if kind == 'pool' else endings[index % 4]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (side, side), np.uint8)).save(path)
    return folder


def contents(place: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in place.rglob("*")
        if path.is_file() and ".denoise" not in path.parts
    }


def arguments(folder: Path, model: Path, place: Path, kind: str) -> list[object]:
    given: list[object] = [folder, "--model", model, "--jobs", 2, "--out", place / "o"]
    if kind == "compare":
        given += ["--compare", place / "look"]
    if kind == "pool":
        given += ["--mode", "whole"]
    return given


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_killed_again_and_again_ends_as_one_that_was_not(
    command: Commands, tmp_path: Path, kind: str, seed: int, repeats: Callable[[str, int], int]
) -> None:
    chance = random.Random(f"{kind} {seed}")
    model = fakes.flattener(tmp_path / "m.keras")
    folder = inputs(tmp_path / "in", kind)
    started = time.monotonic()
    assert command(*arguments(folder, model, tmp_path / "whole", kind)).code == 0
    duration = time.monotonic() - started
    wanted = contents(tmp_path / "whole")
    kills, attempt = repeats("kills", ATTEMPTS * len(KINDS)) // len(KINDS), 0
    while kills > 0:
        attempt += 1
        place = tmp_path / f"killed{attempt}"
        given = arguments(folder, model, place, kind)
        for _ in range(min(kills, 3)):
            target = chance.choice(("parent", "worker", "group"))
            moment = chance.uniform(0.0, 1.1) * duration
            ended = command(*given, kill=(moment, chance.choice(SIGNALS), target))
            kills -= ended.killed
            assert not ended.hung
            assert "Traceback" not in ended.err, ended.err
            until = time.monotonic() + 10
            while (alive := _group(ended.pid)) and time.monotonic() < until:
                time.sleep(0.02)
            assert not alive
            for name, content in contents(place).items():
                assert name.endswith(".denoise-tmp") or content == wanted[name], name
        last = command(*given)
        assert last.code == 0, last.err
        assert contents(place) == wanted
        shutil.rmtree(place)
    assert tree(tmp_path / "whole/o") == tree(folder)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("number", SIGNALS)
def test_a_process_of_its_own_is_killed_as_well(tmp_path: Path, number: int) -> None:
    """As above, from the start of the interpreter on."""
    chance = random.Random(int(number))
    model = fakes.flattener(tmp_path / "m.keras")
    folder = inputs(tmp_path / "in", "large")
    command = [sys.executable, "-m", "denoiser", *map(str, arguments(folder, model, tmp_path, "large"))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DENOISER_HOME": str(tmp_path / "home")}

    def begin() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True, env=environment)

    process = begin()
    time.sleep(chance.uniform(0.3, 1.0))
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert b"Traceback" not in errors, errors.decode()
    process = begin()
    _, errors = process.communicate()
    assert process.returncode == 0, errors.decode()
    assert tree(tmp_path / "o") == tree(folder)


def _group(number: int) -> bool:
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    return True

"""Parts of one job from and to a bucket of a real server: the bytes of one run, whatever is killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from denoiser.pipeline import shard
from denoiser.storage.base import Entry
from denoiser.storage.bucket import BucketStorage
from tests.helpers.buckets import (
    NEEDS_A_BUCKET,
    Seen,
    contents,
    results,
    wait_for_images,
)
from tests.helpers.command import Denoise

obstore: Any = pytest.importorskip("obstore")
pytestmark = NEEDS_A_BUCKET

PARTS, IMAGES = 3, 60


@pytest.fixture
def scans(
    digits: Path,
    place: str,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """The URL of some images, which are dealt out four at a time."""
    monkeypatch.setattr(shard, "BLOCK", 4)
    rng = np.random.default_rng(5)
    for index in range(IMAGES - len(contents(digits))):
        Image.fromarray(rng.integers(0, 256, (28, 28), np.uint8)).save(digits / f"more {index}.png")
    Seen(f"{place}/scans").put_all(digits)
    return f"{place}/scans"


def command(*arguments: object) -> list[str]:
    code = (
        "import sys; from denoiser.pipeline import shard; shard.BLOCK = 4;"
        f"sys.argv = {['denoise', *map(str, arguments)]!r}; from denoiser.__main__ import main; main()"
    )
    return [sys.executable, "-c", code]


def summary(text: str) -> tuple[int, int]:
    """How many were cleaned, and how many were up to date."""
    found = [re.search(rf"(\d+) {what}", text, re.IGNORECASE) for what in ("cleaned", "up to date")]
    cleaned, there = (int(each[1]) if each else 0 for each in found)
    return cleaned, there


def test_parts_give_the_bytes_of_one_run_with_segments_of_their_own(
    denoise: Denoise,
    scans: str,
    digits: Path,
    model: Path,
    place: str,
    tmp_path: Path,
) -> None:
    assert denoise(digits, "--out", tmp_path / "one", "--model", model).code == 0
    wanted = contents(tmp_path / "one")
    for out in (f"{place}/clean", str(tmp_path / "two")):
        arguments = (scans, "--out", out, "--model", model)
        done = 0
        for index in range(PARTS):
            outcome = denoise(*arguments, "--shard", f"{index}/{PARTS}")
            assert outcome.code == 0, outcome.err
            assert f"| part {index}/{PARTS}" in outcome.err
            cleaned, there = summary(outcome.err)
            assert (cleaned > 0, there) == (True, 0)
            done += cleaned
        assert done == IMAGES
        made = results(out)
        assert made == wanted
        for index in range(PARTS):
            assert "0 cleaned" not in (text := denoise(*arguments, "--shard", f"{index}/{PARTS}").err)
            assert summary(text)[0] == 0
        # The whole, and parts of another number, know what these parts did.
        assert f"{IMAGES} up to date" in denoise(*arguments).err
        assert summary(denoise(*arguments, "--shard", "1/2").err)[0] == 0
    bucket = Seen(f"{place}/clean")
    writers = {match[1] for name in bucket.all() if (match := re.search(r"(shard-\d-of-\d)-", name))}
    assert writers == {f"shard-{index}-of-{PARTS}" for index in range(PARTS)}


def test_a_part_knows_what_another_did_before_inputs_came(
    denoise: Denoise, scans: str, model: Path, place: str
) -> None:
    arguments = (scans, "--out", f"{place}/clean", "--model", model)
    for index in range(PARTS):
        assert denoise(*arguments, "--shard", f"{index}/{PARTS}").code == 0
    inputs = Seen(scans)
    inputs.put("a b/0.png", next(iter(inputs.images().values())))  # every later file moves on by one
    done = [summary(denoise(*arguments, "--shard", f"{index}/{PARTS}").err) for index in range(PARTS)]
    assert [sum(numbers) for numbers in zip(*done, strict=True)] == [1, IMAGES]


def test_two_inputs_of_one_output_are_told_of_once(
    denoise: Denoise, scans: str, model: Path, place: str
) -> None:
    image = next(iter(Seen(scans).images().values()))
    inputs = Seen(f"{place}/twice")
    for index in range(8):
        for ending in ("png", "tif"):  # neighbours, and in other parts wherever four are dealt out
            inputs.put(f"{index}.{ending}", image)
            inputs.put(f"{index}x.{ending}", image)
    failed = 0
    for index in range(PARTS):
        outcome = denoise(
            *(f"{place}/twice", "--out", f"{place}/clean", "--model", model),
            *("--format", "tiff", "--shard", f"{index}/{PARTS}"),
        )
        assert outcome.code in (0, 1), outcome.err
        failed += outcome.err.count("as another input is")
    assert failed == 16
    assert len(Seen(f"{place}/clean").images()) == 16


def test_parts_at_once_that_are_killed_redo_only_what_is_unfinished(
    denoise: Denoise,
    scans: str,
    digits: Path,
    model: Path,
    place: str,
    slow: Path,
    tmp_path: Path,
) -> None:
    assert denoise(digits, "--out", tmp_path / "one", "--model", model).code == 0
    arguments = (scans, "--out", f"{place}/clean", "--model", model, "--plugin", slow)
    seen = Seen(f"{place}/clean")

    def start(seconds: float = 0.0) -> list[subprocess.Popen[str]]:
        """Start the parts, and the last of them twice, as where a scheduler takes a live task for dead."""
        return [
            subprocess.Popen(
                command(*arguments, "--shard", "auto"),
                stderr=subprocess.PIPE,
                text=True,
                env={
                    **os.environ,
                    "SLOW": str(seconds),
                    "SLURM_ARRAY_TASK_ID": str(index + 1),
                    "SLURM_ARRAY_TASK_MIN": "1",
                    "SLURM_ARRAY_TASK_COUNT": str(PARTS),
                },
            )
            for index in (*range(PARTS), PARTS - 1)
        ]

    processes = start(1.0)  # none is at its end when it is killed, however late another begins
    wait_for_images(seen, IMAGES // 3, *processes)
    for number, process in enumerate(processes):
        process.send_signal(signal.SIGKILL if number % 2 else signal.SIGTERM)
    for process in processes:
        assert "Traceback" not in process.communicate(timeout=90)[1]
    there = seen.images()
    assert IMAGES // 3 <= len(there) < IMAGES
    finished = {line["output"] for line in seen.record() if "sha256" in line}
    assert finished <= set(there)
    processes = start()
    told = [process.communicate(timeout=180)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), told
    assert seen.images() == contents(tmp_path / "one")
    sums = [summary(text) for text in told[:PARTS]]
    assert sum(map(sum, sums)) == IMAGES
    assert sum(there for _, there in sums) >= len(finished)
    assert f"{IMAGES} up to date" in denoise(*arguments).err


def test_an_output_of_a_run_that_began_meanwhile_is_not_taken_for_foreign(
    denoise: Denoise,
    scans: str,
    model: Path,
    place: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = (scans, "--out", f"{place}/clean", "--model", model)
    assert denoise(*arguments, "--shard", f"0/{PARTS}").code == 0
    listed = BucketStorage.list

    def late(storage: BucketStorage) -> Iterator[Entry]:
        """List the record as it was before the other run began, and the outputs as they are now."""
        monkeypatch.setattr(BucketStorage, "list", listed)
        return (entry for entry in listed(storage) if not entry.key.startswith(".denoise/"))

    monkeypatch.setattr(BucketStorage, "list", late)
    outcome = denoise(*arguments)
    assert outcome.code == 0, outcome.err
    assert sum(summary(outcome.err)) == IMAGES
    assert summary(outcome.err)[1] > 0

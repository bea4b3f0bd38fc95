"""Full disks while a training writes: each file is whole, or it is the one that was there before."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from denoiser.training import artifacts, checkpoints, datasets
from denoiser.training.checkpoints import History, Point, State
from denoiser.training.evaluation import Seen
from denoiser.training.feed import Source
from denoiser.weights import modelfile, store
from tests.helpers.command import Denoise
from tests.helpers.processes import Disk
from tests.helpers.training import VALIDATION, small

SIZES = (4, 8, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024)
"""Kilobytes. Half of them hold none or some of the files that are written here, and the last all."""


def history() -> History:
    points = [Point(0.1 * index, 1000 * index, 0.5, 20.0 + index) for index in range(10)]
    return History(points=points, best=points[-1], patches=9000, seconds=3.0, curve=points)


def filled(disk: Disk, write: Callable[[Path], object]) -> tuple[list[dict[str, bytes]], dict[str, bytes]]:
    """Write on disks of every size; returns what each holds, and what the largest does."""
    left = []
    for kilobytes in SIZES:
        with disk(kilobytes) as folder:
            with contextlib.suppress(OSError):
                write(folder / "mine.keras")
            left.append({path.name: path.read_bytes() for path in folder.iterdir()})
    return left, left[-1]


@pytest.mark.slow
def test_a_model_is_whole_or_not_there(disk: Disk, tmp_path: Path) -> None:
    from denoiser.models import publish

    left, largest = filled(disk, lambda path: publish(small(), path, {}))
    assert list(largest) == ["mine.keras"]
    assert [] in [list(each) for each in left]
    for each in left:
        assert set(each) <= {"mine.keras"}
        for content in each.values():
            (tmp_path / "mine.keras").write_bytes(content)
            modelfile.read(tmp_path / "mine.keras")


def test_a_checkpoint_is_whole_or_not_there_and_can_be_read(disk: Disk, tmp_path: Path) -> None:
    weights = [np.random.default_rng(index).random((40, 40), np.float32) for index in range(4)]
    state = State(3, 0.5, weights, weights, weights, 0.1, [np.array(3)], Source({}, {}), history())
    left, largest = filled(disk, lambda path: checkpoints.write(path.with_suffix(".training"), state, {}))
    assert [] in [list(each) for each in left]
    for each in left:
        assert each in ({}, largest)
    (tmp_path / "mine.training").write_bytes(largest["mine.training"])
    again, _ = checkpoints.read(tmp_path / "mine.training")
    np.testing.assert_array_equal(again.weights[3], weights[3])


def test_a_checkpoint_that_finds_no_room_leaves_the_one_before(disk: Disk) -> None:
    weights = [np.random.default_rng(index).random((40, 40), np.float32) for index in range(4)]
    first = State(3, 0.5, weights[:1], [], [], 0.1, [], Source({}, {}), history())
    second = State(4, 0.6, weights, weights, weights, 0.1, [], Source({}, {}), history())
    with disk(32) as folder:
        checkpoints.write(folder / "mine.training", first, {})
        before = (folder / "mine.training").read_bytes()
        with pytest.raises(OSError, match="No space left"):
            checkpoints.write(folder / "mine.training", second, {})
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"mine.training": before}


def test_pictures_are_whole_or_not_there_and_the_training_goes_on(
    disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    noisy, clean = (np.asarray(each[:20], np.float32) for each in VALIDATION)
    seen = Seen(noisy, np.asarray((noisy + clean) / 2, np.float32), clean)
    left, largest = filled(disk, lambda path: artifacts.write(path, seen, history(), {"network": "digits"}))
    names = {path.name for path in store.beside(Path("mine.keras"))}
    assert {"mine.png", "mine.csv", "mine.html"} <= set(largest) <= names
    assert any(len(each) < len(largest) for each in left)
    for each in left:
        for name, content in each.items():
            assert len(content) == len(largest[name])
    assert "can't be written: the disk is full" in caplog.text


@pytest.mark.slow
def test_a_training_without_room_for_its_model_ends_before_its_first_step(
    denoise: Denoise, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DENOISER_DATA", raising=False)
    monkeypatch.setattr(datasets, "_DRAWN", 500)
    with disk(64) as folder:
        monkeypatch.setenv("DENOISER_HOME", str(folder))
        ended = denoise("train", "--recipe", "digits", "--name", "mine", "--epochs", 1)
        assert ended.code == 3
        assert "the disk is full" in ended.err
        assert "Choose another place" in ended.err
        assert not [path for path in folder.rglob("*") if path.is_file()]


def test_a_model_that_was_cut_by_hand_is_refused(tmp_path: Path, identity: Path) -> None:
    from denoiser.errors import ModelError

    content = identity.read_bytes()
    for size in range(0, len(content), max(1, len(content) // 40)):
        (tmp_path / "cut.keras").write_bytes(content[:size])
        with pytest.raises(ModelError):
            modelfile.read(tmp_path / "cut.keras")

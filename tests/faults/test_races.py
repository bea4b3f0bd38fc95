"""Several processes at one folder: workers of a run, and runs beside each other."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tests.helpers.files import tree
from tests.helpers.processes import Commands

ANOTHER_IS_FIRST = """
import os
made = os.mkdir
def mkdir(name, *args, **options):
    made(name, *args, **options)
    made(name, *args, **options)
os.mkdir = mkdir
"""


def test_a_folder_that_another_worker_has_just_made_is_a_folder(
    command: Commands, scans: Path, identity: Path, tmp_path: Path
) -> None:
    ended = command(scans, "--out", tmp_path / "o", "--model", identity, patches=[ANOTHER_IS_FIRST])
    assert ended.errors == []
    assert ended.code == 0
    assert tree(tmp_path / "o") == ["a.png", "b.png", "box/c.tif"]


def test_many_small_files_in_new_folders_are_all_cleaned(
    command: Commands, identity: Path, tmp_path: Path, repeats: Callable[[str, int], int]
) -> None:
    folders, each = (40, 128) if repeats("races", 0) else (20, 16)
    rng = np.random.default_rng(3)
    for folder in range(folders):
        (tmp_path / f"in/{folder}").mkdir(parents=True)
        for index in range(each):
            pixels = rng.integers(0, 256, (28, 28), np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"in/{folder}/{index}.png", compress_level=1)
    for attempt in range(repeats("races", 1)):
        ended = command(
            tmp_path / "in",
            "--out",
            tmp_path / f"o{attempt}",
            "--model",
            identity,
            "--mode",
            "whole",
            timeout=300,
        )
        assert ended.errors == []
        assert f"{folders * each} cleaned" in ended.err
        shutil.rmtree(tmp_path / f"o{attempt}")

"""A file that is named by itself and by its folder is cleaned once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.command import Denoise
from tests.helpers.files import tree


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Some images in a tree, one of them in a hidden folder, one with an unknown ending."""
    rng = np.random.default_rng(3)
    for name in ("in/a.png", "in/sub/b.png", "in/sub/deep/c.png", "in/.hidden/d.png", "in/e.dat"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (30, 30), np.uint8)).save(path, "PNG")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ("in in/a.png", {"in/a.png", "in/sub/b.png", "in/sub/deep/c.png"}),
        ("in/sub/b.png in", {"in/a.png", "in/sub/b.png", "in/sub/deep/c.png"}),
        ("in in/sub", {"in/a.png", "in/sub/b.png", "in/sub/deep/c.png"}),
        ("in/sub ./in/../in in/sub/deep", {"in/a.png", "in/sub/b.png", "in/sub/deep/c.png"}),
        ("in in/sub --no-recursive", {"in/a.png", "sub/b.png"}),
        ("in in/.hidden/d.png", {"in/a.png", "in/sub/b.png", "in/sub/deep/c.png", "d.png"}),
        ("in in/e.dat", {"in/a.png", "in/sub/b.png", "in/sub/deep/c.png", "e.dat"}),
        ("in in/a.png --glob b*", {"in/sub/b.png", "a.png"}),
        ("in in/sub/b.png --glob sub/b*", {"in/sub/b.png"}),
    ],
)
def test_each_file_is_cleaned_once(
    denoise: Denoise, identity: Path, folder: Path, inputs: str, outputs: set[str]
) -> None:
    outcome = denoise(*inputs.split(), "--out", "out", "--model", identity)
    assert outcome.code == 0, outcome.err
    assert set(tree(folder / "out")) == outputs


def test_results_of_ours_below_a_folder_are_cleaned_where_they_are_named(
    denoise: Denoise, identity: Path, folder: Path
) -> None:
    assert denoise("in/a.png", "--out", "in/clean", "--model", identity).code == 0
    outcome = denoise("in/sub", "in/clean", "--out", "out", "--model", identity)
    assert outcome.code == 0
    assert set(tree(folder / "out")) == {"sub/b.png", "sub/deep/c.png", "clean/a.png"}
    outcome = denoise("in", "in/clean/a.png", "--out", "again", "--model", identity)
    assert set(tree(folder / "again")) == {"in/a.png", "in/sub/b.png", "in/sub/deep/c.png", "a.png"}


def test_fail_fast_says_how_many_were_not_tried(denoise: Denoise, identity: Path, folder: Path) -> None:
    (folder / "in/a.png").write_bytes(b"no image")
    outcome = denoise("in", "--out", "out", "--model", identity, "--fail-fast")
    assert outcome.code == 1
    assert "1 failed, 2 not tried" in outcome.err


def test_little_noise_of_a_deep_image_is_not_zero(denoise: Denoise, identity: Path, folder: Path) -> None:
    deep = 900 + np.random.default_rng(1).normal(0, 20, (90, 90))
    Image.fromarray(deep.astype(np.uint16)).save(folder / "deep.tif")
    outcome = denoise("deep.tif", "--out", "out", "--model", identity, "--verbose")
    assert "noise about 0.0" in outcome.err
    assert "noise about 0 of" not in outcome.err
    assert "noise about 0.0 of" not in outcome.err

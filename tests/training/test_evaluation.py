"""What is kept of a training: figures, picture, curve."""

from __future__ import annotations

import csv
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from denoiser import generator
from denoiser.training import artifacts, evaluation
from denoiser.training import metrics as training
from denoiser.training.checkpoints import History, Point
from denoiser.training.evaluation import Seen
from denoiser.weights import store as models
from tests.helpers import fakes
from tests.helpers.command import Denoise

CLEAN = generator.glyphs(40, np.random.default_rng(3))
RNG = np.random.default_rng(4)
NOISY = np.clip(CLEAN + RNG.normal(0, 0.3, CLEAN.shape), 0, 1).astype(np.float32)
#: Better than the noisy ones, and the further down the list the worse.
RESTORED = (CLEAN + (NOISY - CLEAN) * np.linspace(0.1, 0.6, 40)[:, None, None]).astype(np.float32)
FOUND = Seen(NOISY, RESTORED, CLEAN)


def history() -> History:
    curve = [Point(index / 20, index * 100, 0.1 / index, None, index / 2) for index in range(1, 21)]
    checks = [Point(0.5, 1000, 0.01, 20.0, 5.0), Point(1.0, 2000, math.nan, 22.5, 10.0)]
    return History(
        checks, checks[1], 2000, 10.0, curve=sorted([*curve, *checks], key=lambda each: each.patches)
    )


def test_ssim_is_scikit_images() -> None:
    from skimage import metrics

    ours = training.ssim(NOISY, CLEAN)
    for index in range(8):
        theirs = metrics.structural_similarity(
            NOISY[index].astype(float),
            CLEAN[index].astype(float),
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        assert ours[index] == pytest.approx(theirs, abs=1e-6)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_ssim_is_one_only_for_equal_patches(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    first = rng.random((3, 28, 28), np.float32)
    second = first + np.float32(share) * (rng.random(first.shape, np.float32) - first)
    np.testing.assert_allclose(training.ssim(first, first), 1.0, atol=1e-9)
    found = training.ssim(first, second)
    assert (found <= 1.0 + 1e-9).all()
    np.testing.assert_allclose(found, training.ssim(second, first), atol=1e-12)


def test_ssim_wants_stacks_that_are_large_enough() -> None:
    for shape in ((2, 10, 28), (28, 28)):
        with pytest.raises(ValueError, match="11"):
            training.ssim(np.zeros(shape, np.float32), np.zeros(shape, np.float32))
    with pytest.raises(ValueError, match="equal"):
        training.ssim(CLEAN, CLEAN[:3])


def test_a_figure_has_before_and_after() -> None:
    row = evaluation.figure("x", FOUND)
    assert row["input_db"] < row["output_db"]
    assert row["input_ssim"] < row["output_ssim"] <= 1
    exact = evaluation.figure("clean", Seen(CLEAN, CLEAN, CLEAN))
    assert exact["input_db"] is exact["output_db"] is None
    assert exact["output_ssim"] == 1.0


def test_the_table_names_everything() -> None:
    card: dict[str, Any] = {
        "validation": evaluation.figure("validation", FOUND),
        "figures": [evaluation.figure("a:b=1", FOUND)],
    }
    card["figures"].append(evaluation.figure("gaussian:sigma=0", Seen(CLEAN, RESTORED, CLEAN)))
    head, mixed, one, clean = evaluation.table(card)
    assert head.split() == ["noise", "noisy", "dB", "restored", "dB", "noisy", "SSIM", "restored", "SSIM"]
    assert mixed.startswith("as it was learnt")
    assert one.split()[0] == "a:b=1"
    assert clean.startswith("none: clean images")
    assert "exact" in clean
    assert len({len(line) for line in (head, mixed, one, clean)}) == 1


def test_worst_and_typical_are_chosen_by_error() -> None:
    order = list(np.argsort(FOUND.errors))
    typical, worst = artifacts.chosen(FOUND)
    assert worst == order[::-1][:4]
    ranks = [order.index(each) for each in typical]
    assert len(ranks) == 4
    assert all(abs(rank - 20) <= 2 for rank in ranks)
    few = Seen(NOISY[:3], RESTORED[:3], CLEAN[:3])
    typical, worst = artifacts.chosen(few)
    assert sorted(typical + worst) == [0, 1, 2]


def test_the_picture_holds_the_patches(tmp_path: Path) -> None:
    artifacts.write_picture(tmp_path / "x.png", FOUND)
    with Image.open(tmp_path / "x.png") as image:
        pixels = np.asarray(image)
        assert image.mode == "L"
    typical, worst = artifacts.chosen(FOUND)
    for patches in (NOISY, RESTORED, CLEAN):
        for place in (typical[0], worst[0]):
            patch = np.rint(255 * np.clip(patches[place], 0, 1)).astype(np.uint8).repeat(4, 0).repeat(4, 1)
            windows = np.lib.stride_tricks.sliding_window_view(pixels, (1, 112))
            assert (windows[:, :, 0] == patch[50]).all(axis=2).any()


def test_the_curve_is_a_table(tmp_path: Path) -> None:
    artifacts.write_table(tmp_path / "x.csv", history())
    rows = list(csv.DictReader((tmp_path / "x.csv").read_text().splitlines()))
    assert list(rows[0]) == ["fraction", "seconds", "patches", "loss", "validation_db"]
    assert len(rows) == 22
    assert [row["validation_db"] for row in rows if row["validation_db"]] == ["20.000", "22.500"]
    assert rows[-1]["loss"] == ""
    assert [int(row["patches"]) for row in rows] == sorted(int(row["patches"]) for row in rows)


def test_the_curve_is_drawn_where_matplotlib_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.png"
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert not artifacts.write_drawing(path, history())
    assert not path.exists()
    monkeypatch.undo()
    assert artifacts.write_drawing(path, history())
    with Image.open(path) as image:
        assert image.size[0] > 500


def test_what_lies_beside_a_model_goes_with_it(denoise: Denoise, store: Path) -> None:
    path = fakes.identity(store / "models" / "mine.keras")
    other = fakes.identity(store / "models" / "mine-2.keras")
    for each in (path, other):
        made = artifacts.write(each, FOUND, history())
        assert made[:2] == list(models.beside(each))[:2]
        assert all(file.is_file() for file in made)
    listed = denoise("models").out
    assert "mine" in listed
    assert "curve" not in listed
    assert denoise("models", "remove", "mine").code == 0
    assert sorted({file.name.split(".")[0] for file in path.parent.iterdir()} - {"mine-2-curve"}) == [
        "mine-2"
    ]


def test_a_model_whose_name_ends_in_curve_keeps_its_picture(denoise: Denoise, store: Path) -> None:
    path = fakes.identity(store / "models" / "mine.keras")
    other = fakes.identity(store / "models" / "mine-curve.keras")
    artifacts.write(other, FOUND, history())
    kept = other.with_suffix(".png").read_bytes()
    artifacts.write(path, FOUND, history())
    assert denoise("models", "remove", "mine").code == 0
    assert other.with_suffix(".png").read_bytes() == kept


def test_the_users_own_files_are_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = tmp_path / "mine.keras"
    Image.new("L", (3, 3)).save(tmp_path / "mine.png")
    (tmp_path / "mine.csv").write_text("my,own\n1,2\n")
    (tmp_path / "mine.html").write_text("<p>mine</p>")
    kept = (tmp_path / "mine.png").read_bytes()
    assert not [path for path in artifacts.write(model, FOUND, history()) if "curve" not in path.name]
    assert (tmp_path / "mine.png").read_bytes() == kept
    assert (tmp_path / "mine.csv").read_text() == "my,own\n1,2\n"
    assert (tmp_path / "mine.html").read_text() == "<p>mine</p>"
    assert caplog.text.count("left unchanged") == 3


def test_what_can_not_be_written_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("no folder")
    assert artifacts.write(tmp_path / "file" / "mine.keras", FOUND, history()) == []
    assert "can't be written" in caplog.text

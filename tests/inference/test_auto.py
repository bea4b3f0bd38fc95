"""Which model a picture goes to, colours and all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from denoiser import generator
from denoiser.inference import auto
from tests.helpers.command import Denoise
from tests.helpers.files import pixels


@given(st.lists(st.integers(1, 3), max_size=12), st.data())
def test_a_picture_goes_as_a_whole_or_not_at_all(channels: list[int], data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.integers(0, max(0, sum(channels) - 1)), unique=True))
    whole = auto.whole_pictures(chosen, channels)
    assert set(whole) <= set(chosen)
    starts = np.cumsum([0, *channels])
    for start, count in zip(starts, channels, strict=False):
        picture = set(range(start, start + count))
        assert picture <= set(whole) if picture <= set(chosen) else not picture & set(whole)


def test_coloured_digits_come_back_whole(denoise: Denoise, tmp_path: Path) -> None:
    """The red channel of an orange digit looks like a digit, its weaker green channel doesn't."""
    rng = np.random.default_rng(4)
    folder = tmp_path / "in"
    folder.mkdir()
    for index in range(9):
        large = Image.fromarray(np.rint(255 * generator.digit(rng, index)).astype(np.uint8)).resize((40, 40))
        glyph = np.asarray(large)[..., None] / 255.0 * np.array([1.0, 0.5, 0.1])
        noisy = np.clip(glyph + rng.normal(0, 0.05, glyph.shape), 0, 1)
        Image.fromarray(np.rint(255 * noisy).astype(np.uint8)).save(folder / f"{index}.png")
    outcome = denoise(folder, "--out", tmp_path / "out", "--color")
    assert outcome.code == 0, outcome.err
    for index in range(9):
        assert pixels(tmp_path / "out" / f"{index}.png").shape == (40, 40, 3)

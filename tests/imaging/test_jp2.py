"""The resolution and the tiles of JPEG 2000."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from denoiser.imaging import jp2
from tests.helpers.command import Denoise


def encoded(size: tuple[int, int] = (9, 7)) -> bytes:
    memory = io.BytesIO()
    Image.new("L", size, 77).save(memory, "JPEG2000")
    return memory.getvalue()


SIDES = st.floats(1.0, 1600.0)


@given(SIDES, SIDES)
def test_pillow_reads_what_was_written(across: float, down: float) -> None:
    with Image.open(io.BytesIO(jp2.with_resolution(encoded(), (across, down)))) as image:
        assert image.info["dpi"] == pytest.approx((across, down), rel=2e-4)
        assert image.getpixel((0, 0)) == 77


@pytest.mark.parametrize("side", [0.0, 5000.0])
def test_a_resolution_that_the_format_cant_state_is_left_out(side: float) -> None:
    assert jp2.with_resolution(encoded(), (side, 300.0)) == encoded()


def test_a_cleaned_file_keeps_its_resolution(denoise: Denoise, identity: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (40, 60)).astype(np.uint8)
    memory = io.BytesIO()
    Image.fromarray(pixels).save(memory, "JPEG2000")
    (tmp_path / "x.jp2").write_bytes(jp2.with_resolution(memory.getvalue(), (300.0, 200.0)))
    Image.fromarray(pixels).save(tmp_path / "y.tif", dpi=(300, 200))
    out = tmp_path / "o"
    assert denoise(tmp_path / "x.jp2", tmp_path / "y.tif", "--model", identity, "--out", out).code == 0
    for name in ("x.jp2", "y.tif"):
        with Image.open(out / name) as image:
            assert tuple(map(round, image.info["dpi"])) == (300, 200)
            np.testing.assert_array_equal(np.asarray(image), pixels)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(30, 2500), (2100, 20), (4100, 2049)])
def test_large_pages_are_written_in_tiles_and_are_the_same(
    denoise: Denoise, identity: Path, tmp_path: Path, shape: tuple[int, int]
) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, shape, np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.jp2")
    assert denoise(tmp_path / "x.jp2", "--out", tmp_path / "o", "--model", identity).code == 0
    content = (tmp_path / "o/x.jp2").read_bytes()
    place = content.index(b"\xff\x4f\xff\x51")  # the size of image and tiles (ISO/IEC 15444-1, A.5.1)
    assert struct.unpack_from(">II", content, place + 24) == (2048, 2048)
    with Image.open(tmp_path / "o/x.jp2") as image:
        np.testing.assert_array_equal(np.asarray(image), pixels)

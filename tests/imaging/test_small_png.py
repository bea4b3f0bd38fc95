"""The short way for plain PNG files: the same pixels as by Pillow, and nothing that is not plain."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, PngImagePlugin

from denoiser.imaging import reader, small_png
from denoiser.imaging.open import open_builtin

PICTURES = arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40)))


def saved(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


@given(PICTURES)
def test_what_pillow_writes_is_read_and_what_is_written_pillow_reads(pixels: np.ndarray) -> None:
    decoded = small_png.decode(saved(Image.fromarray(pixels)))
    assert decoded is not None
    np.testing.assert_array_equal(decoded, pixels)
    with Image.open(io.BytesIO(small_png.encode(pixels))) as image:
        assert (image.mode, image.info) == ("L", {})
        np.testing.assert_array_equal(np.asarray(image), pixels)


def test_files_are_no_larger_than_pillow_makes_them() -> None:
    across = np.arange(28)
    noise = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    slope = (2 * across[:, None] + across + (noise & 3)).astype(np.uint8)
    flat = np.where(across % 16 < 3, noise, 0).astype(np.uint8)
    enlarged = np.kron(flat, np.ones((3, 3), np.uint8))
    for pixels in (slope, noise, flat, enlarged):
        assert len(small_png.encode(pixels)) <= len(saved(Image.fromarray(pixels), compress_level=3))


@given(PICTURES, st.data())
def test_a_damaged_file_is_left_to_pillow(pixels: np.ndarray, data: st.DataObject) -> None:
    content = bytearray(small_png.encode(pixels))
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    assert small_png.decode(bytes(content)) is None
    assert small_png.decode(small_png.encode(pixels)[:place]) is None


GRAY = Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20).astype(np.uint8))
TEXT = PngImagePlugin.PngInfo()
TEXT.add_text("title", "x")
OTHERS = {
    "large": saved(Image.new("L", (129, 128))),
    "1 bit": saved(GRAY.convert("1")),
    "16 bit": saved(Image.fromarray(np.zeros((9, 9), np.uint16))),
    "palette": saved(GRAY.convert("P")),
    "colour": saved(GRAY.convert("RGB")),
    "alpha": saved(GRAY.convert("LA")),
    "transparency": saved(GRAY, transparency=3),
    "resolution": saved(GRAY, dpi=(300, 300)),
    "profile": saved(GRAY, icc_profile=b"x" * 200),
    "text": saved(GRAY, pnginfo=TEXT),
    "JPEG": b"\xff\xd8\xff\xe0" + bytes(200),
    "nothing": b"",
}


@pytest.mark.parametrize("case", OTHERS)
def test_what_is_not_plain_is_left_to_pillow(case: str) -> None:
    assert small_png.decode(OTHERS[case]) is None


def test_too_little_data_and_interlacing_are_left_to_pillow() -> None:
    content = small_png.encode(np.zeros((20, 20), np.uint8))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    short = chunk(b"IDAT", zlib.compress(bytes(100)))
    assert small_png.decode(content[:33] + short + chunk(b"IEND", b"")) is None
    interlaced = chunk(b"IHDR", struct.pack(">IIBBBBB", 20, 20, 8, 0, 0, 0, 1))
    assert small_png.decode(content[:8] + interlaced + content[33:]) is None


@given(PICTURES)
def test_both_ways_give_the_same_picture(pixels: np.ndarray) -> None:
    file, path = io.BytesIO(small_png.encode(pixels)), Path("x.png")
    short = open_builtin(file, path)
    assert isinstance(short, small_png.PlainFile)
    long = reader.ImageFile(file, path)
    assert (short.size, short.count, short.format) == (long.size, long.count, long.format)
    (first,), (second,) = short.pages(), long.pages()
    np.testing.assert_array_equal(first.pixels, second.pixels)
    assert (first.page, first.options, first.notes) == (second.page, second.options, second.notes)
    assert isinstance(open_builtin(file, path, max_megapixels=1e-9), reader.ImageFile)

"""Pixels that came out wrong without a word."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from tests.helpers.files import chunk
from tests.helpers.processes import Commands


def png(path: Path, raw: np.ndarray, *, depth: int, colour: int, transparent: bytes) -> None:
    """Write rows of bytes as a PNG with a tRNS chunk."""
    height = len(raw)
    width = raw.shape[1] * 8 // depth // (3 if colour == 2 else 1)
    rows = b"".join(b"\0" + row.tobytes() for row in raw)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = ((b"IHDR", header), (b"tRNS", transparent), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))


@pytest.mark.parametrize(
    ("depth", "colour", "transparent"), [(1, 0, 1), (2, 0, 2), (4, 0, 9), (8, 0, 77), (8, 2, 77)]
)
def test_a_transparent_colour_stays_transparent(
    command: Commands, identity: Path, tmp_path: Path, depth: int, colour: int, transparent: int
) -> None:
    raw = np.random.default_rng(5).integers(0, 256, (40, 60), np.uint8)
    if colour == 2:
        raw[:, :30] = transparent
        samples: np.ndarray = raw.reshape(40, 20, 3)
        expected = (samples == transparent).all(axis=-1)
    else:
        shifts = np.arange(8 - depth, -1, -depth)
        samples = (raw[:, :, None] >> shifts & (1 << depth) - 1).reshape(40, -1)
        expected = samples == transparent
    value = struct.pack(">H", transparent) * (3 if colour == 2 else 1)
    png(tmp_path / "x.png", raw, depth=depth, colour=colour, transparent=value)
    ended = command(tmp_path / "x.png", "--out", tmp_path / "o", "--model", identity)
    assert ended.code == 0, ended.err
    with Image.open(tmp_path / "o/x.png") as image:
        assert image.mode == "LA"
        np.testing.assert_array_equal(np.asarray(image.getchannel("A")) == 0, expected)


def test_transparency_that_cant_be_kept_is_noted(command: Commands, identity: Path, tmp_path: Path) -> None:
    raw = np.random.default_rng(5).integers(0, 256, (40, 60), np.uint8)
    raw[5:9, 4:20] = 7
    png(tmp_path / "x.png", raw, depth=16, colour=0, transparent=b"\7\7")
    ended = command(tmp_path / "x.png", "--out", tmp_path / "o", "--model", identity)
    assert ended.code == 0
    assert "transparency was left out" in ended.err
    with Image.open(tmp_path / "o/x.png") as image:
        assert image.mode == "I;16"


@pytest.mark.parametrize("top", [4095, 65535])
@pytest.mark.parametrize("kind", ["P6", "P3"])
def test_deep_colour_in_a_ppm_is_refused_as_elsewhere(
    command: Commands, identity: Path, tmp_path: Path, top: int, kind: str
) -> None:
    samples = np.random.default_rng(5).integers(0, top + 1, (30, 40, 3)).astype(">u2")
    body = samples.tobytes() if kind == "P6" else " ".join(map(str, samples.ravel())).encode()
    (tmp_path / "x.ppm").write_bytes(f"{kind}\n40 30\n{top}\n".encode() + body)
    ended = command(tmp_path / "x.ppm", "--out", tmp_path / "o", "--model", identity)
    assert ended.code == 1
    assert "16-bit colour" in ended.errors[0]
    assert not (tmp_path / "o/x.ppm").exists()


@pytest.mark.parametrize("damage", ["pointer", "loop", "count", "zeros"])
def test_a_tiff_with_a_damaged_page_is_not_a_shorter_one(
    command: Commands, identity: Path, tmp_path: Path, damage: str
) -> None:
    pages = [Image.new("L", (40, 40), 30 * index) for index in range(6)]
    pages[0].save(tmp_path / "x.tif", save_all=True, append_images=pages[1:])
    content = bytearray((tmp_path / "x.tif").read_bytes())
    places, pointer = [], 4
    while place := int.from_bytes(content[pointer : pointer + 4], "little"):
        places.append((pointer, place))
        pointer = place + 2 + 12 * int.from_bytes(content[place : place + 2], "little")
    assert len(places) == 6
    pointer, place = places[3]
    match damage:
        case "pointer":
            content[pointer : pointer + 4] = struct.pack("<I", len(content) + 1000)
        case "loop":
            content[pointer : pointer + 4] = struct.pack("<I", places[1][1])
        case "count":
            content[place : place + 2] = b"\xff\xff"
        case "zeros":
            content[place : place + 100] = bytes(100)
    (tmp_path / "x.tif").write_bytes(content)
    ended = command(tmp_path / "x.tif", "--out", tmp_path / "o", "--model", identity)
    assert ended.code == 1
    assert "x.tif is damaged" in ended.errors[0]
    assert not (tmp_path / "o/x.tif").exists()


def test_floats_that_have_no_span_are_refused(command: Commands, identity: Path, tmp_path: Path) -> None:
    values = np.linspace(-3e38, 3e38, 1600, dtype=np.float32).reshape(40, 40)
    Image.fromarray(values).save(tmp_path / "x.tif")
    ended = command(tmp_path / "x.tif", "--out", tmp_path / "o", "--model", identity)
    assert ended.code == 1
    assert "x.tif holds values" in ended.errors[0]


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("options", [(), ("--color",)])
def test_a_jpeg_may_call_its_tables_what_it_likes(
    command: Commands, identity: Path, tmp_path: Path, mode: str, options: tuple[str, ...]
) -> None:
    buffer = io.BytesIO()
    image = Image.effect_noise((48, 48), 50).convert(mode)
    image.save(buffer, "JPEG", qtables=[list(range(1, 65))], subsampling=0)
    content = bytearray(buffer.getvalue())
    table, frame = content.index(b"\xff\xdb"), content.index(b"\xff\xc0")
    content[table + 4] = 1
    for index in range(content[frame + 9]):
        content[frame + 12 + 3 * index] = 1
    (tmp_path / "x.jpg").write_bytes(content)
    ended = command(tmp_path / "x.jpg", "--out", tmp_path / "o", "--model", identity, *options)
    assert ended.code == 0, ended.err
    with Image.open(tmp_path / "o/x.jpg") as image:
        assert isinstance(image, JpegImageFile)
        assert next(iter(image.quantization.values())) == list(range(1, 65))


def test_writing_a_page_costs_the_same_however_many_come_before(
    command: Commands, identity: Path, tmp_path: Path
) -> None:
    pages = [Image.new("L", (8, 8), index) for index in range(200)]
    pages[0].save(tmp_path / "x.tif", save_all=True, append_images=pages[1:])
    counting = f"""
import atexit
from denoiser.system import atomic
calls, seek = [0], atomic.Whole.seek
def counted(self, *arguments):
    calls[0] += 1
    return seek(self, *arguments)
atomic.Whole.seek = counted
exit = __import__("os")._exit
def ending(code):
    open({str(tmp_path / "seeks")!r}, "w").write(str(calls[0]))
    exit(code)
__import__("os")._exit = ending
"""
    ended = command(tmp_path / "x.tif", "--out", tmp_path / "o", "--model", identity, patches=[counting])
    assert ended.code == 0
    with Image.open(tmp_path / "o/x.tif") as image:
        assert getattr(image, "n_frames", 1) == 200
        image.seek(199)
        assert image.size == (8, 8)
    assert int((tmp_path / "seeks").read_text()) < 150 * 200

"""Images made to do harm."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from denoiser.imaging.page_size import bytes_a_pixel
from tests.helpers.files import chunk
from tests.helpers.processes import Commands

POSTSCRIPT = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 40 40
%%EndComments
0 0 moveto 40 40 lineto stroke
showpage
%%EOF
"""


def test_no_program_is_started_for_a_file_that_is_not_what_it_is_called(
    command: Commands, identity: Path, tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/gs"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    program.chmod(0o755)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/scan.png").write_bytes(POSTSCRIPT)
    search = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    ended = command(tmp_path / "in", "--out", tmp_path / "o", "--model", identity, env={"PATH": search})
    assert not (tmp_path / "started").exists()
    assert ended.code == 1
    assert "scan.png is not an image that can be read" in ended.err


def test_photographs_of_several_views_are_read(command: Commands, identity: Path, tmp_path: Path) -> None:
    views = [Image.new("L", (60, 40), 40 * index) for index in (1, 2)]
    views[0].save(tmp_path / "x.jpg", "MPO", save_all=True, append_images=views[1:])
    with Image.open(tmp_path / "x.jpg") as image:
        assert image.format == "MPO"
    assert command(tmp_path / "x.jpg", "--out", tmp_path / "o", "--model", identity).code == 0
    with Image.open(tmp_path / "o/x.jpg") as image:
        assert image.format == "JPEG"


def gif(path: Path, side: int) -> None:
    """An image of one pixel on a screen of side x side."""
    path.write_bytes(
        b"GIF89a"
        + struct.pack("<HHBBB", side, side, 0x80, 0, 0)
        + bytes(6)
        + b","
        + struct.pack("<HHHHB", 0, 0, 1, 1, 0)
        + b"\2\2\x44\1\0;"
    )


def png(path: Path, width: int, height: int, data: bytes) -> None:
    """8-bit gray, with `data` for its pixels."""

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", data) + chunk(b"IEND", b""))


def jpeg_without_data(path: Path, side: int) -> None:
    """All headers of a page of side x side, and no pixels: the decoder makes gray of it."""
    buffer = io.BytesIO()
    Image.new("L", (8, 8), 9).save(buffer, "JPEG")
    content = buffer.getvalue()
    frame, scan = content.index(b"\xff\xc0"), content.index(b"\xff\xda")
    content = content[: frame + 5] + struct.pack(">HH", side, side) + content[frame + 9 :]
    path.write_bytes(content[: scan + 2 + int.from_bytes(content[scan + 2 : scan + 4], "big")] + b"\xff\xd9")


def bare_bmp(path: Path, side: int) -> None:
    Image.new("L", (1, 1)).save(path)
    content = bytearray(path.read_bytes())
    content[18:26] = struct.pack("<ii", side, side)
    path.write_bytes(content)


def bare_tiff(path: Path, side: int) -> None:
    Image.new("L", (16, side), 9).save(path, compression="tiff_adobe_deflate")
    content = path.read_bytes()
    for kind in (3, 4):  # the width may be kept as a short or a long
        content = content.replace(
            struct.pack("<HHII", 256, kind, 1, 16), struct.pack("<HHII", 256, 4, 1, side)
        )
    path.write_bytes(content)


def webp(path: Path, side: int) -> None:
    Image.new("L", (side, side), 9).save(path, lossless=True, quality=0, method=0)


EMPTY: dict[str, Callable[[Path], object]] = {
    "screen.gif": lambda path: gif(path, 20_000),
    "screens.gif": lambda path: gif(path, 65_535),
    "bare.jpg": lambda path: jpeg_without_data(path, 20_000),
    "bare.bmp": lambda path: bare_bmp(path, 20_000),
    "bare.tif": lambda path: bare_tiff(path, 20_000),
    "bare.png": lambda path: png(path, 20_000, 20_000, zlib.compress(bytes(20_001))),
    "bare.pgm": lambda path: path.write_bytes(b"P5 20000 20000 255\n" + bytes(100)),
}


@pytest.mark.parametrize("name", EMPTY)
def test_a_file_too_small_for_its_pixels_takes_no_memory(
    command: Commands, identity: Path, tmp_path: Path, name: str
) -> None:
    EMPTY[name](tmp_path / name)
    assert (tmp_path / name).stat().st_size < 100_000
    ended = command(tmp_path / name, "--out", tmp_path / "o", "--model", identity, timeout=20)
    assert not ended.hung
    assert ended.code == 1
    assert len(ended.errors) == 1
    assert name in ended.errors[0]
    assert "decompression bomb" not in ended.errors[0]
    assert ended.peak < 150
    if name == "screens.gif":
        assert "--max-megapixels 4295" in ended.errors[0]


@pytest.mark.slow
def test_blank_pages_are_no_bombs(command: Commands, identity: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    side = 2500
    for name, options in (
        ("a.png", {}),
        ("b.gif", {}),
        ("c.jpg", {"quality": 1, "progressive": True, "optimize": True}),
        ("d.tif", {"compression": "tiff_adobe_deflate"}),
        ("e.tif", {"compression": "group4"}),
        ("f.tif", {"compression": "tiff_lzw"}),
        ("g.tif", {"compression": "packbits"}),
        ("h.bmp", {}),
        ("i.pbm", {}),
        ("j.png", {"optimize": True}),
        ("k.jp2", {}),
    ):
        mode = "1" if name[0] in "eghij" else "L"
        Image.new(mode, (side, side), 1 if mode == "1" else 255).save(tmp_path / "in" / name, **options)
    webp(tmp_path / "in/l.webp", side)
    ended = command(tmp_path / "in", "--out", tmp_path / "o", "--model", identity)
    assert ended.errors == []
    assert "12 cleaned" in ended.err


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 3_000_000), (3_000_000, 1)])
def test_a_page_of_one_row_takes_no_more_memory_than_one_of_one_column(
    command: Commands, identity: Path, tmp_path: Path, shape: tuple[int, int]
) -> None:
    height, width = shape
    png(tmp_path / "x.png", width, height, zlib.compress(bytes(height * (width + 1))))
    ended = command(tmp_path / "x.png", "--out", tmp_path / "o", "--model", identity)
    assert ended.code == 0
    assert ended.peak < 200


@pytest.mark.parametrize(("name", "needed"), [("x.webp", 0.3), ("x.jp2", 0.5), ("x.png", 0.3)])
def test_what_a_codec_needs_in_colour_counts(
    command: Commands, identity: Path, tmp_path: Path, name: str, needed: float
) -> None:
    Image.new("RGB", (3000, 3000)).save(tmp_path / name, lossless=True)
    little = "from denoiser.system import memory; memory.available = lambda: 220 * 10**6"
    common = (tmp_path / name, "--out", tmp_path / "o", "--model", identity)
    ended = command(*common, "--color", patches=[little])
    assert ended.code == 1, ended.err
    assert f"which takes about {needed} GB of memory, and 0.2 GB are free" in ended.errors[0]
    assert command(*common, patches=[little]).code == 0


KINDS = {
    "PNG": ("L", "RGB", "RGBA", "P"),
    "TIFF": ("RGBA", "CMYK"),
    "JPEG": ("RGB", "CMYK"),
    "WEBP": ("L", "RGBA"),
    "GIF": ("P",),
    "JPEG2000": ("L", "RGB", "RGBA"),
}
ENDINGS = {"PNG": "png", "TIFF": "tif", "JPEG": "jpg", "GIF": "gif", "WEBP": "webp", "JPEG2000": "jp2"}
SLACK = 40
"""MB that a run takes for the bands of a large page, whatever its size."""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "mode"), [(name, mode) for name, modes in KINDS.items() for mode in modes])
def test_a_large_page_takes_no_more_memory_than_is_foreseen(
    command: Commands, identity: Path, tmp_path: Path, name: str, mode: str
) -> None:
    """Nine megapixels in a few bytes, in gray and in colour."""
    side, small, page = 3000, tmp_path / "small.png", tmp_path / f"page.{ENDINGS[name]}"
    tone = 9 if len(mode) == 1 else (9, 99, 200, 200)[: len(mode)]
    options: dict[str, Any] = {"compression": "tiff_adobe_deflate"} if name == "TIFF" else {"lossless": True}
    image = Image.new(mode, (side, side), tone)
    if mode == "P":
        image.putpalette(list(range(256)) + [0] * 512)
    image.save(page, name, **options)
    Image.new("L", (400, 400), 9).save(small)
    common = ("--out", tmp_path / "o", "--model", identity, "--force")
    base = command(small, *common).peak
    for color in (False, True):
        ended = command(page, *common, *(["--color"] if color else []))
        assert ended.code == 0, ended.err
        with Image.open(page) as opened:
            each = bytes_a_pixel(name, opened.getbands(), color=color)
        assert (ended.peak - base - SLACK) * 2**20 < each * side**2


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize(("option", "beside"), [("--compare", 3), ("--report", 6)])
def test_what_is_made_of_a_large_page_beside_its_result_takes_no_more_memory_than_is_foreseen(
    command: Commands, identity: Path, tmp_path: Path, option: str, beside: int, mode: str
) -> None:
    side, small, page = 4000, tmp_path / "small.png", tmp_path / "page.png"
    Image.new(mode, (side, side), (9, 99, 200)[: len(mode)] if mode == "RGB" else 9).save(page)
    Image.new("L", (400, 400), 9).save(small)
    common = ("--out", tmp_path / "o", "--model", identity, "--force", "--color")
    base = command(small, *common).peak
    ended = command(page, *common, option, tmp_path / ("r.html" if option == "--report" else "look"))
    assert ended.code == 0, ended.err
    each = bytes_a_pixel("PNG", tuple(mode), color=True, beside=beside)
    assert (ended.peak - base - SLACK) * 2**20 < each * side**2


def test_a_page_that_the_memory_cant_hold_is_refused_before_it_is_decoded(
    command: Commands, identity: Path, tmp_path: Path
) -> None:
    Image.new("1", (8000, 8000), 1).save(tmp_path / "x.tif", compression="group4")
    little = "from denoiser.system import memory; memory.available = lambda: 300 << 20"
    ended = command(tmp_path / "x.tif", "--out", tmp_path / "o", "--model", identity, patches=[little])
    assert ended.code == 1
    assert ended.peak < 150
    assert "x.tif is 8000x8000, which takes about 0.8 GB of memory, and 0.3 GB are free" in ended.errors[0]


def test_what_is_made_of_a_page_beside_its_result_counts_before_it_is_decoded(
    command: Commands, identity: Path, tmp_path: Path
) -> None:
    Image.new("L", (3000, 3000), 9).save(tmp_path / "x.png")
    little = "from denoiser.system import memory; memory.available = lambda: 130 << 20"
    common = (tmp_path / "x.png", "--out", tmp_path / "o", "--model", identity, "--force")
    for options in ((), ("--report", tmp_path / "r.html")):
        ended = command(*common, *options, patches=[little])
        assert ended.code == len(options) // 2, ended.err
    assert "which takes about 0.2 GB of memory, and 0.1 GB are free" in ended.errors[0]

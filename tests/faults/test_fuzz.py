"""Damaged files of every format: each is written, or named in one line of ours.

A few in the ordinary run; by hand, `pytest tests/faults/test_fuzz.py --fuzz 20000 --seed 7`.
"""

from __future__ import annotations

import io
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from PIL.PngImagePlugin import PngInfo

from tests.helpers.files import tree
from tests.helpers.processes import Commands

PILLOW = {"jpg": "JPEG", "pgm": "PPM", "ppm": "PPM", "jp2": "JPEG2000", "tif": "TIFF"}
EXTREMES = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff")
GROUP = 200
"""Files a run: fewer than are spread over processes, so that a crash would be seen as one."""
ORDINARY = 300
_OURS = re.compile(r"^(Error: .*|Note: .*|Cleaning [0-9].*|[0-9]+ (cleaned|failed).*|Nothing to do.*)$")


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="3"/>'
IPTC = b"\xff\xed\0\x24Photoshop 3.0\x008BIM\4\4\0\0\0\0\0\x08\x1c\2\x78\0\3abc"


def texts() -> PngInfo:
    info = PngInfo()
    info.add_text("Title", "about")
    info.add_text("Comment", "about " * 20, zip=True)
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    info.add_itxt("Description", "about", "en", "description", zip=True)
    return info


def tags() -> dict[int, object]:
    return {
        270: "about",
        700: XMP,
        33723: IPTC[30:],
        34377: IPTC[18:],
        34735: (1, 1, 0, 1),
        65000: "own",
        65001: (0.5, 2.0, 8.0),
    }


def seeds() -> list[tuple[str, bytes]]:
    """Small good files of every format, with much in them that can be damaged."""
    rng = np.random.default_rng(2)
    image = Image.fromarray(rng.integers(0, 256, (40, 50), np.uint8)).filter(ImageFilter.GaussianBlur(1))
    deep = Image.fromarray(rng.integers(0, 65536, (40, 50)).astype(np.uint16))
    exif = Image.Exif()
    exif[274], exif[270] = 6, "about"
    rgb, alpha, flat = image.convert("RGB"), image.convert("LA"), image.convert("P")
    kinds: list[tuple[str, Image.Image, dict[str, object]]] = [
        ("png", image, {"exif": exif, "dpi": (300, 300)}),
        ("png", deep, {}),
        ("png", flat, {"transparency": 3}),
        ("png", alpha, {}),
        ("jpg", rgb, {"exif": exif, "quality": 90}),
        ("jpg", image, {"progressive": True}),
        ("bmp", image, {}),
        ("bmp", rgb, {}),
        ("pgm", image, {}),
        ("ppm", rgb, {}),
        ("gif", image, {"save_all": True, "append_images": [image.rotate(90)]}),
        ("webp", rgb, {"lossless": True, "exif": exif}),
        ("webp", image, {"quality": 50}),
        ("jp2", image, {}),
        ("tif", image, {"compression": "tiff_lzw", "dpi": (200, 200)}),
        ("tif", deep, {"compression": "tiff_adobe_deflate"}),
        ("tif", image, {"save_all": True, "append_images": [image, image]}),
        ("tif", image.convert("1"), {"compression": "group4"}),
        ("tif", rgb, {"compression": "jpeg"}),
        ("tif", Image.fromarray(np.asarray(image, np.float32)), {}),
    ]
    kinds += [
        ("png", image, {"pnginfo": texts()}),
        ("jpg", image, {"comment": b"about", "xmp": XMP, "extra": IPTC}),
        ("webp", rgb, {"xmp": XMP}),
        ("gif", image, {"comment": b"about"}),
        ("tif", image, {"compression": "tiff_lzw", "tiffinfo": tags()}),
        ("tif", image, {"tiffinfo": tags()}),
    ]
    found = []
    for ending, kind, options in kinds:
        buffer = io.BytesIO()
        kind.save(buffer, PILLOW.get(ending, ending), **options)
        found.append((ending, buffer.getvalue()))
    return found


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Cut off, overwrite, exchange, repeat or leave out some bytes, most often in the headers."""
    result = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        limit = max(1, min(len(result), 200) if chance.random() < 0.7 else len(result))
        place = chance.randrange(limit)
        match chance.randrange(6):
            case 0:
                del result[max(1, chance.randrange(len(result))) :]
            case 1:
                result[place : place + 1] = bytes([chance.randrange(256)])
            case 2:
                result[place : place + 4] = chance.choice(EXTREMES)
            case 3:
                result[place : place + 1] = bytes([result[place] ^ 1 << chance.randrange(8)])
            case 4:
                result[place:place] = result[place : place + chance.randrange(1, 64)]
            case _:
                del result[place : place + chance.randrange(1, 16)]
        if not result:
            result = bytearray(b"\0")
    return bytes(result)


def test_every_damaged_file_is_written_or_named(
    command: Commands,
    identity: Path,
    tmp_path: Path,
    seed: int,
    repeats: Callable[[str, int], int],
) -> None:
    good = seeds()
    count = repeats("fuzz", ORDINARY)
    for start in range(0, count, GROUP):
        chance = random.Random(f"{seed} {start}")
        folder, out = tmp_path / f"in{start}", tmp_path / f"out{start}"
        folder.mkdir()
        for index in range(start, min(start + GROUP, count)):
            ending, content = good[index % len(good)]
            (folder / f"{index}.{ending}").write_bytes(damaged(content, chance))
        ended = command(folder, "--out", out, "--model", identity, "--max-megapixels", 20, timeout=10 * GROUP)
        assert not ended.hung, start
        assert ended.code in (0, 1), (start, ended.err)
        assert "failed unexpectedly" not in ended.err, (start, ended.err)
        foreign = [line for line in ended.err.splitlines() if not _OURS.match(line)]
        assert not foreign, (start, foreign)
        named = {line.split(" ")[1].removesuffix(":") for line in ended.errors}
        written = {str(folder / name) for name in tree(out)}
        assert named | written == {str(path) for path in folder.iterdir()}, start
        assert not named & written
        assert ended.peak < 1200
        shutil.rmtree(folder)
        shutil.rmtree(out, ignore_errors=True)

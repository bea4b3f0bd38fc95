"""The table of formats and modes: each written, cleaned by a model that does nothing, read by two readers.

`TABLE` is the table of docs/guide/formats.md too: a test holds them equal.
"""

from __future__ import annotations

import gc
import io
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from denoiser.imaging.picture import Picture
from denoiser.imaging.writer import write
from denoiser.page import Page
from tests.helpers.command import Denoise

SHAPE = (37, 45)
RNG = np.random.default_rng(21)
GRAY = RNG.integers(0, 256, SHAPE, np.uint8)
DEEP = RNG.integers(0, 65536, SHAPE, np.uint16)
COLOR = RNG.integers(0, 256, (*SHAPE, 3), np.uint8)
ALPHA = RNG.integers(0, 256, SHAPE, np.uint8)
FLOAT = RNG.random(SHAPE, dtype=np.float32)
PAGE = (Path(__file__).parents[2] / "docs/guide/formats.md").read_text("utf-8")


def luma(color: np.ndarray) -> np.ndarray:
    """Rec. 601, as Pillow rounds it."""
    return np.asarray(Image.fromarray(color).convert("L"))


@dataclass(frozen=True)
class Case:
    """One kind of file.

    Attributes:
        format: as Pillow names it.
        mode: what the page calls it.
        suffix: of its files.
        make: the file's bytes.
        gray: what the output must hold; None where the format loses.
        becomes: the output's mode as Pillow names it.
        note: part of what is said about a change, or "" where nothing changes.
        color: what `--color` must give, where it differs.

    """

    format: str
    mode: str
    suffix: str
    make: Callable[[], bytes]
    gray: np.ndarray | None
    becomes: str
    note: str = ""
    color: np.ndarray | None = None
    extra: str = ""
    tags: dict[str, Any] = field(default_factory=dict)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(header: tuple[int, int], rows: bytes) -> bytes:
    """A PNG of a bit depth and colour type that Pillow does not write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    depth, kind = header
    size = struct.pack(">IIBBBBB", SHAPE[1], SHAPE[0], depth, kind, 0, 0, 0)
    content = chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


def packed_png(bits: int) -> bytes:
    levels = (GRAY >> (8 - bits)).astype(np.uint8)
    planes = np.unpackbits(levels[:, :, None], axis=2)[:, :, 8 - bits :].reshape(SHAPE[0], -1)
    return png((bits, 0), b"".join(b"\0" + np.packbits(row).tobytes() for row in planes))


def spread(bits: int) -> np.ndarray:
    """The 8-bit values that few-bit gray stands for."""
    levels = (GRAY >> (8 - bits)).astype(int) * 255 // (2**bits - 1)
    return np.asarray(levels, np.uint8)


def gray(image: np.ndarray = GRAY) -> Image.Image:
    return Image.fromarray(image)


def bilevel() -> Image.Image:
    return Image.fromarray(GRAY > 128)


def with_alpha(image: Image.Image) -> Image.Image:
    image = image.copy()
    image.putalpha(Image.fromarray(ALPHA))
    return image


def big_endian() -> Image.Image:
    return Image.frombytes("I;16B", SHAPE[::-1], DEEP.astype(">u2").tobytes())


def palette() -> Image.Image:
    return Image.fromarray(COLOR).quantize(64, dither=Image.Dither.NONE)


BLACK_WHITE = np.where(GRAY > 128, 255, 0).astype(np.uint8)
PALETTE = np.asarray(palette().convert("RGB"))
CMYK = np.asarray(Image.fromarray(COLOR).convert("CMYK").convert("RGB"))
TO_GRAY, TO_8, FEW = "colour became gray", "1 bit became 8 bit", "few bits became 8 bit"


def tiffs() -> list[Case]:
    cases = []
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        for mode, make, expected, becomes, note, color in (
            ("8-bit gray", gray, GRAY, "L", "", None),
            ("16-bit gray", lambda: gray(DEEP), DEEP, "I;16", "", None),
            ("16-bit gray, big-endian", big_endian, DEEP, "I;16", "", None),
            ("float32", lambda: gray(FLOAT), FLOAT, "F", "", None),
            ("1-bit", bilevel, BLACK_WHITE, "L", TO_8, None),
            ("gray + alpha", lambda: with_alpha(gray()), GRAY, "LA", "", None),
            ("RGB", lambda: Image.fromarray(COLOR), luma(COLOR), "L", TO_GRAY, COLOR),
            ("RGB + alpha", lambda: with_alpha(Image.fromarray(COLOR)), luma(COLOR), "LA", TO_GRAY, COLOR),
            ("CMYK", lambda: Image.fromarray(COLOR).convert("CMYK"), luma(CMYK), "L", TO_GRAY, CMYK),
            ("palette", palette, luma(PALETTE), "L", TO_GRAY, PALETTE),
        ):
            if (mode, compression) == ("16-bit gray, big-endian", "packbits"):
                continue  # Pillow writes none

            def encode(make: Callable[[], Image.Image] = make, compression: str = compression) -> bytes:
                return saved(make(), "TIFF", compression=compression)

            cases.append(Case("TIFF", mode, ".tif", encode, expected, becomes, note, color, compression))
    for compression in ("group3", "group4", "tiff_ccitt"):

        def fax(compression: str = compression) -> bytes:
            return saved(bilevel(), "TIFF", compression=compression)

        cases.append(Case("TIFF", "1-bit", ".tif", fax, BLACK_WHITE, "L", "CCITT", None, compression))
    for depth, image in ((8, GRAY), (16, DEEP)):

        def white_is_zero(image: np.ndarray = image) -> bytes:
            return saved(gray(image), "TIFF", tiffinfo={262: 0})

        expected = 65535 - DEEP if depth == 16 else GRAY
        mode = f"{depth}-bit gray"
        cases.append(
            Case(
                "TIFF",
                mode,
                ".tif",
                white_is_zero,
                expected,
                "I;16" if depth == 16 else "L",
                extra="white is 0",
            )
        )
    return cases


TABLE = [
    Case("PNG", "1-bit", ".png", lambda: saved(bilevel(), "PNG"), BLACK_WHITE, "L", TO_8),
    Case("PNG", "2-bit gray", ".png", lambda: packed_png(2), spread(2), "L", FEW),
    Case("PNG", "4-bit gray", ".png", lambda: packed_png(4), spread(4), "L", FEW),
    Case("PNG", "8-bit gray", ".png", lambda: saved(gray(), "PNG"), GRAY, "L"),
    Case("PNG", "16-bit gray", ".png", lambda: saved(gray(DEEP), "PNG"), DEEP, "I;16"),
    Case("PNG", "palette of grays", ".png", lambda: saved(gray().convert("P"), "PNG"), GRAY, "L"),
    Case("PNG", "palette", ".png", lambda: saved(palette(), "PNG"), luma(PALETTE), "L", TO_GRAY, PALETTE),
    Case("PNG", "gray + alpha", ".png", lambda: saved(with_alpha(gray()), "PNG"), GRAY, "LA"),
    Case(
        "PNG", "RGB", ".png", lambda: saved(Image.fromarray(COLOR), "PNG"), luma(COLOR), "L", TO_GRAY, COLOR
    ),
    Case(
        "PNG",
        "RGB + alpha",
        ".png",
        lambda: saved(with_alpha(Image.fromarray(COLOR)), "PNG"),
        luma(COLOR),
        "LA",
        TO_GRAY,
        COLOR,
    ),
    *tiffs(),
    Case("JPEG", "8-bit gray", ".jpg", lambda: saved(gray(), "JPEG", quality=90), None, "L"),
    Case(
        "JPEG", "RGB", ".jpg", lambda: saved(Image.fromarray(COLOR), "JPEG", quality=90), None, "L", TO_GRAY
    ),
    Case(
        "JPEG",
        "CMYK",
        ".jpg",
        lambda: saved(Image.fromarray(COLOR).convert("CMYK"), "JPEG", quality=90),
        None,
        "L",
        TO_GRAY,
    ),
    Case("BMP", "1-bit", ".bmp", lambda: saved(bilevel(), "BMP"), BLACK_WHITE, "L", TO_8),
    Case("BMP", "8-bit gray", ".bmp", lambda: saved(gray(), "BMP"), GRAY, "L"),
    Case("BMP", "palette", ".bmp", lambda: saved(palette(), "BMP"), luma(PALETTE), "L", TO_GRAY, PALETTE),
    Case(
        "BMP", "RGB", ".bmp", lambda: saved(Image.fromarray(COLOR), "BMP"), luma(COLOR), "L", TO_GRAY, COLOR
    ),
    Case("PPM", "1-bit", ".pbm", lambda: saved(bilevel(), "PPM"), BLACK_WHITE, "L", TO_8),
    Case("PPM", "8-bit gray", ".pgm", lambda: saved(gray(), "PPM"), GRAY, "L"),
    Case("PPM", "16-bit gray", ".pgm", lambda: saved(gray(DEEP), "PPM"), DEEP, "I"),
    Case(
        "PPM", "RGB", ".ppm", lambda: saved(Image.fromarray(COLOR), "PPM"), luma(COLOR), "L", TO_GRAY, COLOR
    ),
    Case(
        "WEBP",
        "RGB",
        ".webp",
        lambda: saved(Image.fromarray(COLOR), "WEBP", lossless=True),
        luma(COLOR),
        "RGB",
        TO_GRAY,
        COLOR,
    ),
    Case("GIF", "8-bit gray", ".gif", lambda: saved(gray(), "GIF"), GRAY, "L"),
    Case("GIF", "palette", ".gif", lambda: saved(palette(), "GIF"), luma(PALETTE), "L", TO_GRAY),
    Case("JPEG2000", "8-bit gray", ".jp2", lambda: saved(gray(), "JPEG2000"), GRAY, "L"),
    Case("JPEG2000", "16-bit gray", ".jp2", lambda: saved(gray(DEEP), "JPEG2000"), DEEP, "I;16"),
    Case("JPEG2000", "gray + alpha", ".jp2", lambda: saved(with_alpha(gray()), "JPEG2000"), GRAY, "LA"),
    Case(
        "JPEG2000",
        "RGB",
        ".jp2",
        lambda: saved(Image.fromarray(COLOR), "JPEG2000"),
        luma(COLOR),
        "L",
        TO_GRAY,
        COLOR,
    ),
]


def names(cases: list[Case]) -> list[str]:
    return [f"{case.format}-{case.mode}-{case.extra}".replace(" ", "") for case in cases]


def second_reader(path: Path, case: Case) -> np.ndarray | None:
    """Read with a library that shares nothing with Pillow; None where that reads no such thing."""
    if case.format == "TIFF":
        import tifffile

        return np.asarray(tifffile.imread(path))
    if case.format == "GIF":
        return None
    import cv2

    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if found is None:
        return None
    found = np.asarray(found)
    if found.ndim == 3 and found.shape[2] >= 3:
        if case.becomes == "LA" or (found[:, :, 0] == found[:, :, 1]).all():
            return found[:, :, 0]
        return found[:, :, 2::-1]
    return found


def first_band(image: Image.Image) -> np.ndarray:
    return np.asarray(image.getchannel(0) if image.mode in ("LA", "RGB", "P") else image)


@pytest.mark.parametrize("case", TABLE, ids=names(TABLE))
def test_every_mode_comes_back_as_it_should(
    denoise: Denoise, identity: Path, tmp_path: Path, case: Case
) -> None:
    source = tmp_path / f"x{case.suffix}"
    source.write_bytes(case.make())
    outcome = denoise(source, "--out", tmp_path / "out", "--model", identity)
    assert outcome.code == 0, outcome.err
    notes = [line for line in outcome.err.splitlines() if line.startswith("Note")]
    assert bool(notes) == bool(case.note), notes
    assert case.note in "".join(notes)
    path = tmp_path / "out" / source.name
    with Image.open(path) as result:
        assert result.format == case.format
        # A GIF's grays are a palette.
        image: Image.Image = result.convert("L") if case.format == "GIF" else result
        assert image.mode == case.becomes
        assert image.size == SHAPE[::-1]
        seen = first_band(image)
        if case.becomes == "LA":
            np.testing.assert_array_equal(np.asarray(result.getchannel("A")), ALPHA)
    if case.gray is None:
        with Image.open(source) as original:
            expected = np.asarray(original.convert("RGB").convert("L")).astype(int)
        assert np.abs(seen.astype(int) - expected).mean() < 6
        return
    # Merging rounds in float32; whole numbers come out whole.
    exactly = 1e-6 if case.becomes == "F" else 0
    np.testing.assert_allclose(seen, case.gray, rtol=0, atol=exactly)
    again = second_reader(path, case)
    if again is not None:
        if case.format == "TIFF" and case.becomes == "LA":
            again = again[:, :, 0]
        np.testing.assert_allclose(again, case.gray, rtol=0, atol=exactly)


OTHERWISE = ("CMYK", "palette")
COLORED = [case for case in TABLE if case.color is not None]


@pytest.mark.parametrize("case", COLORED, ids=names(COLORED))
def test_colour_comes_back_where_asked(denoise: Denoise, identity: Path, tmp_path: Path, case: Case) -> None:
    source = tmp_path / f"x{case.suffix}"
    source.write_bytes(case.make())
    outcome = denoise(source, "--out", tmp_path / "out", "--model", identity, "--color")
    assert outcome.code == 0, outcome.err
    assert "became gray" not in outcome.err
    assert ("became RGB" in outcome.err) == case.mode.startswith(OTHERWISE)
    with Image.open(tmp_path / "out" / source.name) as result:
        assert result.format == case.format
        np.testing.assert_array_equal(np.asarray(result.convert("RGB")), case.color)
        if "alpha" in case.mode:
            np.testing.assert_array_equal(np.asarray(result.getchannel("A")), ALPHA)


def test_there_are_over_a_hundred_combinations() -> None:
    # Each lossless one is also read by a second reader; colour is cleaned both as gray and as colour.
    second = sum(case.gray is not None and case.format != "GIF" for case in TABLE)
    assert len(TABLE) + len(COLORED) + second > 100


def rows() -> list[str]:
    """The page's lines: one for each format and mode."""
    kept = {
        "": "kept",
        TO_8: "becomes 8-bit gray",
        FEW: "becomes 8-bit gray",
        TO_GRAY: "becomes gray; `--color` keeps it",
        "CCITT": "",
    }
    lines: dict[tuple[str, str], str] = {}
    for case in TABLE:
        if case.note != "CCITT" and case.extra != "white is 0":
            what = kept[case.note]
            if case.mode.startswith(OTHERWISE) and case.format != "GIF":
                what = what.replace("keeps it", "makes it RGB")
            if "alpha" in case.mode:
                what += ", alpha untouched"
            lines.setdefault((case.format, case.mode), f"| {case.format} | {case.mode} | {what} |")
    return list(lines.values())


@pytest.mark.parametrize("row", rows())
def test_the_table_is_the_pages(row: str) -> None:
    assert row in PAGE


REFUSED: dict[str, tuple[str, Callable[[], bytes]]] = {
    "16-bit RGB PNG": (".png", lambda: png((16, 2), b"".join(b"\0" + bytes(6 * 45) for _ in range(37)))),
    "16-bit gray + alpha PNG": (
        ".png",
        lambda: png((16, 4), b"".join(b"\0" + bytes(4 * 45) for _ in range(37))),
    ),
    "16-bit RGB TIFF": (".tif", lambda: tiff(np.zeros((*SHAPE, 3), np.uint16), photometric="rgb")),
    "float64 TIFF": (".tif", lambda: tiff(np.zeros(SHAPE, np.float64))),
    "float16 TIFF": (".tif", lambda: tiff(np.zeros(SHAPE, np.float16))),
    "32-bit TIFF": (".tif", lambda: tiff(np.zeros(SHAPE, np.int32))),
}


def tiff(pixels: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    import tifffile

    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_lose_depth_is_refused_in_one_line(
    denoise: Denoise, identity: Path, tmp_path: Path, name: str
) -> None:
    suffix, make = REFUSED[name]
    source = tmp_path / f"x{suffix}"
    source.write_bytes(make())
    outcome = denoise(source, "--out", tmp_path / "out", "--model", identity)
    assert outcome.code == 1
    errors = [line for line in outcome.err.splitlines() if line.startswith("Error")]
    assert len(errors) == 1
    assert str(source) in errors[0]
    assert "which can't be read" in errors[0] or "Convert it" in errors[0]
    assert not (tmp_path / "out" / source.name).exists()


def test_signed_and_foreign_16_bit_tiffs(denoise: Denoise, identity: Path, tmp_path: Path) -> None:
    """Unsigned 16 bit from another writer is exact; signed is refused, as half of its range has no gray."""
    (tmp_path / "u.tif").write_bytes(tiff(DEEP))
    assert denoise(tmp_path / "u.tif", "--out", tmp_path / "out", "--model", identity).code == 0
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out/u.tif")), DEEP)
    (tmp_path / "s.tif").write_bytes(tiff((DEEP.astype(int) - 32768).astype(np.int16)))
    outcome = denoise(tmp_path / "s.tif", "--out", tmp_path / "out", "--model", identity)
    assert outcome.code == 1
    assert "signed" in outcome.err


def test_a_given_up_tiff_is_left_alone() -> None:
    """Pillow's writer goes on when it is collected, on a file that is closed by then."""

    class Watched(io.BytesIO):
        touched = 0

        def seek(self, offset: int, whence: int = 0, /) -> int:
            Watched.touched += 1
            return super().seek(offset, whence)

    def pages() -> Iterator[Picture]:
        yield Picture(FLOAT, Page(Path("x.tif"), depth=8))
        raise ValueError("odd")

    file, before = Watched(), None
    try:
        write(file, pages(), "TIFF", count=2)
    except ValueError:
        file.close()  # as in a run, before the error lets go of the writer
        before = Watched.touched
    gc.collect()
    assert Watched.touched == before

"""Decoding and encoding: what must survive does."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, JpegImagePlugin, TiffImagePlugin

from denoiser.errors import FileError
from denoiser.imaging import reader
from denoiser.imaging.picture import BECAME_8_BIT, BECAME_GRAY, Picture, quantize
from denoiser.imaging.writer import write

RNG = np.random.default_rng(0)
GRAY8 = RNG.integers(0, 256, (20, 30), np.uint8)
GRAY16 = RNG.integers(0, 65536, (20, 30), np.uint16)
RGB = RNG.integers(0, 256, (20, 30, 3), np.uint8)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def read(content: bytes, **options: Any) -> list[Picture]:
    return list(reader.ImageFile(io.BytesIO(content), Path("x"), **options).pages())


def round_trip(content: bytes, target: str | None = None, **options: Any) -> tuple[Image.Image, list[str]]:
    source = reader.ImageFile(io.BytesIO(content), Path("x"), **options)
    buffer = io.BytesIO()
    pictures = list(source.pages())
    notes = write(buffer, pictures, target or source.format, count=source.count)
    buffer.seek(0)
    return Image.open(buffer), [*(note for picture in pictures for note in picture.notes), *notes]


def pgm16(values: np.ndarray) -> bytes:
    height, width = values.shape
    return b"P5 %d %d 65535\n" % (width, height) + values.astype(">u2").tobytes()


LOSSLESS_8 = ["PNG", "TIFF", "BMP", "PPM", "GIF", "JPEG2000"]


@pytest.mark.parametrize("kind", LOSSLESS_8)
def test_8_bit_gray_comes_back_bit_for_bit(kind: str) -> None:
    result, notes = round_trip(encoded(Image.fromarray(GRAY8), kind))
    assert result.format == kind
    np.testing.assert_array_equal(np.asarray(result.convert("L")), GRAY8)
    assert notes == []


@pytest.mark.parametrize(
    "content",
    [
        encoded(Image.fromarray(GRAY16), "PNG"),
        encoded(Image.fromarray(GRAY16), "TIFF"),
        encoded(Image.fromarray(GRAY16), "TIFF", compression="tiff_lzw"),
        encoded(Image.frombytes("I;16B", (30, 20), GRAY16.astype(">u2").tobytes()), "TIFF"),
        encoded(Image.fromarray(GRAY16), "JPEG2000"),
        pgm16(GRAY16),
    ],
    ids=["png", "tiff", "tiff-lzw", "tiff-be", "jp2", "pgm"],
)
def test_16_bit_stays_16_bit_bit_for_bit(content: bytes) -> None:
    picture = read(content)[0]
    assert picture.page.depth == 16
    np.testing.assert_array_equal(quantize(picture.pixels, 16), GRAY16)
    result, notes = round_trip(content)
    assert result.mode in ("I;16", "I;16B", "I")
    np.testing.assert_array_equal(np.asarray(result).astype(np.uint16), GRAY16)
    assert notes == []


def test_16_bit_white_is_zero_is_not_a_negative() -> None:
    content = encoded(Image.fromarray(GRAY16), "TIFF", tiffinfo={262: 0})
    np.testing.assert_array_equal(quantize(read(content)[0].pixels, 16), 65535 - GRAY16)
    result, _ = round_trip(content)
    assert result.tag_v2[262] == 1  # type: ignore[attr-defined]
    np.testing.assert_array_equal(np.asarray(result), 65535 - GRAY16)


def test_1_bit_becomes_8_and_says_so() -> None:
    bilevel = Image.fromarray(GRAY8 > 128)
    for options in ({}, {"compression": "group4"}):
        result, notes = round_trip(encoded(bilevel, "TIFF", **options))
        assert result.mode == "L"
        np.testing.assert_array_equal(np.asarray(result), np.where(GRAY8 > 128, 255, 0))
        assert BECAME_8_BIT in notes
    assert any("CCITT" in note for note in notes)


def test_floating_point_keeps_its_scale() -> None:
    for values in (GRAY8 / np.float32(255), GRAY8.astype(np.float32) - 40):
        result, notes = round_trip(encoded(Image.fromarray(values.astype(np.float32)), "TIFF"))
        assert result.mode == "F"
        np.testing.assert_allclose(np.asarray(result), values, atol=1e-4)
        assert bool(notes) == (values.max() > 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_a_number_is_refused(bad: float) -> None:
    values = GRAY8.astype(np.float32)
    values[3, 3] = bad
    with pytest.raises(FileError, match="NaN or infinite"):
        read(encoded(Image.fromarray(values), "TIFF"))


def test_colour_becomes_gray_by_its_luma() -> None:
    result, notes = round_trip(encoded(Image.fromarray(RGB), "PNG"))
    assert result.mode == "L"
    np.testing.assert_array_equal(np.asarray(result), np.asarray(Image.fromarray(RGB).convert("L")))
    assert notes == [BECAME_GRAY]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "PPM"])
def test_colour_stays_where_asked(kind: str) -> None:
    result, notes = round_trip(encoded(Image.fromarray(RGB), kind), color=True)
    np.testing.assert_array_equal(np.asarray(result), RGB)
    assert notes == []


def test_transparency_is_untouched() -> None:
    alpha = RNG.integers(0, 256, GRAY8.shape, np.uint8)
    both = Image.merge("LA", [Image.fromarray(GRAY8), Image.fromarray(alpha)])
    result, notes = round_trip(encoded(both, "PNG"))
    assert result.mode == "LA"
    np.testing.assert_array_equal(np.asarray(result)[..., 1], alpha)
    assert notes == []
    result, notes = round_trip(encoded(both, "PNG"), "JPEG")
    assert any("transparency" in note for note in notes)


def test_a_palette_of_grays_is_gray() -> None:
    result, notes = round_trip(encoded(Image.fromarray(GRAY8).convert("P"), "PNG"))
    np.testing.assert_array_equal(np.asarray(result), GRAY8)
    assert notes == []


def test_cmyk_becomes_gray() -> None:
    result, notes = round_trip(encoded(Image.fromarray(RGB).convert("CMYK"), "TIFF"))
    assert result.mode == "L"
    assert notes == [BECAME_GRAY]


@pytest.mark.parametrize(
    ("kind", "target"), [("PNG", "PNG"), ("TIFF", "TIFF"), ("JPEG", "JPEG"), ("PNG", "TIFF")]
)
def test_resolution_survives(kind: str, target: str) -> None:
    result, _ = round_trip(encoded(Image.fromarray(GRAY8), kind, dpi=(300, 150)), target)
    np.testing.assert_allclose([float(side) for side in result.info["dpi"]], (300, 150), atol=0.02)


def test_jpeg_keeps_its_quantisation() -> None:
    content = encoded(Image.fromarray(GRAY8), "JPEG", quality=37)
    before = Image.open(io.BytesIO(content)).quantization  # type: ignore[attr-defined]
    result, _ = round_trip(content)
    assert result.quantization[0] == before[0]  # type: ignore[attr-defined]


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_a_colour_jpeg_keeps_its_tables_and_subsampling(subsampling: int) -> None:
    content = encoded(Image.fromarray(RGB), "JPEG", quality=61, subsampling=subsampling, progressive=True)
    before = Image.open(io.BytesIO(content))
    result, _ = round_trip(content, color=True)
    assert result.quantization == before.quantization  # type: ignore[attr-defined]
    assert JpegImagePlugin.get_sampling(result) == subsampling
    assert result.info.get("progressive")


def test_a_jpeg_from_elsewhere_has_quality_enough() -> None:
    result, _ = round_trip(encoded(Image.fromarray(GRAY8), "PNG"), "JPEG")
    least = Image.open(io.BytesIO(encoded(Image.fromarray(GRAY8), "JPEG", quality=90)))
    assert sum(result.quantization[0]) <= sum(least.quantization[0])  # type: ignore[attr-defined]


def test_orientation_is_applied_and_reset() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "maker"
    for kind in ("JPEG", "PNG", "TIFF"):
        result, _ = round_trip(encoded(Image.fromarray(GRAY8), kind, exif=exif))
        assert result.size == (20, 30), kind
        assert result.getexif().get(0x0112, 1) == 1, kind
        assert result.getexif().get(0x010F) == "maker", kind


@pytest.mark.parametrize("orientation", [3, 5, 6, 7, 8])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_what_is_turned_exchanges_resolutions_and_sides(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif.get_ifd(0x8769).update({0xA002: 30, 0xA003: 20})
    result, _ = round_trip(encoded(Image.fromarray(GRAY8), kind, exif=exif, dpi=(300, 150)))
    on_its_side = orientation != 3
    assert result.size == ((20, 30) if on_its_side else (30, 20))
    if kind != "WEBP":  # which has no resolution
        expected = (150, 300) if on_its_side else (300, 150)
        assert result.info["dpi"] == pytest.approx(expected, rel=1e-3)
    if kind != "TIFF":  # of which EXIF's own directory is not written
        sides = result.getexif().get_ifd(0x8769)
        assert (sides[0xA002], sides[0xA003]) == result.size


def test_colour_that_is_kept_keeps_its_profile_and_pixels() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    other = srgb.replace(b"rXYZ", b"?XYZ").replace(b"bXYZ", b"rXYZ").replace(b"?XYZ", b"bXYZ")
    for kind in ("PNG", "TIFF", "JPEG", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        content = encoded(Image.fromarray(RGB), kind, icc_profile=other, **options)
        [picture] = read(content, color=True)
        assert (picture.page.icc, picture.notes) == (other, ())
        np.testing.assert_array_equal(quantize(picture.pixels, 8), Image.open(io.BytesIO(content)))
        assert round_trip(content, color=True)[0].info["icc_profile"] == other
        assert not np.array_equal(
            read(content)[0].pixels, read(encoded(Image.fromarray(RGB), kind))[0].pixels
        )
    assert read(encoded(Image.fromarray(RGB), "PNG", icc_profile=b"rubbish"), color=True)[0].notes == (
        "an unusable colour profile was ignored",
    )


def test_a_gif_with_more_colours_says_that_they_were_reduced() -> None:
    few = Image.fromarray(RGB // 64 * 64)
    result, notes = round_trip(encoded(few.convert("P"), "GIF"), color=True)
    assert notes == []
    result, notes = round_trip(encoded(Image.fromarray(RGB), "PNG"), "GIF", color=True)
    assert len(result.convert("RGB").getcolors() or ()) <= 256
    assert notes == ["colours were reduced to 256, as GIF holds no more"]


def test_gray_profile_survives_and_a_colour_profile_does_not_become_a_lie() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    result, _ = round_trip(encoded(Image.fromarray(GRAY8), "PNG", icc_profile=profile))
    assert result.info["icc_profile"] == profile
    result, _ = round_trip(encoded(Image.fromarray(RGB), "PNG", icc_profile=profile))
    assert "icc_profile" not in result.info
    result, notes = round_trip(encoded(Image.fromarray(RGB), "PNG", icc_profile=b"rubbish"))
    assert any("profile" in note for note in notes)


def multipage() -> bytes:
    buffer = io.BytesIO()
    pages = [Image.fromarray(GRAY8), Image.fromarray(GRAY16[:10]), Image.fromarray(GRAY8 > 99)]
    with TiffImagePlugin.AppendingTiffWriter(buffer, True) as writer:
        for index, page in enumerate(pages):
            page.save(writer, "TIFF", dpi=(100 + index, 100 + index), tiffinfo={285: f"page {index}"})
            writer.newFrame()
    return buffer.getvalue()


def test_every_page_keeps_its_own_size_depth_and_name() -> None:
    result, _ = round_trip(multipage())
    assert result.n_frames == 3  # type: ignore[attr-defined]
    seen = []
    for index in range(3):
        result.seek(index)
        seen.append((result.size, result.mode, round(result.info["dpi"][0]), result.tag_v2[285]))  # type: ignore[attr-defined]
    assert seen == [
        ((30, 20), "L", 100, "page 0"),
        ((30, 10), "I;16", 101, "page 1"),
        ((30, 20), "L", 102, "page 2"),
    ]


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "group4"])
def test_what_describes_a_page_is_never_rubbish(compression: str) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags.update(
        {254: 2, 270: "a letter", 285: "page one", 297: (0, 28), 306: "2001:02:03 04:05:06", 315: "somebody"}
    )
    page = Image.fromarray(GRAY8 > 99) if compression == "group4" else Image.fromarray(GRAY8)
    result, _ = round_trip(encoded(page, "TIFF", compression=compression, tiffinfo=tags))
    kept = result.tag_v2  # type: ignore[attr-defined]
    for number in (254, 270, 285, 306, 315):
        assert kept[number] == tags[number]
    # Through libtiff Pillow writes rubbish for the number of a page, so there it is left out.
    assert kept.get(297) == ((0, 28) if compression == "raw" else None)


def test_thumbnails_are_no_pages() -> None:
    buffer = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(buffer, True) as writer:
        for subfile in (0, 1, 2):
            Image.fromarray(GRAY8).save(writer, "TIFF", tiffinfo={254: subfile})
            writer.newFrame()
    assert len(read(buffer.getvalue())) == 2


@pytest.mark.parametrize(
    "content",
    [
        encoded(Image.fromarray(GRAY8), "PNG"),
        encoded(Image.fromarray(GRAY16), "PNG"),
        encoded(Image.fromarray(GRAY16), "TIFF"),
        encoded(Image.fromarray(GRAY16), "TIFF", tiffinfo={262: 0}),
        encoded(Image.frombytes("I;16B", (30, 20), GRAY16.astype(">u2").tobytes()), "TIFF"),
        encoded(Image.fromarray(RGB), "PNG"),
        encoded(Image.fromarray(GRAY8 > 99), "PNG"),
        pgm16(GRAY16),
    ],
    ids=["8", "16", "16 TIFF", "white is 0", "big-endian", "RGB", "1 bit", "PGM"],
)
def test_a_large_page_is_converted_in_parts(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    (whole,) = read(content, color=True)
    monkeypatch.setattr(reader, "_CONVERTED", 100)
    (parts,) = read(content, color=True)
    np.testing.assert_array_equal(parts.pixels, whole.pixels)


@pytest.mark.parametrize("orientation", [1, 6])
def test_only_what_lies_on_its_side_is_turned(orientation: int) -> None:
    (page,) = read(encoded(Image.fromarray(GRAY8), "TIFF", tiffinfo={274: orientation}))
    expected = GRAY8 if orientation == 1 else np.rot90(GRAY8, 3)
    np.testing.assert_array_equal(np.rint(255 * page.pixels), expected)


def tiff(kinds: tuple[int, ...], code: int, order: str, *, big: bool) -> bytes:
    """A TIFF by hand: a page of 4x2 pixels for each kind, all of them with the same pixels."""
    mark = b"MM" if order == ">" else b"II"
    place, count, after = ("Q", "Q", "Q") if big else ("I", "H", "I")
    head = struct.pack(f"{order}HHHQ", 43, 8, 0, 24) if big else struct.pack(f"{order}HI6x", 42, 24)
    content = (mark + head).ljust(16, b"\0") + bytes(range(8))
    for index, kind in enumerate(kinds):
        tags = [(254, code, kind), (256, 3, 4), (257, 3, 2), (258, 3, 8), (259, 3, 1), (262, 3, 1)]
        tags += [(273, 4, 16), (277, 3, 1), (278, 3, 2), (279, 4, 8)]
        content += struct.pack(f"{order}{count}", len(tags))
        for number, type_, value in tags:
            packed = struct.pack(f"{order}{' BBHI'[type_]}", value)
            content += struct.pack(f"{order}HH{place}", number, type_, 1)
            content += packed.ljust(struct.calcsize(place), b"\0")
        end = len(content) + struct.calcsize(after)
        content += struct.pack(f"{order}{after}", end if index < len(kinds) - 1 else 0)
    return content


@pytest.mark.parametrize(
    ("order", "big"), [("<", False), (">", False), ("<", True)]
)  # Pillow opens no BigTIFF in the other order
@pytest.mark.parametrize("code", [1, 3, 4])
def test_reduced_pages_are_found_however_they_are_marked(code: int, order: str, big: bool) -> None:
    pages = read(tiff((0, 1, 2, 3), code, order, big=big))
    assert [page.page.count for page in pages] == [2, 2]
    for page in pages:
        np.testing.assert_array_equal(np.rint(255 * page.pixels), np.arange(8).reshape(2, 4))


def test_a_thumbnail_after_the_only_page_is_left_out() -> None:
    buffer = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(buffer, True) as writer:
        for image, subfile in ((GRAY8, 0), (GRAY8[::4, ::4], 1)):
            Image.fromarray(np.ascontiguousarray(image)).save(writer, "TIFF", tiffinfo={254: subfile})
            writer.newFrame()
    file = reader.ImageFile(io.BytesIO(buffer.getvalue()), Path("x.tif"))
    assert (file.count, file.size) == (1, GRAY8.shape[::-1])
    np.testing.assert_array_equal(np.asarray(round_trip(buffer.getvalue())[0]), GRAY8)


def test_pages_do_not_fit_a_format_of_one() -> None:
    with pytest.raises(FileError, match="has 3 pages, and PNG holds one"):
        round_trip(multipage(), "PNG")


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_an_animation_gives_its_first_frame_and_says_so(kind: str) -> None:
    frames = [Image.fromarray(GRAY8), Image.fromarray(255 - GRAY8)]
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)
    result, notes = round_trip(content)
    assert not getattr(result, "is_animated", False)
    assert np.abs(np.asarray(result.convert("L")).astype(int) - GRAY8).max() <= 1
    assert any("first frame" in note for note in notes)


def test_16_bit_colour_is_refused_rather_than_reduced() -> None:
    import struct
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + bytes(4 * 6) for _ in range(4))
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0))
    png += chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    with pytest.raises(FileError, match="16-bit colour"):
        read(png)


def test_a_depth_that_does_not_fit_is_reduced_and_said() -> None:
    result, notes = round_trip(encoded(Image.fromarray(GRAY16), "PNG"), "JPEG")
    assert result.mode == "L"
    assert any("16 bit became 8 bit" in note for note in notes)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"just text", "not an image"),
        (encoded(Image.fromarray(GRAY8), "PNG")[:-30], "decoded|damaged"),
        (encoded(Image.fromarray(GRAY8), "TIFF")[:90], "decoded|damaged|not an image"),
        (encoded(Image.fromarray(GRAY8), "JPEG")[:-200], "decoded|damaged"),
        (b"P5 0 5 255\n", "pixels|image|damaged"),
    ],
    ids=["text", "png", "tiff", "jpeg", "nothing"],
)
def test_damage_is_one_clear_line(content: bytes, reason: str) -> None:
    with pytest.raises(FileError, match=reason) as caught:
        read(content)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "highest"),
    [
        (b"P5 2 2 100\n" + bytes([0, 50, 100, 200]), 200),
        (b"P6 1 1 100\n" + bytes([0, 50, 101]), 101),
        (b"P5 2 1 1000\n" + np.array([1000, 1001], ">u2").tobytes(), 1001),
    ],
)
def test_values_above_the_header_s_maximum_are_refused_rather_than_clipped(
    content: bytes, highest: int
) -> None:
    with pytest.raises(FileError, match=rf"damaged: its header says .* values up to {highest}\."):
        read(content, color=True)


def test_a_maximum_of_its_own_is_white() -> None:
    picture = read(b"P5 2 2 100\n" + bytes([0, 50, 100, 10]))[0]
    np.testing.assert_allclose(picture.pixels, np.array([[0, 0.5], [1, 0.1]]), atol=0.5 / 255)
    deep = read(b"P5 2 1 1000\n" + np.array([1000, 250], ">u2").tobytes())[0]
    np.testing.assert_allclose(deep.pixels, np.array([[1, 0.25]]), atol=1e-5)


def test_too_large_a_page_is_refused_before_decoding() -> None:
    bomb = encoded(Image.new("L", (4000, 3000)), "PNG")
    with pytest.raises(FileError, match="max-megapixels 12"):
        read(bomb, max_megapixels=11)
    assert read(bomb, max_megapixels=12)[0].pixels.shape == (3000, 4000)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("shape", [(1, 1), (300, 700), (40, 50, 3)])
def test_pixels_may_be_rounded_where_they_are(shape: tuple[int, ...], depth: int) -> None:
    pixels = np.random.default_rng(1).random(shape, np.float32)
    expected = quantize(pixels, depth)
    made = quantize(pixels, depth, overwrite=True)
    assert np.shares_memory(made, pixels)
    np.testing.assert_array_equal(made, expected)


def test_pixels_that_may_not_be_written_stay() -> None:
    pixels = np.random.default_rng(1).random((30, 40), np.float32)
    pixels.flags.writeable = False
    before = pixels.copy()
    np.testing.assert_array_equal(quantize(pixels, 8, overwrite=True), quantize(before, 8))
    np.testing.assert_array_equal(pixels, before)

"""What a file tells about itself comes back with it, or a note says what did not."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import IFDRational, ImageFileDirectory_v2

from denoiser.errors import FileError
from denoiser.imaging import metadata
from denoiser.imaging.reader import ImageFile
from denoiser.imaging.writer import write
from tests.helpers.command import Outcome

Denoise = Callable[..., Outcome]
GRAY = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50), np.uint8))
XMP = (
    b'<?xpacket begin="\xef\xbb\xbf"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description '
    b'dc:creator="Zo\xc3\xab"/></x:xmpmeta><?xpacket end="w"?>'
)
TURNED = XMP.replace(b"dc:", b'tiff:Orientation="6" dc:')
IPTC = b"\x1c\x02\x78\x00\x05words"
RESOURCES = b"8BIM\x04\x24\x00\x00\x00\x00\x00\x03abc\x00" + b"8BIM\x04\x04\x00\x00\x00\x00\x00\x0a" + IPTC


def encoded(kind: str, image: Image.Image = GRAY, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def directory(**tags: tuple[int, Any]) -> ImageFileDirectory_v2:
    """Make a TIFF's directory of tags, `t` and their number to type and value."""
    made = ImageFileDirectory_v2()
    for name, (kind, value) in tags.items():
        made.tagtype[int(name[1:])] = kind
        made[int(name[1:])] = value
    return made


def png() -> bytes:
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    info.add_text("Title", "caf\u00e9")
    info.add_text("Comment", "a long story " * 200, zip=True)
    info.add_itxt("Description", "\u30b9\u30ad\u30e3\u30f3", "ja", "\u8aac\u660e")
    return encoded("PNG", pnginfo=info, dpi=(300, 300))


def segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


EXTENDED = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32 + struct.pack(">II", 4, 0) + b"more"


def jpeg() -> bytes:
    extra = segment(0xED, b"Photoshop 3.0\0" + RESOURCES) + segment(0xFE, b"first") + segment(0xFE, b"second")
    return encoded("JPEG", xmp=XMP, extra=extra + segment(0xE1, EXTENDED))


TAGS: dict[str, tuple[int, Any]] = {
    "t270": (2, "caf\u00e9 \u00b5m".encode()),
    "t315": (2, "Zo\u00eb".encode("latin-1")),
    "t700": (1, XMP),
    "t33432": (2, b"nobody"),
    "t33550": (12, (0.5, 0.25, 0.0)),
    "t33723": (7, IPTC),
    "t34735": (3, (1, 1, 0, 1)),
    "t34737": (2, b"WGS 84|"),
    "t42113": (2, b"-9999"),
    "t65000": (1, b"bytes\0\1"),
    "t65001": (9, (-70000, 5)),
    "t65002": (5, (IFDRational(1, 4),)),
    "t65003": (11, (0.5, 1.5)),
}


def tiff(compression: str = "tiff_lzw", image: Image.Image = GRAY) -> bytes:
    return encoded("TIFF", image, compression=compression, tiffinfo=directory(**TAGS))


@dataclass
class Back:
    """A file that was read and written, as Pillow reads it again."""

    image: Any
    notes: list[str]


def round_trip(content: bytes, target: str | None = None) -> Back:
    source = ImageFile(io.BytesIO(content), Path("x"))
    pictures = list(source.pages())
    buffer = io.BytesIO()
    notes = write(buffer, pictures, target or source.format, count=source.count)
    buffer.seek(0)
    image = Image.open(buffer)
    image.load()
    return Back(image, [*(note for picture in pictures for note in picture.notes), *notes])


def test_png_keeps_xmp_and_all_its_texts() -> None:
    back = round_trip(png())
    assert back.notes == []
    assert back.image.info["xmp"] == XMP
    text = back.image.text
    assert (text["Title"], text["Comment"]) == ("caf\u00e9", "a long story " * 200)
    assert (text["Description"], text["Description"].lang) == ("\u30b9\u30ad\u30e3\u30f3", "ja")
    assert text["Description"].tkey == "\u8aac\u660e"
    assert back.image.info["dpi"] == pytest.approx((300, 300), abs=0.01)


def test_a_small_plain_png_with_a_text_keeps_it(denoise: Denoise, identity: Path, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png())
    assert denoise(tmp_path / "x.png", "--out", tmp_path / "out", "--model", identity).code == 0
    with Image.open(tmp_path / "out/x.png") as image:
        assert image.info["Title"] == "caf\u00e9"


def test_jpeg_keeps_xmp_iptc_and_every_comment() -> None:
    back = round_trip(jpeg())
    assert back.notes == []
    assert back.image.info["xmp"] == XMP
    assert back.image.info["photoshop"][0x0404] == IPTC
    assert [data for name, data in back.image.applist if name == "COM"] == [b"first", b"second"]
    assert EXTENDED in [data for name, data in back.image.applist if name == "APP1"]


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_tiff_keeps_its_description_and_private_tags(compression: str) -> None:
    back = round_trip(tiff(compression))
    assert back.notes == []
    for name, (kind, value) in TAGS.items():
        number = int(name[1:])
        found = back.image.tag_v2[number]
        if kind == 2:
            found = found.encode("latin-1")
        assert found == (value[0] if isinstance(value, tuple) and len(value) == 1 else value), name
        assert back.image.tag_v2.tagtype[number] == kind, name


def test_every_page_of_a_tiff_keeps_its_own() -> None:
    pages = [GRAY.copy() for _ in range(3)]
    for index, page in enumerate(pages):
        page.encoderinfo = {"tiffinfo": directory(t270=(2, b"page %d" % index), t65000=(4, (index + 1,)))}
    buffer = io.BytesIO()
    pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:], tiffinfo=directory(t270=(2, b"0")))
    first = [
        page.metadata.tags[270].value for page in ImageFile(io.BytesIO(buffer.getvalue()), Path("x")).pages()
    ]
    back = round_trip(buffer.getvalue())
    again = []
    for index in range(3):
        back.image.seek(index)
        again.append(back.image.tag_v2[270].encode())
    assert again == first
    assert len(again) == 3


@pytest.mark.parametrize("kind", ["GIF", "JPEG2000"])
def test_a_comment_stays(kind: str) -> None:
    assert round_trip(encoded(kind, comment=b"who and when")).image.info["comment"] == b"who and when"


def test_webp_keeps_xmp() -> None:
    assert round_trip(encoded("WEBP", GRAY.convert("RGB"), xmp=XMP)).image.info["xmp"] == XMP


@pytest.mark.parametrize("target", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("make", [png, jpeg, tiff])
def test_xmp_goes_from_format_to_format(make: Callable[[], bytes], target: str) -> None:
    info = round_trip(make(), target).image.info
    assert info["xmp"] == XMP


def test_what_a_format_cannot_hold_is_said() -> None:
    assert "IPTC left out, as PNG holds none" in round_trip(jpeg(), "PNG").notes
    assert "TIFF tags left out, as PNG holds none" in round_trip(tiff(), "PNG").notes
    assert "PNG text left out, as JPEG holds none" in round_trip(png(), "JPEG").notes
    assert "XMP left out, as BMP holds none" in round_trip(png(), "BMP").notes
    assert "comments left out, as TIFF holds none" in round_trip(jpeg(), "TIFF").notes
    assert round_trip(encoded("TIFF"), "PNG").notes == []


def test_comments_are_texts_of_that_name_in_png() -> None:
    assert round_trip(encoded("JPEG", comment=b"by hand"), "PNG").image.text["Comment"] == "by hand"
    info = PngInfo()
    info.add_text("Comment", "by hand")
    assert round_trip(encoded("PNG", pnginfo=info), "JPEG").image.info["comment"] == b"by hand"


def test_iptc_in_photoshops_tag_of_a_tiff_is_found() -> None:
    content = encoded("TIFF", tiffinfo=directory(t34377=(1, RESOURCES)))
    assert round_trip(content).image.tag_v2[metadata.IPTC_TAG] == IPTC
    assert round_trip(content, "JPEG").image.info["photoshop"][0x0404] == IPTC


def test_xmp_says_that_an_image_turned_upright_is_upright() -> None:
    exif = Image.Exif()
    exif[274] = 6
    back = round_trip(encoded("JPEG", xmp=TURNED, exif=exif))
    assert back.image.size == GRAY.size[::-1]
    assert back.image.info["xmp"] == TURNED.replace(b'"6"', b'"1"')
    # Without EXIF nothing was turned, and what the packet says of the pixels is as true as before.
    assert round_trip(encoded("JPEG", xmp=TURNED)).image.info["xmp"] == TURNED
    back = round_trip(encoded("TIFF", tiffinfo=directory(t700=(1, TURNED))))
    assert back.image.size == GRAY.size[::-1]
    assert b"tiff:Orientation" not in back.image.info["xmp"]


@pytest.mark.parametrize("kind", [2, 3])
def test_an_xmp_packet_of_another_type_is_no_fault_of_the_pixels(kind: int) -> None:
    content = with_tags(encoded("TIFF"), {700: (kind, XMP.ljust(2 * len(XMP), b" "))})
    assert round_trip(content).image.size == GRAY.size


@pytest.mark.parametrize("make", [png, jpeg, tiff])
def test_strip_metadata_leaves_resolution_and_profile(
    denoise: Denoise, identity: Path, tmp_path: Path, make: Callable[[], bytes]
) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    source = tmp_path / "x"
    image = Image.open(io.BytesIO(make()))
    options: dict[str, Any] = {"dpi": (200, 200), "icc_profile": profile}
    exif = Image.Exif()
    exif[315] = "somebody"
    if image.format == "PNG":
        info = PngInfo()
        info.add_text("Title", "secret")
        options |= {"pnginfo": info, "exif": exif}
    elif image.format == "JPEG":
        options |= {"comment": b"secret", "xmp": XMP, "exif": exif}
    else:
        options |= {"tiffinfo": directory(t270=(2, b"secret"), t700=(1, XMP), t65000=(2, b"secret"))}
    source.write_bytes(encoded(image.format or "", **options))
    for out, option in (("kept", []), ("stripped", ["--strip-metadata"])):
        assert denoise(source, "--out", tmp_path / out, "--model", identity, *option).code == 0
    kept, stripped = ((tmp_path / out / "x").read_bytes() for out in ("kept", "stripped"))
    assert b"secret" in kept
    for private in (b"secret", b"somebody", b"xmpmeta"):
        assert private not in stripped
    with Image.open(tmp_path / "stripped/x") as left:
        assert left.info["dpi"] == pytest.approx((200, 200), abs=0.02)
        assert left.info["icc_profile"] == profile


ONE_BIT = Image.fromarray(np.asarray(GRAY) > 128)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".tif", {"compression": "group4"}),
        (".tif", {"compression": "group3"}),
        (".tif", {"compression": "tiff_ccitt"}),
        (".tif", {"compression": "tiff_lzw"}),
        (".tif", {"compression": "packbits"}),
        (".tif", {}),
        (".png", {}),
        (".bmp", {}),
        (".pbm", {}),
    ],
)
def test_bilevel_pages_stay_bilevel(
    denoise: Denoise, identity: Path, tmp_path: Path, suffix: str, options: dict[str, Any]
) -> None:
    source = tmp_path / f"x{suffix}"
    ONE_BIT.save(source, **options)
    outcome = denoise(source, "--out", tmp_path / "out", "--model", identity, "--bilevel")
    assert outcome.code == 0, outcome.err
    assert "Note" not in outcome.err
    with Image.open(tmp_path / "out" / source.name) as result, Image.open(source) as original:
        assert result.mode == "1"
        assert result.info.get("compression") == original.info.get("compression")
        np.testing.assert_array_equal(np.asarray(result), np.asarray(ONE_BIT))


def test_bilevel_cuts_at_a_half_and_leaves_gray_pages_gray(
    denoise: Denoise, flattener: Path, tmp_path: Path
) -> None:
    """A model that makes means of a patch: what is mostly white becomes white."""
    pages = np.zeros((28, 56), bool)
    pages[:20, :28], pages[:8, 28:] = True, True
    first, second = Image.fromarray(pages), Image.new("L", (56, 28), 77)
    first.save(tmp_path / "x.tif", save_all=True, append_images=[second])
    options = ("--model", flattener, "--bilevel", "--stride", 28)
    assert denoise(tmp_path / "x.tif", "--out", tmp_path / "out", *options).code == 0
    with Image.open(tmp_path / "out/x.tif") as result:
        assert result.mode == "1"
        np.testing.assert_array_equal(np.asarray(result), np.repeat([[True, False]], 28, 0).repeat(28, 1))
        result.seek(1)
        assert result.mode == "L"


def test_bilevel_says_where_it_cannot_be(denoise: Denoise, identity: Path, tmp_path: Path) -> None:
    ONE_BIT.save(tmp_path / "x.png", transparency=1)
    outcome = denoise(tmp_path / "x.png", "--out", tmp_path / "a", "--model", identity, "--bilevel")
    assert "1 bit became 8 bit, as transparency needs it" in outcome.err
    outcome = denoise(
        *(tmp_path / "x.png", "--out", tmp_path / "b", "--model", identity, "--bilevel", "--format", "jpeg")
    )
    assert "1 bit became 8 bit, as JPEG has none" in outcome.err


@pytest.mark.parametrize("option", ["--strip-metadata", "--bilevel"])
def test_both_options_decide_whether_an_output_is_up_to_date(
    denoise: Denoise, identity: Path, tmp_path: Path, option: str
) -> None:
    (tmp_path / "x.png").write_bytes(png())
    job = (tmp_path / "x.png", "--out", tmp_path / "out", "--model", identity)
    assert "1 cleaned" in denoise(*job).err
    assert "1 up to date" in denoise(*job).err
    assert "1 cleaned" in denoise(*job, option).err
    assert "1 up to date" in denoise(*job, option).err
    assert "1 cleaned" in denoise(*job).err


# --- hostile metadata ---


def test_more_than_anybody_writes_is_left_out_and_said() -> None:
    huge = b"x" * (metadata.MOST_BYTES + 1)
    back = round_trip(encoded("TIFF", tiffinfo=directory(t270=(2, b"kept"), t65000=(1, huge))))
    assert metadata.TOO_MUCH in back.notes
    assert 65000 not in back.image.tag_v2
    assert back.image.tag_v2[270] == "kept"
    numbers = tuple(range(300_000))
    back = round_trip(encoded("TIFF", tiffinfo=directory(t65000=(4, numbers))))
    assert metadata.TOO_MUCH in back.notes
    assert 65000 not in back.image.tag_v2


def test_what_is_too_long_for_a_jpeg_is_said() -> None:
    long = XMP + b" " * 70_000
    content = encoded("TIFF", tiffinfo=directory(t700=(1, long), t33723=(7, IPTC * 8000)))
    notes = round_trip(content, "JPEG").notes
    assert "XMP left out, as JPEG holds 64 KB of it" in notes
    assert "IPTC left out, as JPEG holds 64 KB of it" in notes
    exif = Image.Exif()
    exif[270] = "x" * 70_000
    assert "EXIF left out, as JPEG holds 64 KB of it" in round_trip(encoded("PNG", exif=exif), "JPEG").notes
    info = PngInfo()
    info.add_text("Comment", "x" * 70_000)
    content = encoded("PNG", pnginfo=info)
    for target in ("JPEG", "JPEG2000"):
        assert f"a comment left out, as {target} holds 64 KB of it" in round_trip(content, target).notes


@given(st.binary(max_size=80))
def test_photoshops_resources_may_be_rubbish(block: bytes) -> None:
    for content in (block, RESOURCES[:20] + block, block + RESOURCES):
        assert isinstance(metadata._resource(content, 0x0404), bytes)
    assert metadata._resource(RESOURCES, 0x0404) == IPTC


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(
    st.dictionaries(
        st.one_of(
            st.sampled_from([269, 270, 306, 315, 700, 33432, 33723, 34377, 34735]), st.integers(32768, 65535)
        ),
        st.tuples(st.sampled_from([*range(1, 14), 16]), st.binary(min_size=1, max_size=64)),
        max_size=6,
    ),
    st.sampled_from(["raw", "tiff_lzw"]),
)
@example({45570: (3, b"\0\0")}, "raw")  # Pillow makes a fraction of it, and can't write that as an integer
@example({45570: (3, b"\0\0")}, "tiff_lzw")
@example({34675: (3, b"\0\1")}, "tiff_lzw")  # numbers for a colour profile
def test_tags_of_any_type_are_written_or_left_out(
    tags: dict[int, tuple[int, bytes]], compression: str
) -> None:
    """A directory whose tags are anything: nothing fails, and what is carried comes back the same."""
    content = with_tags(encoded("TIFF", compression="raw"), tags)
    source = ImageFile(io.BytesIO(content), Path("x"))
    try:
        (picture,) = source.pages()
    except FileError:
        assert tags.keys() & {34665, 34853, 40965}  # a place outside of the file, at which Pillow gives up
        return
    picture.options["compression"] = compression
    buffer = io.BytesIO()
    write(buffer, [picture], "TIFF", count=1)
    buffer.seek(0)
    (again,) = ImageFile(buffer, Path("x")).pages()
    np.testing.assert_array_equal(again.pixels, picture.pixels)
    texts = {number: tag for number, tag in picture.metadata.tags.items() if isinstance(tag.value, bytes)}
    for number, tag in texts.items():
        if tag.type != 2:
            assert again.metadata.tags[number] == tag
    assert (again.metadata.xmp, again.metadata.iptc) == (picture.metadata.xmp, picture.metadata.iptc)


SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}


def with_tags(content: bytes, tags: dict[int, tuple[int, bytes]]) -> bytes:
    """Put tags into the directory of a little-endian TIFF, as raw bytes, at its end."""
    (place,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, place)
    entries = [content[place + 2 + 12 * index : place + 14 + 12 * index] for index in range(count)]
    data, start = b"", len(content)
    for number, (kind, value) in tags.items():
        size = SIZES[kind]
        value = value[: len(value) // size * size]
        if len(value) > 4:
            where = struct.pack("<I", start + len(data))
            data += value + b"\0" * (len(value) % 2)
        else:
            where = value.ljust(4, b"\0")
        entries.append(struct.pack("<HHI", number, kind, len(value) // size) + where)
    entries.sort(key=lambda entry: struct.unpack_from("<H", entry))
    table = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return content[:4] + struct.pack("<I", start + len(data)) + content[8:] + data + table


def test_a_text_that_grows_a_thousandfold_takes_no_memory(
    denoise: Denoise, identity: Path, tmp_path: Path
) -> None:
    info = PngInfo()
    info.add_text("Comment", "x" * (8 << 20), zip=True)
    (tmp_path / "x.png").write_bytes(encoded("PNG", pnginfo=info))
    outcome = denoise(tmp_path / "x.png", "--out", tmp_path / "out", "--model", identity)
    assert outcome.code == 1
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("Error")]
    assert "decompressed data too large" in line
    assert "Traceback" not in outcome.err

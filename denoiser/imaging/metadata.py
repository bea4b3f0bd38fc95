"""What a file tells about itself beside its pixels: XMP, IPTC, text, comments, and the tags of a TIFF.

It is carried as bytes, and not interpreted. EXIF, resolution and colour profile are known to plugins and are
part of `Page`. Every format has limits of its own: what one can't hold is left out, with a note.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from PIL import Image

MOST_BYTES = 16 << 20
"""More than this of one page is left out: nobody writes so much about an image, and it stays in memory."""

_MOST_NUMBERS = 1 << 20
"""Bytes of a tag that holds numbers, which Pillow makes an object each of."""

TOO_MUCH = f"metadata beyond {MOST_BYTES >> 20} MB were left out"
_SEGMENT = 65_533
"""Bytes that one JPEG segment or JPEG 2000 comment can hold."""

_XMP_HEADER = b"http://ns.adobe.com/xap/1.0/\0"
_EXTENDED = b"http://ns.adobe.com/xmp/extension/\0"
_PHOTOSHOP, _IPTC_RESOURCE = b"Photoshop 3.0\0", 0x0404
_XMP_KEYWORD, _COMMENT = "XML:com.adobe.xmp", "Comment"
_LONG_TEXT = 1024

_ASCII, _BYTE, _UNDEFINED, _LONG = 2, 1, 7, 4
_BYTES = frozenset((_BYTE, _ASCII, _UNDEFINED))
_NUMBERS = frozenset((3, 4, 5, 6, 8, 9, 10, 11, 12))
_TEXT_TAGS = frozenset((269, 270, 271, 272, 285, 305, 306, 315, 316, 33432))
"""Document, description, make, model, page, software, date, artist, computer, copyright."""

XMP_TAG, IPTC_TAG, PHOTOSHOP_TAG = 700, 33723, 34377
_PRIVATE = 32768
_NOT_CARRIED = frozenset(
    (
        *(32995, 32996, 32997, 32998, 33421, 33422, *range(33300, 33307)),  # how the pixels are coded
        *(IPTC_TAG, PHOTOSHOP_TAG, 34675),  # carried by themselves: IPTC and the colour profile
        *(34665, 34853, 40965),  # places of further directories in the old file
        *(34908, 34909, 34910, 34911, 37439, 50674),  # libtiff has a form of its own for these
        37724,  # Photoshop's layers, which are the picture as it was
        *range(45056, 45582),  # the other views of a file of several (CIPA DC-007)
        *range(50706, 50838),  # raw photographs (DNG)
        *range(50844, 52600),
    )
)
"""Private tags that are wrong in another file. GDAL's and ImageJ's (50838, 50839) are not among them."""

_IMAGEJ = {50838: _LONG, 50839: _BYTE}
"""Types of ImageJ's tags, which libtiff knows and takes no others of."""


class Text(NamedTuple):
    """One text of a PNG file; a language or a translated keyword make it an international one."""

    keyword: str
    text: str
    language: str | None = None
    translated: str = ""


class Tag(NamedTuple):
    """One tag of a TIFF file: its type, and bytes or numbers."""

    type: int
    value: Any


@dataclass(frozen=True)
class Metadata:
    """What a page tells about itself.

    Attributes:
        xmp: the XMP packet.
        extended_xmp: JPEG segments that continue it.
        iptc: IPTC-IIM records.
        comments: comments of JPEG, GIF and JPEG 2000.
        texts: texts of PNG.
        tags: tags of TIFF, by number.

    """

    xmp: bytes = b""
    extended_xmp: tuple[bytes, ...] = ()
    iptc: bytes = b""
    comments: tuple[bytes, ...] = ()
    texts: tuple[Text, ...] = ()
    tags: Mapping[int, Tag] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any((self.xmp, self.extended_xmp, self.iptc, self.comments, self.texts, self.tags))


def read(image: Image.Image, format_: str, xmp: bytes | None, notes: list[str]) -> Metadata:
    """Return the metadata of an image that Pillow has decoded.

    Args:
        image: the file as it was opened, on its page.
        format_: its format by Pillow's name.
        xmp: the XMP packet, from the image as it was turned upright.
        notes: gets a sentence where something is left out.

    """
    budget = _Budget(notes)
    info = image.info
    own = b"".join(budget.all([xmp or b""]))
    if format_ == "PNG":
        return Metadata(own, texts=_texts(image, budget))
    if format_ == "TIFF":
        return Metadata(own, iptc=_iptc_of_tiff(image, budget), tags=_tags(image, budget))
    if format_ == "JPEG":
        segments: list[tuple[str, bytes]] = getattr(image, "applist", [])
        resources = info.get("photoshop")
        iptc = resources.get(_IPTC_RESOURCE) if isinstance(resources, dict) else None
        return Metadata(
            own,
            tuple(
                budget.all([data for name, data in segments if name == "APP1" and data.startswith(_EXTENDED)])
            ),
            b"".join(budget.all([iptc])) if isinstance(iptc, bytes) else b"",
            tuple(budget.all([data for name, data in segments if name == "COM"])),
        )
    comment = info.get("comment")
    if isinstance(comment, str):
        comment = comment.encode()
    return Metadata(own, comments=tuple(budget.all([comment])) if isinstance(comment, bytes) else ())


class _Budget:
    """How much of a page's metadata is carried: up to `MOST_BYTES`, with a note if that is not all."""

    def __init__(self, notes: list[str]) -> None:
        self._notes, self._left = notes, MOST_BYTES

    def allows(self, length: int, most: int = MOST_BYTES) -> bool:
        """Take so many bytes, if they are there to take."""
        if length > min(most, self._left):
            if TOO_MUCH not in self._notes:
                self._notes.append(TOO_MUCH)
            return False
        self._left -= length
        return True

    def all(self, parts: list[bytes]) -> list[bytes]:
        """Return those parts that are not empty and not too much."""
        return [part for part in parts if part and self.allows(len(part))]


def _texts(image: Image.Image, budget: _Budget) -> tuple[Text, ...]:
    found = []
    for keyword, text in getattr(image, "text", {}).items():
        if keyword == _XMP_KEYWORD or not 0 < len(keyword) < 80 or not budget.allows(len(text)):
            continue
        language, translated = getattr(text, "lang", None), getattr(text, "tkey", None) or ""
        found.append(Text(keyword, str(text), language, translated))
    return tuple(found)


def _raw(image: Image.Image, number: int) -> tuple[int, bytes] | None:
    """Return a tag's type and its bytes as they are in the file; Pillow decodes them when it is asked."""
    tags = getattr(image, "tag_v2", None)
    data = None if tags is None else tags._tagdata.get(number)
    return (tags.tagtype[number], data) if tags is not None and data else None


def _tags(image: Image.Image, budget: _Budget) -> dict[int, Tag]:
    found: dict[int, Tag] = {}
    for number in sorted(getattr(image, "tag_v2", ())):
        text = number in _TEXT_TAGS
        if not text and (number < _PRIVATE or number in _NOT_CARRIED):
            continue
        raw = _raw(image, number)
        if raw is None:
            continue
        kind, data = raw
        if _IMAGEJ.get(number, kind) != kind:
            continue
        if kind in _BYTES and (kind == _ASCII or not text):
            # Pillow would make question marks of what is not ASCII in a text, when it writes it.
            data = data.rstrip(b"\0") if kind == _ASCII else data
            if data and budget.allows(len(data)):
                found[number] = Tag(kind, data)
        elif kind in _NUMBERS and not text and budget.allows(len(data), _MOST_NUMBERS):
            value = image.tag_v2[number]  # type: ignore[attr-defined]  # a TIFF's
            if value not in ((), None):
                found[number] = Tag(kind, value)
    return found


def _iptc_of_tiff(image: Image.Image, budget: _Budget) -> bytes:
    """Return the IPTC records, which a TIFF has in a tag of its own, and often in Photoshop's as well."""
    own = _raw(image, IPTC_TAG)
    if own is not None:
        kind, data = own
        # Photoshop calls these bytes 32-bit numbers, and writes them as the bytes that they are.
        return data if kind in (*_BYTES, _LONG) and budget.allows(len(data)) else b""
    resources = _raw(image, PHOTOSHOP_TAG)
    found = _resource(resources[1], _IPTC_RESOURCE) if resources is not None else b""
    return found if found and budget.allows(len(found)) else b""


def _resource(block: bytes, wanted: int) -> bytes:
    """Find one of Photoshop's image resources (Adobe Photoshop File Formats Specification, 2019)."""
    place = 0
    while block[place : place + 4] == b"8BIM" and place + 12 <= len(block):
        (code,) = struct.unpack_from(">H", block, place + 4)
        start = place + 6 + (block[place + 6] + 2) // 2 * 2  # a name of even length with its own length
        if start + 4 > len(block):
            break
        (length,) = struct.unpack_from(">I", block, start)
        if code == wanted:
            return block[start + 4 : start + 4 + length]
        place = start + 4 + length + length % 2
    return b""


def settle(image: Image.Image) -> None:
    """Make bytes of an XMP packet whose tag is of another type, over which Pillow would stumble."""
    xmp = image.info.get("xmp")
    if isinstance(xmp, str):
        image.info["xmp"] = xmp.encode("latin-1", "replace")
    elif not isinstance(xmp, bytes):
        image.info.pop("xmp", None)


def upright(xmp: bytes | None) -> bytes | None:
    """Let an XMP packet say that the image is upright, as it is once its orientation was applied."""
    return xmp and re.sub(rb"(tiff:Orientation(?:\s*=\s*[\"']|>)\s*)[2-8]", rb"\g<1>1", xmp)


# --- writing ---


def save_options(metadata: Metadata, target: str, tags: Any, notes: list[str]) -> dict[str, Any]:
    """Return what Pillow's `save` needs to write the metadata.

    Args:
        metadata: what there is.
        target: the format, by Pillow's name.
        tags: the directory of a TIFF that is to have the tags besides its own; None: none yet.
        notes: gets a sentence for each kind that the format can't hold.

    """
    if not metadata:
        return {}
    lost = _Lost(target, notes)
    if target == "TIFF":
        return {"tiffinfo": _tiff(metadata, tags, lost)}
    lost.say("IPTC", metadata.iptc and target != "JPEG")
    described = any(number in (270, 315, 33432) or number >= _PRIVATE for number in metadata.tags)
    lost.say("TIFF tags", described)
    write: Callable[[Metadata, _Lost], dict[str, Any]] = {
        "PNG": _png,
        "JPEG": _jpeg,
        "WEBP": _webp,
        "GIF": _commented,
        "JPEG2000": _commented,
    }.get(target, _nothing)
    return write(metadata, lost)


class _Lost:
    """Says what is left out."""

    def __init__(self, target: str, notes: list[str]) -> None:
        self._target, self._notes = target, notes

    def say(self, what: str, there: Any = True) -> None:
        """Say so of something that the format has no place for, if it is there at all."""
        if there:
            self._notes.append(f"{what} left out, as {self._target} holds none")

    def too_long(self, what: str) -> None:
        """Say so of something that is too long for the format."""
        self._notes.append(f"{what} left out, as {self._target} holds 64 KB of it")


def _comments(metadata: Metadata, lost: _Lost) -> list[bytes]:
    """Return comments; a PNG's text of that name is one, and its other texts find no place."""
    own = [text.text.encode() for text in metadata.texts if text.keyword == _COMMENT]
    lost.say("PNG text", any(text.keyword != _COMMENT for text in metadata.texts))
    return [*metadata.comments, *own]


def _png(metadata: Metadata, lost: _Lost) -> dict[str, Any]:
    from PIL.PngImagePlugin import PngInfo

    lost.say("extended XMP", metadata.extended_xmp)
    info = PngInfo()
    if metadata.xmp:
        info.add_itxt(_XMP_KEYWORD, metadata.xmp.decode("utf-8", "replace"))
    comments = (Text(_COMMENT, comment.decode("utf-8", "replace")) for comment in metadata.comments)
    for keyword, text, language, translated in (*metadata.texts, *comments):
        packed = len(text) > _LONG_TEXT
        if language is not None:
            info.add_itxt(keyword, text, language, translated, zip=packed)
        else:
            info.add_text(keyword, text, zip=packed)
    return {"pnginfo": info} if info.chunks else {}


def _jpeg(metadata: Metadata, lost: _Lost) -> dict[str, Any]:
    options: dict[str, Any] = {}
    extra = b"".join(_segment(0xE1, each) for each in metadata.extended_xmp if len(each) <= _SEGMENT)
    if len(metadata.xmp) + len(_XMP_HEADER) > _SEGMENT:
        lost.too_long("XMP")
    elif metadata.xmp:
        options["xmp"] = metadata.xmp
    if metadata.iptc:
        odd = b"\0" * (len(metadata.iptc) % 2)
        head = struct.pack(">4sHHI", b"8BIM", _IPTC_RESOURCE, 0, len(metadata.iptc))
        block = _PHOTOSHOP + head + metadata.iptc + odd
        if len(block) > _SEGMENT:
            lost.too_long("IPTC")
        else:
            extra += _segment(0xED, block)
    comments = _comments(metadata, lost)
    for comment in comments:
        if len(comment) > _SEGMENT:
            lost.too_long("a comment")
        else:
            extra += _segment(0xFE, comment)
    if extra:
        options["extra"] = extra
    return options


def _segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def _webp(metadata: Metadata, lost: _Lost) -> dict[str, Any]:
    lost.say("extended XMP", metadata.extended_xmp)
    lost.say("comments", _comments(metadata, lost))
    return {"xmp": metadata.xmp} if metadata.xmp else {}


def _commented(metadata: Metadata, lost: _Lost) -> dict[str, Any]:
    lost.say("XMP", metadata.xmp)
    comment = b"\n".join(_comments(metadata, lost))
    if len(comment) > _SEGMENT:
        lost.too_long("a comment")
        return {}
    return {"comment": comment} if comment else {}


def _nothing(metadata: Metadata, lost: _Lost) -> dict[str, Any]:
    lost.say("XMP", metadata.xmp)
    lost.say("comments", _comments(metadata, lost))
    return {}


def _tiff(metadata: Metadata, tags: Any, lost: _Lost) -> Any:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    lost.say("extended XMP", metadata.extended_xmp)
    lost.say("comments", _comments(metadata, lost))
    directory = ImageFileDirectory_v2()
    for number in tags or ():
        directory[number] = tags[number]
        directory.tagtype[number] = tags.tagtype[number]
    own = {
        XMP_TAG: Tag(_BYTE, metadata.xmp),
        IPTC_TAG: Tag(_UNDEFINED, metadata.iptc),
        **metadata.tags,
    }
    for number, (kind, value) in own.items():
        if value != b"":
            directory.tagtype[number] = kind
            directory[number] = value
    return directory

"""The little of HDF5 that a `.keras` file needs, read with every step checked.

The HDF5 library trusts its files: a few changed bytes in a group's index make it fill the machine's memory
before it finds that something is wrong. What Keras writes is simple, though (groups, and arrays of floats,
contiguous or in one packed chunk), and this reads just that: no offset is followed out of the file, nothing
twice, nothing is unpacked to more than its shape allows, and what would lead to another file is refused. It
also spares the command the import of h5py.

Source: "HDF5 File Format Specification Version 3.0", The HDF Group; the roman numerals in the comments are
its sections.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SIGNATURE = b"\x89HDF\r\n\x1a\n"

_NOWHERE = 2**64 - 1
_MAX_OBJECTS, _MAX_DEPTH, _MAX_NAME, _MAX_RANK = 20_000, 16, 255, 8
_SPACE, _LINK_INFO, _TYPE, _EXTERNAL, _LINK, _LAYOUT = 0x1, 0x2, 0x3, 0x7, 0x6, 0x8
_GROUP_INFO, _FILTERS, _CONTINUATION, _SYMBOLS = 0xA, 0xB, 0x10, 0x11
_SHUFFLE, _DEFLATE = 2, 1
# Bit offset, precision, exponent's place and size, mantissa's place and size, bias (IV.A.2.d)
_FLOATS = {
    (0, 16, 10, 5, 0, 10, 15): "f2",
    (0, 32, 23, 8, 0, 23, 127): "f4",
    (0, 64, 52, 11, 0, 52, 1023): "f8",
}

Messages = list[tuple[int, memoryview]]


class DamagedError(Exception):
    """The file contradicts itself, or ends too early."""


class UnusualError(Exception):
    """The file may be sound, but neither Keras nor `denoiser.models.publish` writes such files."""


class HostileError(Exception):
    """The file leads out of itself: by a link, or by an array that is kept elsewhere."""


@dataclass(frozen=True)
class Array:
    """An array in the file. `dtype` is None for anything but IEEE floats of 2, 4 or 8 bytes."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.floating] | None
    _stored: memoryview | None
    _packed: bool = False

    def read(self) -> npt.NDArray[np.floating]:
        """Return the values: as a read-only view into the file where they are not packed.

        Raises DamagedError where they don't fill the shape exactly, UnusualError for an array of no float
        type or without values.
        """
        if self.dtype is None or self._stored is None:
            raise UnusualError("an array of another type, or without values")
        size = math.prod(self.shape) * self.dtype.itemsize
        content = self._unpacked(size) if self._packed else self._stored
        if len(content) != size:
            raise DamagedError("an array that does not fill its shape")
        values: npt.NDArray[np.floating] = np.frombuffer(content, self.dtype).reshape(self.shape)
        return values

    def _unpacked(self, size: int) -> memoryview:
        assert self.dtype is not None and self._stored is not None  # noqa: S101, PT018 - `read` saw to it
        stream = zlib.decompressobj()
        try:
            content = stream.decompress(self._stored, size + 1)
        except zlib.error as error:
            raise DamagedError(str(error)) from None
        if len(content) != size or not stream.eof:
            raise DamagedError("a packed array of the wrong size")
        planes = np.frombuffer(content, np.uint8).reshape(self.dtype.itemsize, -1)
        values = np.empty(planes.shape[::-1], np.uint8)
        for place, plane in enumerate(planes):
            values[:, place] = plane
        return values.reshape(-1).data


def arrays(content: bytes, *, leave: frozenset[str] = frozenset()) -> dict[str, Array]:
    """Find all arrays of a file, by their paths; groups whose paths are in `leave` are not entered.

    Raises DamagedError, UnusualError and HostileError; reads no array's values.
    """
    reader = _Reader(memoryview(content))
    try:
        return dict(reader.walk("", reader.root(), leave))
    except (struct.error, IndexError, OverflowError, UnicodeDecodeError) as error:
        raise DamagedError(str(error)) from None


class _Reader:
    def __init__(self, content: memoryview) -> None:
        self._content = content
        self._seen: set[int] = set()

    def walk(self, path: str, address: int, leave: frozenset[str]) -> Iterator[tuple[str, Array]]:
        """Yield the arrays at and below an object."""
        messages = list(self._messages(address))
        kinds = dict(messages)
        if _LAYOUT in kinds:
            yield path, self._array(kinds)
            return
        if not kinds.keys() & {_SYMBOLS, _LINK_INFO, _LINK, _GROUP_INFO}:
            raise UnusualError(f"{path or '/'} is neither a group nor an array")
        if path.count("/") > _MAX_DEPTH:
            raise UnusualError("groups too deep in one another")
        for name, target in self._members(messages):
            below = f"{path}/{name}" if path else name
            if below not in leave:
                yield from self.walk(below, target, leave)

    def root(self) -> int:
        """The address of the root group's header (II.A)."""
        if bytes(self._content[:8]) != SIGNATURE:
            raise DamagedError("no HDF5 file")
        version = self._content[8]
        if version in (0, 1):
            (address,) = struct.unpack_from("<Q", self._content, 64 + 4 * version)
            sizes, base = self._content[13:15], struct.unpack_from("<Q", self._content, 24 + 4 * version)[0]
        elif version in (2, 3):
            (address,) = struct.unpack_from("<Q", self._content, 36)
            sizes, base = self._content[9:11], struct.unpack_from("<Q", self._content, 12)[0]
        else:
            raise UnusualError(f"version {version}")
        if bytes(sizes) != b"\x08\x08" or base:
            raise UnusualError("offsets of another size")
        return int(address)

    def _take(self, address: int, length: int) -> memoryview:
        if address + length > len(self._content):
            raise DamagedError("an address beyond its end")
        return self._content[address : address + length]

    def _once(self, address: int) -> None:
        """Let each part of the file be entered once, so that no circle is ever walked."""
        if address in self._seen or len(self._seen) > _MAX_OBJECTS:
            raise DamagedError("a part that is linked twice, or far too many")
        self._seen.add(address)

    def _node(self, address: int, signature: bytes) -> None:
        self._once(address)
        if bytes(self._take(address, 4)) != signature:
            raise DamagedError(f"no {signature.decode()} where one should be")

    def _messages(self, address: int) -> Iterator[tuple[int, memoryview]]:
        """Yield an object header's messages (IV.A.1), those of its continuations included."""
        self._once(address)
        if bytes(self._take(address, 4)) == b"OHDR":
            flags = self._content[address + 5]
            start = address + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
            width = 1 << (flags & 3)
            length = int.from_bytes(self._take(start, width), "little")
            blocks, form = [(start + width, length)], struct.Struct("<BHBH" if flags & 4 else "<BHB")
        elif self._content[address] == 1:
            (length,) = struct.unpack_from("<I", self._content, address + 8)
            blocks, form = [(address + 16, length)], struct.Struct("<HHB3x")
        else:
            raise UnusualError("an object header of another version")
        classic = form.size == 8
        while blocks:
            start, length = blocks.pop()
            block = self._take(start, length)
            place = 0
            while place + form.size <= length:
                kind, size, shared = form.unpack_from(block, place)[:3]
                place += form.size
                message = block[place : place + size]
                if len(message) != size:
                    raise DamagedError("a message beyond its block")
                place += size
                if kind == _CONTINUATION:
                    start, more = struct.unpack_from("<QQ", message)
                    self._once(start)
                    # The newer form begins with a signature and ends with a checksum.
                    blocks.append((start, more) if classic else (start + 4, more - 8))
                    if more < 8:
                        raise DamagedError("a continuation without a place")
                elif shared & 2 and kind in (_SPACE, _TYPE, _LAYOUT, _FILTERS, _LINK):
                    raise UnusualError("a shared message")
                else:
                    yield kind, message

    def _members(self, messages: Messages) -> Iterator[tuple[str, int]]:
        """Yield a group's members, names and addresses, however the group is written."""
        for kind, message in messages:
            if kind == _SYMBOLS:
                tree, heap = struct.unpack_from("<QQ", message)
                yield from self._symbols(tree, self._heap(heap), 0)
            elif kind == _LINK:
                yield self._link(message)
            elif kind == _LINK_INFO:
                place = 2 + (8 if message[1] & 1 else 0)
                if struct.unpack_from("<Q", message, place)[0] != _NOWHERE:
                    raise UnusualError("a group with a heap of links")

    def _heap(self, address: int) -> memoryview:
        """The names of a group (III.D)."""
        self._node(address, b"HEAP")
        size, _, start = struct.unpack("<QQQ", self._take(address + 8, 24))
        return self._take(start, size)

    def _symbols(self, address: int, names: memoryview, depth: int) -> Iterator[tuple[str, int]]:
        """Yield the members in a group's tree (III.A.1) and in its leaves (III.B, III.C)."""
        self._node(address, b"TREE")
        kind, level, count = struct.unpack("<BBH", self._take(address + 4, 4))
        if kind != 0 or depth > _MAX_DEPTH:
            raise DamagedError("a group's tree of another kind")
        children = self._take(address + 24, 16 * count + 8)
        for index in range(count):
            (child,) = struct.unpack_from("<Q", children, 8 + 16 * index)
            if level:
                yield from self._symbols(child, names, depth + 1)
                continue
            self._node(child, b"SNOD")
            (entries,) = struct.unpack("<H", self._take(child + 6, 2))
            for name, target, cache in struct.iter_unpack("<QQI20x", self._take(child + 8, 40 * entries)):
                if cache == 2:
                    raise HostileError("a symbolic link")
                yield self._name(bytes(names[name : name + _MAX_NAME + 1]).split(b"\0", 1)[0]), target

    def _link(self, message: memoryview) -> tuple[str, int]:
        """Read one link of a group of the newer form (IV.A.2.g)."""
        flags, place = message[1], 2
        if flags & 8:
            if message[place]:
                raise HostileError("a link that is no plain one")
            place += 1
        place += (8 if flags & 4 else 0) + (1 if flags & 16 else 0)
        width = 1 << (flags & 3)
        length = int.from_bytes(message[place : place + width], "little")
        place += width
        (target,) = struct.unpack_from("<Q", message, place + length)
        return self._name(bytes(message[place : place + length])), target

    def _name(self, name: bytes) -> str:
        text = name.decode()
        if not text or not text.isprintable() or len(text) > _MAX_NAME or "/" in text:
            raise DamagedError("a name that is none")
        return text

    def _array(self, messages: dict[int, memoryview]) -> Array:
        if _EXTERNAL in messages:
            raise HostileError("an array that is kept in other files")
        shape = self._shape(messages[_SPACE]) if _SPACE in messages else None
        dtype = self._dtype(messages[_TYPE]) if _TYPE in messages else None
        layout = messages[_LAYOUT]
        if layout[0] not in (3, 4) or shape is None:
            raise UnusualError("an array of an old form")
        if layout[1] == 3:
            raise HostileError("an array that is made of others")
        if layout[1] == 2:
            if layout[0] != 3 or dtype is None:
                raise UnusualError("an array in another form of chunks")
            return Array(shape, dtype, self._chunk(layout, messages.get(_FILTERS), shape), _packed=True)
        if layout[1] == 0:
            (size,) = struct.unpack_from("<H", layout, 2)
            return Array(shape, dtype, layout[4 : 4 + size])
        address, size = struct.unpack_from("<QQ", layout, 2)
        return Array(shape, dtype, None if address == _NOWHERE else self._take(address, size))

    def _shape(self, message: memoryview) -> tuple[int, ...]:
        """A dataspace (IV.A.2.b)."""
        version, rank = message[0], message[1]
        if version not in (1, 2) or rank > _MAX_RANK or (version == 2 and message[3] == 2):
            raise UnusualError("an array of an unusual shape")
        return struct.unpack_from(f"<{rank}Q", message, 8 if version == 1 else 4)

    def _dtype(self, message: memoryview) -> np.dtype[np.floating] | None:
        """A datatype (IV.A.2.d); None if it is no float that NumPy knows."""
        (size,) = struct.unpack_from("<I", message, 4)
        if message[0] & 15 != 1 or message[1] & 0x40:
            return None
        code = _FLOATS.get(struct.unpack_from("<HHBBBBI", message, 8))
        if code is None or size != int(code[1]):
            return None
        return np.dtype((">" if message[1] & 1 else "<") + code)

    def _chunk(self, layout: memoryview, filters: memoryview | None, shape: tuple[int, ...]) -> memoryview:
        """The packed bytes of an array that is one chunk (IV.A.2.i, III.A.1), shuffled and deflated."""
        rank = len(shape)
        tree, *sides = struct.unpack_from(f"<Q{rank}I", layout, 3)
        if layout[2] != rank + 1 or tuple(sides) != shape or self._filters(filters) != [_SHUFFLE, _DEFLATE]:
            raise UnusualError("an array that is packed in another way")
        self._node(tree, b"TREE")
        kind, level, count = struct.unpack("<BBH", self._take(tree + 4, 4))
        size, skipped, *_ = struct.unpack("<II", self._take(tree + 24, 8))
        (address,) = struct.unpack("<Q", self._take(tree + 32 + 8 * (rank + 1), 8))
        if (kind, level, count, skipped) != (1, 0, 1, 0):
            raise UnusualError("an array in several chunks, or with filters left out")
        return self._take(address, size)

    def _filters(self, message: memoryview | None) -> list[int]:
        """The filters that an array was written through (IV.A.2.l)."""
        if message is None:
            return []
        version, count = message[0], message[1]
        place, found = 8 if version == 1 else 2, []
        for _ in range(min(count, 32)):
            (kind,) = struct.unpack_from("<H", message, place)
            if version == 1:
                length, _, values = struct.unpack_from("<HHH", message, place + 2)
                place += 8 + -(-length // 8) * 8 + 4 * (values + values % 2)
            else:
                # Only filters with numbers from 256 have names, and none of those is ours.
                (values,) = struct.unpack_from("<H", message, place + 4)
                place += 6 + 4 * values
            found.append(kind)
        return found

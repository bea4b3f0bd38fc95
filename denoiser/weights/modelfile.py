"""Read `.keras` files without Keras, and check everything in them.

Cleaning needs only NumPy and h5py: importing TensorFlow takes longer than most jobs. A model file may come
from anywhere, so the reader accepts only our networks, with settings in range and finite weights of the right
shapes. It never unpickles, opens no other file, and checks every size that the file states against a limit.
"""

from __future__ import annotations

import hashlib
import io
import json
import stat
import struct
import zipfile
import zlib
from collections.abc import Set
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import h5py
import numpy as np
import numpy.typing as npt

from denoiser.errors import ModelError
from denoiser.weights import architectures
from denoiser.weights.architectures import Config, Kind, Mode, Slot

Weights = dict[str, npt.NDArray[np.float32]]

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_PACKAGE = "denoiser>"
_KERAS_OWN = frozenset({"name", "trainable", "dtype"})
_IGNORED_GROUPS = frozenset({"optimizer"})
_HDF5 = b"\x89HDF\r\n\x1a\n"
_MAX_DEPTH, _MAX_ARRAYS, _MAX_GROUPS = 16, 10_000, 10_000
_ENTRY, _MAX_MEMBERS = b"PK\1\2", 1000  # the signature of each entry in a zip's directory
# h5py does not document which exceptions damaged files raise.
_HDF5_ERRORS = (OSError, KeyError, ValueError, RuntimeError, TypeError, OverflowError)
_SHUFFLE, _DEFLATE = h5py.h5z.FILTER_SHUFFLE, (h5py.h5z.FILTER_DEFLATE,)
_MAX_CONFIG = 4 << 20
_MAX_OVERHEAD = 8 << 20
# Adam keeps two more arrays for each weight, some optimizers three.
_BYTES_A_WEIGHT = 4 * 4
_MAX_FILE = _BYTES_A_WEIGHT * architectures.MAX_WEIGHTS + _MAX_CONFIG + _MAX_OVERHEAD
_MAX_RATIO = 100  # trained weights hardly compress; only a zip bomb compresses this far
# zipfile documents only some of the exceptions that manipulated archives raise.
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
    OverflowError,
)

_RETRAIN = "Use another copy of it, or train a new one with: denoise train"
_OURS = "Only models written by `denoise train` or by `denoiser.models` can be used."


@dataclass(frozen=True, eq=False)
class ModelFile:
    """A model read from a file and checked.

    Attributes:
        name: What messages call the model.
        path: The model file.
        config: Constructor arguments of the network.
        card: The model card.
        digest: SHA-256 of the file, in hex.
        packed: Content of the HDF5 file of weights in the model file.
    """

    name: str
    path: Path
    config: Config
    card: dict[str, Any]
    digest: str
    packed: bytes = field(repr=False)

    @cached_property
    def weights(self) -> Weights:
        """Read-only float32 arrays by the names of `config.layout()`, unpacked on first use.

        Raises ModelError if they are not the weights of the network.
        """
        try:
            return _weights(self.packed, self.config.layout())
        except _FaultError as fault:
            raise ModelError(f"{self.path} {fault.words}.", fault.hint) from None

    @property
    def kind(self) -> Kind:
        """The class of the network."""
        return self.config.kind

    @property
    def mode(self) -> Mode:
        """How the network is meant to be used on an image."""
        return self.config.mode

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return self.config.parameters


class _FaultError(Exception):
    """A fault of the file, in words that follow its name, and a hint."""

    def __init__(self, words: str, hint: str = _RETRAIN) -> None:
        super().__init__(words)
        self.words, self.hint = words, hint


def read(path: str | Path, *, name: str | None = None, unpack: bool = True) -> ModelFile:
    """Read and check a model file written by `denoiser.models.publish` or by Keras's `model.save`.

    The state of an optimizer is ignored.

    Args:
        path: The file.
        name: Name for the model; None uses the name of the file.
        unpack: Whether to unpack and check the weights now, or when they are first used.

    Raises:
        ModelError: The file is missing, unreadable or damaged, is not a model of denoiser's, or has
            impossible settings or weights.
    """
    path = Path(path)
    try:
        content = _content(path)
        archive = _archive(content)
        kind, settings = _network(_member(archive, _CONFIG, _MAX_CONFIG))
        card, config = _settings(kind, settings)
        # The network, which is known now, limits the size of the weights before they are unpacked.
        allowed = _BYTES_A_WEIGHT * config.parameters + _MAX_OVERHEAD
        packed = _member(archive, _WEIGHTS, allowed)
    except _FaultError as fault:
        raise ModelError(f"{path} {fault.words}.", fault.hint) from None
    digest = hashlib.sha256(content).hexdigest()
    model = ModelFile(name or path.stem, path, config, card, digest, packed)
    if unpack:
        _ = model.weights
    return model


def _content(path: Path) -> bytes:
    """Read the whole file, unless it is no regular file or too large for any model."""
    try:
        state = path.stat()
        if stat.S_ISDIR(state.st_mode):
            raise _FaultError("is a folder, not a model file", "Name the .keras file in it.")
        if not stat.S_ISREG(state.st_mode):
            raise _FaultError("is not a regular file", "Name a .keras file.")
        if state.st_size > _MAX_FILE:
            raise _FaultError("is far too large for a model of denoiser's", _OURS)
        content = path.read_bytes()
    except FileNotFoundError:
        raise _FaultError(
            "does not exist", "Check the path, or list the models with: denoise models"
        ) from None
    except OSError as error:
        raise _FaultError(f"can't be read: {error.strerror}", "Check its permissions.") from None
    if not content:
        raise _FaultError("is empty")
    return content


def _archive(content: bytes) -> zipfile.ZipFile:
    """Open the zip archive, unless its directory has too many entries."""
    if content.startswith(_HDF5):
        raise _FaultError("is an HDF5 file, not a .keras file", _OURS)
    if not content.startswith(b"PK"):
        raise _FaultError("is not a .keras file", _OURS)
    if content.count(_ENTRY) > _MAX_MEMBERS:
        raise _FaultError("is not to be trusted: it has too many members", _OURS)
    try:
        return zipfile.ZipFile(io.BytesIO(content))
    except _ZIP_ERRORS:
        raise _FaultError("is a damaged or cut-off .keras file") from None


def _member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """Unpack a member of the archive, of at most `limit` bytes."""
    try:
        member = archive.getinfo(name)
    except KeyError:
        raise _FaultError(f"is not a complete .keras file: it has no {name}") from None
    if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _FaultError(f"can't be read: its {name} is encrypted or packed in an unusual way", _OURS)
    # Small text may compress well. Of anything larger, a zip bomb has too high a ratio.
    small = member.file_size <= _MAX_CONFIG
    if member.file_size > limit or not (small or member.file_size <= _MAX_RATIO * member.compress_size):
        raise _FaultError(
            f"is not to be trusted: its {name} would unpack to {member.file_size:,} bytes", _OURS
        )
    try:
        with archive.open(member) as file:
            # `archive.read` would unpack everything, whatever size the member states.
            content = file.read(member.file_size) if member.file_size else b""
            if len(content) == member.file_size and not file.read(1):
                return content
    except _ZIP_ERRORS:
        pass
    raise _FaultError(f"is damaged: its {name} can't be unpacked")


def _network(content: bytes) -> tuple[Kind, dict[str, Any]]:
    """Return the class that `config.json` names, and its settings, unchecked."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(constant)

    try:
        config = json.loads(content.decode(), parse_constant=refuse)
    except (ValueError, RecursionError):
        raise _FaultError(f"is damaged: its {_CONFIG} is not JSON") from None
    if not isinstance(config, dict):
        raise _FaultError(f"is damaged: its {_CONFIG} describes no model")
    for kind in architectures.CONFIGS:
        if config.get("registered_name") == _PACKAGE + kind and config.get("class_name") == kind:
            settings = config.get("config")
            if not isinstance(settings, dict):
                raise _FaultError(f"is damaged: its {_CONFIG} has no settings")
            return kind, settings
    name = config.get("class_name")
    if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= 80:
        raise _FaultError(f"is damaged: its {_CONFIG} describes no model")
    raise _FaultError(f"is a Keras model of class {name}, not one of denoiser's", _OURS)


def _settings(kind: Kind, settings: dict[str, Any]) -> tuple[dict[str, Any], Config]:
    """Split a network's settings into the card and the config, and check both."""
    card = settings.get("card")
    if not isinstance(card, dict | None):
        raise _FaultError("has a model card that is not a JSON object")
    arguments = {key: value for key, value in settings.items() if key != "card" and key not in _KERAS_OWN}
    try:
        return card or {}, architectures.make_config(kind, architectures.upgraded(kind, arguments))
    except ValueError as error:
        raise _FaultError(
            f"has impossible settings: {error}", "It may be damaged, or made by a newer denoiser."
        ) from None


def _weights(content: bytes, slots: dict[str, Slot]) -> Weights:
    """Read exactly the arrays of a layout from an HDF5 file."""
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            _require_equal(_paths(file), {slot.path for slot in slots.values()})
            return {name: _weight(name, file[slot.path], slot.shape) for name, slot in slots.items()}
    except _HDF5_ERRORS:
        raise _FaultError(f"is damaged: its {_WEIGHTS} is not a sound HDF5 file") from None


def _paths(file: h5py.File) -> set[str]:
    """Return the paths of all arrays, following no links."""
    paths: set[str] = set()
    groups = 0

    def visit(group: h5py.Group, prefix: str, depth: int) -> None:
        nonlocal groups
        groups += 1
        # A file can list one group under many names: the number of visits has a limit.
        if depth > _MAX_DEPTH or groups > _MAX_GROUPS:
            raise _FaultError(f"is not to be trusted: its {_WEIGHTS} has too many groups", _OURS)
        for name in group:
            if prefix == "" and name in _IGNORED_GROUPS:
                continue
            # Neither the file of an external link nor the target of a soft link is opened.
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise _FaultError(f"is not to be trusted: its {_WEIGHTS} has links", _OURS)
            item = group[name]
            if isinstance(item, h5py.Group):
                visit(item, f"{prefix}{name}/", depth + 1)
            else:
                paths.add(prefix + name)
            if len(paths) > _MAX_ARRAYS:
                raise _FaultError(f"has weights that its network does not have: {prefix}{name}")

    visit(file, "", 0)
    return paths


def _require_equal(paths: Set[str], expected: Set[str]) -> None:
    missing, extra = sorted(expected - paths), sorted(paths - expected)
    if missing:
        raise _FaultError(f"lacks the weights {missing[0]}{_more(missing)}")
    if extra:
        raise _FaultError(f"has weights that its network does not have: {extra[0]}{_more(extra)}")


def _more(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""


def _weight(name: str, array: Any, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Read one array, and check that it is finite and of the right shape and type."""
    if not isinstance(array, h5py.Dataset):
        raise _FaultError(f"is damaged: its {_WEIGHTS} has no array for {name}")
    # Such arrays name other files.
    if array.is_virtual or array.external:
        raise _FaultError(f"is not to be trusted: its {_WEIGHTS} has arrays in other files", _OURS)
    if array.shape != shape:
        raise _FaultError(f"has weights of the wrong shape: {name} is {array.shape}, not {shape}")
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        raise _FaultError(f"has weights that are not floating-point numbers: {name}")
    with np.errstate(over="ignore"):
        weight = np.array(_values(name, array), np.float32)
    if not np.isfinite(weight).all():
        raise _FaultError(f"has weights that are not finite: {name}")
    weight.flags.writeable = False
    return weight


def _values(name: str, array: h5py.Dataset) -> npt.NDArray[Any]:
    """Read an array as Keras writes it, or as `denoiser.models.publish` packs large ones: in one chunk.

    The chunk is unpacked here, since HDF5 would believe the size that the file states for it.
    """
    properties = array.id.get_create_plist()
    filters = tuple(properties.get_filter(index)[0] for index in range(properties.get_nfilters()))
    chunked = properties.get_layout() == h5py.h5d.CHUNKED
    if not chunked and not filters:
        return np.asarray(array[()])
    if not chunked or array.chunks != array.shape or filters not in ((), _DEFLATE, (_SHUFFLE, *_DEFLATE)):
        raise _FaultError(f"is not to be trusted: its {_WEIGHTS} packs {name} in an unusual way", _OURS)
    size = array.size * array.dtype.itemsize
    damaged = _FaultError(f"is damaged: its {_WEIGHTS} can't be unpacked: {name}")
    if array.id.get_num_chunks() != 1 or array.id.get_chunk_info(0).size > size + _MAX_CONFIG:
        raise damaged
    skipped, packed = array.id.read_direct_chunk((0,) * array.ndim)
    if skipped:
        raise damaged
    if filters:
        inflater = zlib.decompressobj()
        try:
            # One byte more than expected shows that there is too much, without unpacking all of it.
            packed = inflater.decompress(packed, size + 1)
        except zlib.error:
            raise damaged from None
        if not inflater.eof:
            raise damaged
    if len(packed) != size:
        raise damaged
    content = np.frombuffer(packed, np.uint8)
    # The shuffle filter stores the first bytes of all values, then all second bytes, and so on.
    if filters[:1] == (_SHUFFLE,):
        content = np.ascontiguousarray(content.reshape(array.dtype.itemsize, -1).T)
    values: npt.NDArray[Any] = content.view(array.dtype).reshape(array.shape)
    return values

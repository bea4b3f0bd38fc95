"""Reading a `.keras` file without Keras, and trusting nothing in it.

The command's usual way needs NumPy and h5py alone: importing TensorFlow would take longer than most jobs. A
model file may come from anywhere, so that its network must be one of ours, its settings in range and its
weights of the right shape and finite before anything is computed with it. Nothing is unpickled, no other file
is opened on its behalf, and no size that it states is believed before it was compared with what is allowed.
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
from denoiser.weights.architectures import Kind, Mode, Slot

Weights = dict[str, npt.NDArray[np.float32]]

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_PACKAGE = "denoiser>"
_KERAS_OWN = frozenset({"name", "trainable", "dtype"})
_LEFT = frozenset({"optimizer"})
_HDF5 = b"\x89HDF\r\n\x1a\n"
_MAX_DEPTH, _MAX_ARRAYS = 16, 10_000
# What h5py raises for files that are damaged inside is not documented either.
_HDF5_ERRORS = (OSError, KeyError, ValueError, RuntimeError, TypeError, OverflowError)
_MAX_CONFIG = 4 << 20
_MAX_OVERHEAD = 8 << 20
# Adam keeps two more arrays for every weight, some optimizers three.
_BYTES_A_WEIGHT = 4 * 4
_MAX_FILE = _BYTES_A_WEIGHT * architectures.MAX_WEIGHTS + _MAX_CONFIG + _MAX_OVERHEAD
_MAX_RATIO = 100  # trained weights hardly shrink at all; only a bomb shrinks this far
# What zipfile raises for archives that somebody has tampered with is not all documented.
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
    """A model read from a file and checked: what to compute, and with which weights.

    `config` holds the network's complete constructor arguments, without the card; `digest` the SHA-256 of the
    file, in hex; `packed` the file's own HDF5 file of weights.
    """

    name: str
    path: Path
    kind: Kind
    config: dict[str, Any]
    card: dict[str, Any]
    digest: str
    packed: bytes = field(repr=False)

    @cached_property
    def weights(self) -> Weights:
        """Read-only float32 arrays, named as `architectures.layout` does, unpacked on first use.

        Raises ModelError where they are not what the network needs.
        """
        try:
            return _weights(self.packed, architectures.layout(self.kind, self.config))
        except _FaultError as fault:
            raise ModelError(f"{self.path} {fault.words}.", fault.hint) from None

    @property
    def mode(self) -> Mode:
        """How the network is meant to be used on an image."""
        return architectures.MODES[self.kind]

    @property
    def parameters(self) -> int:
        """The number of weights."""
        return architectures.parameters(self.kind, self.config)


class _FaultError(Exception):
    """What is wrong with the file, in words that follow its name, and what to do."""

    def __init__(self, words: str, hint: str = _RETRAIN) -> None:
        super().__init__(words)
        self.words, self.hint = words, hint


def read(path: str | Path, *, name: str | None = None, unpack: bool = True) -> ModelFile:
    """Read and check a model file written by `denoiser.models.publish` or by Keras's `model.save`.

    `name` is what to call the model; None: the file's own name. An optimizer's state is left unread. Without
    `unpack`, the weights are only checked for damage of the file, and unpacked when they are first used.

    Raises ModelError for a file that is missing, can't be read, is damaged, holds another kind of model, or
    holds one of ours with impossible settings or weights.
    """
    path = Path(path)
    try:
        content = _content(path)
        archive = _archive(content)
        kind, settings = _network(_member(archive, _CONFIG, _MAX_CONFIG))
        card, config = _settings(kind, settings)
        allowed = _BYTES_A_WEIGHT * architectures.parameters(kind, config) + _MAX_OVERHEAD
        packed = _member(archive, _WEIGHTS, allowed)
    except _FaultError as fault:
        raise ModelError(f"{path} {fault.words}.", fault.hint) from None
    digest = hashlib.sha256(content).hexdigest()
    model = ModelFile(name or path.stem, path, kind, config, card, digest, packed)
    if unpack:
        _ = model.weights
    return model


def _content(path: Path) -> bytes:
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
            "does not exist", "Check the path, or list the models there are with: denoise models"
        ) from None
    except OSError as error:
        raise _FaultError(f"can't be read: {error.strerror}", "Check its permissions.") from None
    if not content:
        raise _FaultError("is empty")
    return content


def _archive(content: bytes) -> zipfile.ZipFile:
    if content.startswith(_HDF5):
        raise _FaultError("is an HDF5 file, not a .keras file", _OURS)
    if not content.startswith(b"PK"):
        raise _FaultError("is not a .keras file", _OURS)
    try:
        return zipfile.ZipFile(io.BytesIO(content))
    except _ZIP_ERRORS:
        raise _FaultError("is a damaged or cut-off .keras file") from None


def _member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    try:
        member = archive.getinfo(name)
    except KeyError:
        raise _FaultError(f"is not a complete .keras file: it has no {name}") from None
    if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _FaultError(f"can't be read: its {name} is encrypted or packed in an unusual way", _OURS)
    small = member.file_size <= _MAX_CONFIG
    if member.file_size > limit or not (small or member.file_size <= _MAX_RATIO * member.compress_size):
        raise _FaultError(
            f"is not to be trusted: its {name} would unpack to {member.file_size:,} bytes", _OURS
        )
    try:
        return archive.read(member)
    except _ZIP_ERRORS:
        raise _FaultError(f"is damaged: its {name} can't be unpacked") from None


def _network(content: bytes) -> tuple[Kind, dict[str, Any]]:
    """Return which network a config describes, and its constructor's arguments as they stand there."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(constant)

    try:
        config = json.loads(content.decode(), parse_constant=refuse)
    except (ValueError, RecursionError):
        raise _FaultError(f"is damaged: its {_CONFIG} is no JSON") from None
    if not isinstance(config, dict):
        raise _FaultError(f"is damaged: its {_CONFIG} describes no model")
    for kind in architectures.MODES:
        if config.get("registered_name") == _PACKAGE + kind and config.get("class_name") == kind:
            settings = config.get("config")
            if not isinstance(settings, dict):
                raise _FaultError(f"is damaged: its {_CONFIG} has no settings")
            return kind, settings
    found = config.get("class_name")
    if not isinstance(found, str) or not found.isprintable() or not 0 < len(found) <= 80:
        raise _FaultError(f"is damaged: its {_CONFIG} describes no model")
    raise _FaultError(f"is a Keras model of class {found}, not one of denoiser's", _OURS)


def _settings(kind: Kind, settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split a network's settings into its card and its checked config."""
    card = settings.get("card")
    if not isinstance(card, dict | None):
        raise _FaultError("has a model card that is no JSON object")
    config = {key: value for key, value in settings.items() if key != "card" and key not in _KERAS_OWN}
    try:
        return card or {}, architectures.validate(kind, architectures.saved(kind, config))
    except ValueError as error:
        raise _FaultError(
            f"has impossible settings: {error}", "It may be damaged, or made by a newer denoiser."
        ) from None


def _weights(content: bytes, slots: dict[str, Slot]) -> Weights:
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            _complete(_arrays(file), {slot.path for slot in slots.values()})
            return {name: _weight(name, file[slot.path], slot.shape) for name, slot in slots.items()}
    except _HDF5_ERRORS:
        raise _FaultError(f"is damaged: its {_WEIGHTS} is no sound HDF5 file") from None


def _arrays(file: h5py.File) -> set[str]:
    """Names of all arrays outside of what is left; raises _FaultError where a link leads anywhere else."""
    found: set[str] = set()

    def visit(group: h5py.Group, below: str, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise _FaultError(f"is not to be trusted: its {_WEIGHTS} has groups without end", _OURS)
        for name in group:
            if below == "" and name in _LEFT:
                continue
            # Neither the file of an external link nor what a soft link names is looked at.
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise _FaultError(f"is not to be trusted: its {_WEIGHTS} has links", _OURS)
            item = group[name]
            if isinstance(item, h5py.Group):
                visit(item, f"{below}{name}/", depth + 1)
            else:
                found.add(below + name)
            if len(found) > _MAX_ARRAYS:
                raise _FaultError(f"has weights that its network has no place for: {below}{name}")

    visit(file, "", 0)
    return found


def _complete(found: Set[str], expected: Set[str]) -> None:
    missing, extra = sorted(expected - found), sorted(found - expected)
    if missing:
        raise _FaultError(f"lacks the weights {missing[0]}{_more(missing)}")
    if extra:
        raise _FaultError(f"has weights that its network has no place for: {extra[0]}{_more(extra)}")


def _more(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""


def _weight(name: str, array: Any, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    if not isinstance(array, h5py.Dataset):
        raise _FaultError(f"is damaged: its {_WEIGHTS} has no array for {name}")
    if array.is_virtual or array.external:
        raise _FaultError(f"is not to be trusted: its {_WEIGHTS} has arrays that are kept elsewhere", _OURS)
    if array.shape != shape:
        raise _FaultError(f"has weights of the wrong shape: {name} is {array.shape}, not {shape}")
    if array.dtype.kind != "f":
        raise _FaultError(f"has weights that are no floating-point numbers: {name}")
    with np.errstate(over="ignore"):
        weight = np.array(array[()], np.float32)
    if not np.isfinite(weight).all():
        raise _FaultError(f"has weights that are not finite: {name}")
    weight.flags.writeable = False
    return weight

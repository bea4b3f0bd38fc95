"""Find models by name: in the user's store first, then among the bundled ones.

No other model is ever substituted: an unknown name is an error, which suggests the nearest known name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from denoiser.errors import ModelError
from denoiser.weights.architectures import CONFIGS, Kind, Mode

if TYPE_CHECKING:
    from denoiser.weights.modelfile import ModelFile

Source = Literal["store", "bundled"]

SUFFIX = ".keras"
UNFINISHED = ".training"
BUNDLED = Path(__file__).parent
_LIST = "List the models with: denoise models"
_KEPT = ("auto", "scratch")  # `--model auto` and `--from scratch` name no model
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")


@dataclass(frozen=True)
class Network:
    """A named network: its class, and the arguments that differ from the defaults."""

    kind: Kind
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def mode(self) -> Mode:
        """How the network is meant to be used on an image."""
        return CONFIGS[self.kind].mode


NETWORKS: Mapping[str, Network] = {
    "digits": Network("Autoencoder", {"latent_dim": 1024}),
    "general": Network("PatchAutoencoder", {"use_bias": False}),
    "document": Network("PatchAutoencoder", {"center": False, "context": (2, 4, 8)}),
}


@dataclass(frozen=True)
class Entry:
    """An available model. `shadowed`: a model in the store has the same name and is used instead."""

    name: str
    path: Path
    source: Source
    shadowed: bool = False


def home() -> Path:
    """Return the user's folder: `DENOISER_HOME`, or the system's folder for the data of applications."""
    if folder := os.environ.get("DENOISER_HOME"):
        return Path(folder)
    import click

    return Path(click.get_app_dir("denoiser"))


def path_for(name: str) -> Path:
    """Return the path of a model of this name in the user's store, whether or not it exists.

    Raises ModelError if this can't be a model's name.
    """
    if not _NAME.fullmatch(name) or name.endswith(SUFFIX) or name in _KEPT:
        raise ModelError(
            f"{name!r} can't be a model's name.",
            "It has its own meaning: choose another."
            if name in _KEPT
            else "Use letters, digits and - _ . + only, beginning with a letter or digit.",
        )
    return home() / "models" / f"{name}{SUFFIX}"


def find(name_or_file: str | os.PathLike[str]) -> Path | None:
    """Find a model's file by name or path; text that ends in .keras or names a folder is a path.

    Returns None for a known network that has no weights. Raises ModelError if there is no such file or
    name; the message suggests the nearest name.
    """
    text = os.fspath(name_or_file)
    path = Path(text)
    if text.endswith(SUFFIX) or path.name != text or isinstance(name_or_file, Path):
        if path.exists():
            return path
        raise ModelError(f"There is no model file {text}.", _nearest(path.name.removesuffix(SUFFIX)))
    if text == "auto":
        raise ModelError("auto is not a model: it chooses digits or general for each image.", _LIST)
    if _NAME.fullmatch(text):
        for folder in (home() / "models", BUNDLED):
            if (folder / f"{text}{SUFFIX}").is_file():
                return folder / f"{text}{SUFFIX}"
    if text in NETWORKS:
        return None
    if path.is_file():
        raise ModelError(f"There is no model called {text!r}.", f"If you mean the file, write ./{text}")
    raise ModelError(f"There is no model called {text!r}.", _nearest(text))


def locate(name_or_file: str | os.PathLike[str]) -> Path:
    """Find a model's file like `find`, and raise ModelError if the network has no weights."""
    path = find(name_or_file)
    if path is None:
        raise ModelError(
            f"The network {name_or_file} has no weights.",
            f"Train them with: denoise train --model {name_or_file}",
        )
    return path


def load(
    name_or_file: str | os.PathLike[str], *, network: str | None = None, unpack: bool = True
) -> ModelFile:
    """Find, read and check a model.

    Args:
        name_or_file: Name or file, as for `find`.
        network: The named network that a file must hold the weights of; None accepts any file.
        unpack: Whether to unpack the weights now, or when they are first used.

    Raises:
        ModelError: There is no such model, its file can't be used, or it is of another kind than the network.
    """
    from denoiser.weights import modelfile

    path = locate(name_or_file)
    name = network or os.fspath(name_or_file)
    expected = NETWORKS.get(name)
    model = modelfile.read(path, name=name if expected else None, unpack=unpack)
    if expected is not None and model.kind != expected.kind:
        raise ModelError(
            f"{path} is of kind {model.kind}, and {name} of kind {expected.kind}.",
            "Choose the network that it was trained for." if network else "Rename or remove that file.",
        )
    return model


def available() -> list[Entry]:
    """List all models in order of their names, the user's before the bundled ones."""
    own = _models(home() / "models")
    bundled = _models(BUNDLED)
    return [Entry(name, path, "store") for name, path in own.items()] + [
        Entry(name, path, "bundled", shadowed=name in own) for name, path in bundled.items()
    ]


def beside(model: Path) -> tuple[Path, Path, Path, Path]:
    """Return the paths of all that a training writes beside a model: picture, curve, plot and page."""
    return (
        model.with_suffix(".png"),
        model.with_suffix(".csv"),
        model.with_name(f"{model.stem}-curve.png"),
        model.with_suffix(".html"),
    )


def unfinished(model: Path) -> Path:
    """Return the path of the checkpoint of an unfinished training of this model file."""
    return model.with_suffix(UNFINISHED)


def require_place(model: Path) -> None:
    """Raise ModelError if a model file can't be written to this path, before any training."""
    folder = model.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if model.is_dir():
        raise ModelError(f"{model} is a folder, and the model would be a file.", "Choose another name.")
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise ModelError(
            f"{model} can't be written: {folder} is not a folder that you may write to.",
            "Choose another folder; DENOISER_HOME sets the folder of the store.",
        )


def trainings() -> dict[str, Path]:
    """Return the checkpoints of unfinished trainings in the user's store, by the names of their models."""
    return _models(home() / "models", UNFINISHED)


def removable() -> list[str]:
    """List the names that `remove` takes: models in the user's store, and trainings that are unfinished."""
    return sorted({*_models(home() / "models"), *trainings()})


def remove(name: str) -> Path:
    """Delete a model and the files of its training from the user's store, and return its path.

    Raises ModelError for a bundled or unknown model, and for a file that can't be deleted.
    """
    path = path_for(name)
    if path.is_file() or unfinished(path).is_file():
        try:
            if path.is_file():
                path.unlink()
            for file in (unfinished(path), *beside(path)):
                # mine-curve.png may belong to a model called mine-curve.
                if file.is_file() and not file.with_suffix(SUFFIX).exists():
                    file.unlink()
        except OSError as error:
            raise ModelError(
                f"{path} can't be removed: {error.strerror}.", "Check its permissions."
            ) from None
        return path
    if (BUNDLED / path.name).is_file():
        raise ModelError(
            f"{name} comes with denoiser and stays.", "Only models that you trained can be removed."
        )
    if name in NETWORKS:
        raise ModelError(f"{name} has no weights in {path.parent}.", "There is nothing to remove.")
    raise ModelError(f"There is no model called {name!r}.", _nearest(name))


def _models(folder: Path, suffix: str = SUFFIX) -> dict[str, Path]:
    try:
        files = sorted(folder.glob(f"*{suffix}"))
    except OSError:
        return {}
    return {file.stem: file for file in files if _NAME.fullmatch(file.stem) and file.is_file()}


def _nearest(name: str) -> str:
    import difflib

    if name in trainings():
        return "Its training is unfinished. The same command goes on with it."
    known = dict.fromkeys(["auto", *NETWORKS, *(entry.name for entry in available())])
    close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    return f"Did you mean {close[0]}? {_LIST}" if close else _LIST

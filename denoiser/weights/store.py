"""Where models are: names to files, in the user's own store first and then among the bundled ones.

Nothing is ever substituted in silence: a name that means nothing is an error with the nearest one that does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from denoiser.errors import ModelError
from denoiser.weights.architectures import MODES, Kind, Mode

Source = Literal["store", "bundled"]

SUFFIX = ".keras"
BUNDLED = Path(__file__).parent
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")


@dataclass(frozen=True)
class Network:
    """A network that the tool knows by name: its class, and the arguments it is made with."""

    kind: Kind
    summary: str
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def mode(self) -> Mode:
        """How it is meant to be used on an image."""
        return MODES[self.kind]


NETWORKS: Mapping[str, Network] = {
    "digits": Network("Autoencoder", "digit and glyph crops", {"latent_dim": 1024}),
    "general": Network(
        "PatchAutoencoder",
        "photographs, micrographs, pages: removes noise, keeps the rest",
        {"use_bias": False},
    ),
    "document": Network(
        "PatchAutoencoder",
        "dirty documents: paper to white, stains away, ink kept",
        {"residual": False, "center": False, "context": 4},
    ),
}


@dataclass(frozen=True)
class Entry:
    """One model there is. `shadowed`: the store has another of this name, which is used in its place."""

    name: str
    path: Path
    source: Source
    shadowed: bool = False


def home() -> Path:
    """The user's own folder: `DENOISER_HOME`, else what the system has for applications' data."""
    given = os.environ.get("DENOISER_HOME")
    if given:
        return Path(given)
    import click

    return Path(click.get_app_dir("denoiser"))


def path_for(name: str) -> Path:
    """Where the user's store keeps, or would keep, the model of this name; nothing is made.

    Raises ModelError for what can't be a name.
    """
    if not _NAME.fullmatch(name) or name.endswith(SUFFIX) or name == "auto":
        raise ModelError(
            f"{name!r} can't be a model's name.",
            "Use letters, digits and - _ . + only, beginning with a letter or digit.",
        )
    return home() / "models" / f"{name}{SUFFIX}"


def find(name_or_file: str | os.PathLike[str]) -> Path | None:
    """Find a model's file, by name or by path (what ends in .keras or has a folder in it is a path).

    Returns None for a known network that has no weights anywhere. Raises ModelError for a file that isn't
    there, and for a name that means nothing, with the nearest one that does.
    """
    given = os.fspath(name_or_file)
    path = Path(given)
    if given.endswith(SUFFIX) or path.name != given or isinstance(name_or_file, Path):
        if path.exists():
            return path
        raise ModelError(f"There is no model file {given}.", _nearest(path.name.removesuffix(SUFFIX)))
    if _NAME.fullmatch(given):
        for folder in (home() / "models", BUNDLED):
            if (folder / f"{given}{SUFFIX}").is_file():
                return folder / f"{given}{SUFFIX}"
    if given in NETWORKS:
        return None
    if path.is_file():
        raise ModelError(f"There is no model called {given!r}.", f"If you mean the file, write ./{given}")
    raise ModelError(f"There is no model called {given!r}.", _nearest(given))


def available() -> list[Entry]:
    """List all models, the user's own first, each part in order of names."""
    own = _models(home() / "models")
    bundled = _models(BUNDLED)
    return [Entry(name, path, "store") for name, path in own.items()] + [
        Entry(name, path, "bundled", shadowed=name in own) for name, path in bundled.items()
    ]


def beside(model: Path) -> tuple[Path, Path, Path, Path]:
    """The files that a training leaves beside a model file.

    A picture, its curve, a drawing of that, and a page that shows all of it.
    """
    return (
        model.with_suffix(".png"),
        model.with_suffix(".csv"),
        model.with_name(f"{model.stem}-curve.png"),
        model.with_suffix(".html"),
    )


def unfinished(model: Path) -> Path:
    """Where a training for this model file keeps what it goes on from after a kill."""
    return model.with_suffix(".training")


def require_place(model: Path) -> None:
    """Raise ModelError where no model file could be written to, before any work has gone into one."""
    folder = model.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if model.is_dir():
        raise ModelError(f"{model} is a folder, and the model would be a file.", "Choose another name.")
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise ModelError(
            f"{model} can't be written: {folder} is not a folder that you may write to.",
            "Choose another place, with DENOISER_HOME if it is the store.",
        )


def remove(name: str) -> Path:
    """Delete a model from the user's store, with all that its training left there; return where it was.

    Raises ModelError for a bundled model, a name that means nothing, or a file that can't be deleted.
    """
    path = path_for(name)
    if path.is_file() or unfinished(path).is_file():
        try:
            if path.is_file():
                path.unlink()
            for each in (unfinished(path), *beside(path)):
                # What is mine-curve.png to mine may be the picture of a model called mine-curve.
                if each.is_file() and not each.with_suffix(SUFFIX).exists():
                    each.unlink()
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


def _models(folder: Path) -> dict[str, Path]:
    try:
        files = sorted(folder.glob(f"*{SUFFIX}"))
    except OSError:
        return {}
    return {file.stem: file for file in files if _NAME.fullmatch(file.stem) and file.is_file()}


def _nearest(name: str) -> str:
    import difflib

    known = dict.fromkeys(["auto", *NETWORKS, *(entry.name for entry in available())])
    close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    listed = "List the models there are with: denoise models"
    return f"Did you mean {close[0]}? {listed}" if close else listed

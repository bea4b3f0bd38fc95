"""Checkpoints, from which a killed training resumes: one file beside the destination, written atomically.

The file is a zip of plain NumPy arrays and one JSON text. Reading it never unpickles anything.
"""

from __future__ import annotations

import io
import json
import logging
import math
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from denoiser._types import Floats
from denoiser.errors import TrainingError
from denoiser.inference.precision import Precision
from denoiser.system.atomic import replacing
from denoiser.training.feed import Source
from denoiser.weights import store

log = logging.getLogger(__name__)

_FORMAT = "denoiser training 2"
_PARTS = ("weights", "average", "best", "optimizer")
_FAULTS = (OSError, EOFError, KeyError, ValueError, TypeError, zlib.error, zipfile.BadZipFile, MemoryError)


@dataclass(frozen=True)
class Point:
    """A training at one moment.

    Attributes:
        fraction: Share of the budget that is spent.
        patches: Patches seen.
        loss: Mean loss of the last steps.
        db: PSNR on the validation patches; None between checks.
        seconds: Time spent.
        branch: Whether this is the end of a branch, in which the learning rate fell to zero.
    """

    fraction: float
    patches: int
    loss: float
    db: float | None
    seconds: float = 0.0
    branch: bool = False


@dataclass
class History:
    """The course of a training.

    Attributes:
        points: The checks.
        best: The check whose weights were kept.
        patches, seconds: Patches seen, and time spent.
        interrupted: Whether Ctrl-C ended the training.
        curve: All points of the training curve, checks included.
        continued: How often the training was resumed.
    """

    points: list[Point] = field(default_factory=list)
    best: Point | None = None
    patches: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    curve: list[Point] = field(default_factory=list)
    continued: int = 0


@dataclass
class State:
    """All that a training needs to resume between two steps.

    Attributes:
        step, fraction: Steps done, and share of the budget spent.
        weights, average, best: Weights in Keras's order: current, averaged, and the best average, which is
            empty before the first check.
        score: Weighted validation error of the best average.
        optimizer: Variables of the optimizer.
        source: State of the feed.
        history: Course of the training so far.
        scale: Factor of the learning rate, below 1 after steps that went wrong.
    """

    step: int
    fraction: float
    weights: list[Floats]
    average: list[Floats]
    best: list[Floats]
    score: float | None
    optimizer: list[npt.NDArray[Any]]
    source: Source
    history: History
    scale: float = 1.0


def write(path: Path, state: State, made_with: Mapping[str, Any]) -> None:
    """Replace the checkpoint at `path`. `made_with` is the plan's fingerprint. Raises OSError."""
    arrays: dict[str, npt.NDArray[Any]] = {
        f"{part}/{index}": value for part in _PARTS for index, value in enumerate(getattr(state, part))
    }
    arrays |= {f"memory/{key}": value for key, value in state.source.memory.items()}
    about = {
        "format": _FORMAT,
        "made_with": made_with,
        "step": state.step,
        "fraction": state.fraction,
        "score": state.score,
        "scale": state.scale,
        "counts": {part: len(getattr(state, part)) for part in _PARTS},
        "generator": state.source.generator,
        "history": asdict(state.history),
    }
    text = np.frombuffer(json.dumps(about).encode(), np.uint8)
    with replacing(path) as file:
        np.savez(file, allow_pickle=False, about=text, **arrays)


def read(path: Path) -> tuple[State, dict[str, Any]]:
    """Read a checkpoint and its fingerprint. Raises TrainingError if the file is damaged or no checkpoint."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            about = json.loads(file["about"].tobytes())
            if about["format"] != _FORMAT:
                raise TrainingError(
                    f"{path} holds an unfinished training of another version of denoiser.",
                    "Finish it with that version, or start over with --force.",
                )
            parts = {
                part: [_checked(file[f"{part}/{index}"]) for index in range(about["counts"][part])]
                for part in _PARTS
            }
            memory = {
                name.removeprefix("memory/"): file[name] for name in file.files if name.startswith("memory/")
            }
        state = State(
            step=int(about["step"]),
            fraction=float(about["fraction"]),
            scale=float(about["scale"]),
            score=None if about["score"] is None else float(about["score"]),
            source=Source(dict(about["generator"]), memory),
            history=_history(about["history"]),
            **parts,
        )
        return state, dict(about["made_with"])
    except _FAULTS:
        raise TrainingError(
            f"{path} should hold an unfinished training, and is damaged.",
            "Remove it, or start over with --force.",
        ) from None


def made_with(path: Path) -> dict[str, Any] | None:
    """Return the fingerprint in a checkpoint, without its arrays; None if there is none to read."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(json.loads(file["about"].tobytes())["made_with"])
    except _FAULTS:
        return None


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the names of the settings in which two fingerprints differ."""
    now = json.loads(json.dumps(now))
    return [key for key in {**before, **now} if before.get(key) != now.get(key)]


_IN_WORDS = {
    "config": "shape of the network",
    "noise": "noise",
    "images": "images",
    "method": "method",
    "start": "start",
    "minutes": "minutes",
    "epochs": "epochs",
    "batch_size": "batch size",
    "validation": "validation",
    "seed": "seed",
    "precision": "precision",
    "plugins": "plugins",
    "backend": "Keras's backend",
}
"""Settings of a fingerprint that users choose, in their words. The others follow from these."""


def _in_words(changed: list[str]) -> str:
    """Return what a user has changed, of the settings in which two fingerprints differ."""
    if "network" in changed:
        return "another network"  # whose recipe brings the rest
    known = [words for key, words in _IN_WORDS.items() if key in changed]
    if known:
        return ", ".join(known)
    return "the data that are found" if "trained on" in changed else "the recipe of another version"


def _checked(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if not np.isfinite(array).all():
        raise ValueError("not finite")
    return array


def _history(given: Mapping[str, Any]) -> History:
    best = given["best"]
    return History(
        points=[Point(**point) for point in given["points"]],
        best=None if best is None else Point(**best),
        patches=int(given["patches"]),
        seconds=float(given["seconds"]),
        curve=[Point(**point) for point in given["curve"]],
        continued=int(given["continued"]),
    )


def fits(state: State, model: Any, optimizer: Any) -> bool:
    """Return True if a checkpoint's arrays have the shapes of this model and optimizer."""
    shapes = [tuple(value.shape) for value in model.get_weights()]
    mine = [tuple(variable.shape) for variable in optimizer.variables]
    kept = (state.weights, state.average, state.best or state.weights)
    return (
        all([value.shape for value in part] == shapes for part in kept)
        and [value.shape for value in state.optimizer] == mine
        and math.isfinite(state.history.seconds)
    )


class Checkpoint:
    """The checkpoint of an unfinished training, beside the model file that the training will write.

    Attributes:
        precision: Precision of the unfinished training; None if there is none.
    """

    def __init__(self, destination: Path, tell: Callable[[str], None], *, force: bool) -> None:
        self._name = destination.stem
        self._path = store.unfinished(destination)
        self._tell, self._force = tell, force
        self._failed = False
        self._found: tuple[State, dict[str, Any]] | None = None
        self.precision: Precision | None = None

    def read(self) -> None:
        """Read the file, if there is one. Raises TrainingError if it is damaged, unless with force."""
        if not self._path.exists():
            return
        try:
            self._found = read(self._path)
            self.precision = self._found[1].get("precision")
        except TrainingError as error:
            if not self._force:
                raise
            self._tell(f"{error.message} Starting over.")

    def resume(self, fingerprint: Mapping[str, Any]) -> State | None:
        """Return the state to resume from; None starts from the beginning.

        Raises:
            TrainingError: The unfinished training has another fingerprint, and `force` is not set.
        """
        if self._found is None:
            return None
        (state, before), self._found = self._found, None
        done = state.fraction
        changed = differences(before, fingerprint)
        if not changed:
            self._tell(f"Resuming the unfinished training of {self._name}, {done:.0%} done.")
            return state
        how = f"was started with other settings: {_in_words(changed)}"
        if not self._force:
            raise TrainingError(
                f"There is an unfinished training of {self._name}, {done:.0%} done, that {how}.",
                "Repeat its command to resume it, choose another name, or start over with --force.",
            )
        self._tell(f"Starting over: the unfinished training of {self._name}, {done:.0%} done, {how}.")
        return None

    def save(self, state: State, fingerprint: Mapping[str, Any]) -> None:
        """Write the file. The first failure is logged, and the training continues."""
        try:
            write(self._path, state, fingerprint)
        except OSError as error:
            if not self._failed:
                log.warning(
                    "%s can't be written, so a killed training would start over: %s", self._path, error
                )
            self._failed = True

    def exists(self) -> bool:
        """Return True if there is a file to resume from."""
        return self._path.exists()

    def remove(self) -> None:
        """Remove the file, if there is one."""
        self._path.unlink(missing_ok=True)

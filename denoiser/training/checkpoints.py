"""What a training goes on from after it was killed: one file beside its destination, whole or not there.

It is a zip of plain NumPy arrays and one JSON text. Nothing in it is ever unpickled.
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
from denoiser.system.atomic import replacing
from denoiser.training.feed import Source
from denoiser.training.precision import Precision
from denoiser.weights import store

log = logging.getLogger(__name__)

_FORMAT = "denoiser training 2"
_PARTS = ("weights", "average", "best", "optimizer")
_FAULTS = (OSError, EOFError, KeyError, ValueError, TypeError, zlib.error, zipfile.BadZipFile, MemoryError)


@dataclass(frozen=True)
class Point:
    """Training at one moment: share of the budget spent, seconds, patches seen, loss, and dB on validation.

    db is None between the checks. branch: whether it is the end of a branch, on which the learning rate fell.
    """

    fraction: float
    patches: int
    loss: float
    db: float | None
    seconds: float = 0.0
    branch: bool = False


@dataclass
class History:
    """How a training went. `points` are its checks; `best` is the one whose weights were kept.

    curve: all that was noted, checks included. continued: how often it went on after a kill.
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
    """A training between two steps: everything that it needs to go on. fraction: of the budget that is spent.

    weights, average, best: the model's, in Keras's order; best is empty before the first check, and score its
    figure. optimizer: its variables. source: where the feed of patches stood. scale: what is left of the
    learning rate after steps that went wrong.
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
    """Write a checkpoint in the place of the last one.

    made_with: what the training was started with, as plain JSON. Raises OSError.
    """
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
    """Read a checkpoint, and what its training was started with.

    Raises TrainingError for a file that is damaged or no checkpoint.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            about = json.loads(file["about"].tobytes())
            if about["format"] != _FORMAT:
                raise ValueError("another format")
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
            "Remove it, or start anew with --force.",
        ) from None


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The names of what a training was started with that are different now."""
    now = json.loads(json.dumps(now))
    return [key for key in {**before, **now} if before.get(key) != now.get(key)]


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
    """Whether the arrays of a checkpoint are this model's and this optimizer's."""
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
            self._tell(f"{error.message} Starting anew.")

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
            self._tell(f"Going on with the unfinished training of {self._name}, {done:.0%} of which is done.")
            return state
        how = f"was started with other settings: {', '.join(changed)}"
        if not self._force:
            raise TrainingError(
                f"There is an unfinished training of {self._name}, {done:.0%} done, that {how}.",
                "Repeat its command to go on, choose another name, or start anew with --force.",
            )
        self._tell(f"Starting anew: the unfinished training of {self._name}, {done:.0%} done, {how}.")
        return None

    def save(self, state: State, fingerprint: Mapping[str, Any]) -> None:
        """Write the file. The first failure is logged, and the training continues."""
        try:
            write(self._path, state, fingerprint)
        except OSError as error:
            if not self._failed:
                log.warning(
                    "%s can't be written, so a killed training would start anew: %s", self._path, error
                )
            self._failed = True

    def remove(self) -> None:
        """Remove the file, if there is one."""
        self._path.unlink(missing_ok=True)

"""Fitting a network to noisy and clean patches.

Adam or Muon, a warm-up and a cosine, averaged weights, the best of them kept, every noise level weighted
alike.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from denoiser._types import Floats
from denoiser.errors import TrainingError
from denoiser.training import checkpoints, losses
from denoiser.training import feed as feeder
from denoiser.training.checkpoints import History as History
from denoiser.training.checkpoints import Point as Point
from denoiser.training.checkpoints import State
from denoiser.training.ema import EVERY, Averages
from denoiser.training.feed import Feed
from denoiser.training.metrics import weights_of

WARM_UP = 500
CHECKS = 10
KEEP_EVERY = 60.0
"""Seconds between two checkpoints; there is one after each check too."""

_BLOCK = 25
"""Batches that are made at a time, where they are of usual sizes; and steps over which a loss is averaged."""

_PATCHES_AT_ONCE = 6400
"""What large batches are bounded by: three or four blocks are in memory, with context 6 kB a patch each."""

_NOTES = 200


@dataclass(frozen=True)
class Tick:
    """What a training tells while it runs: share done, patches a second, dB at the last check."""

    fraction: float
    rate: float
    db: float | None


def fit(
    model: Any,
    feed: Feed,
    *,
    validation: tuple[Floats, Floats],
    minutes: float | None = None,
    steps: int | None = None,
    batch_size: int = 256,
    learning_rate: float = 2e-3,
    floor: float = 3 / 255,
    optimizer: str = "adam",
    loss: str = "mse",
    seed: int = 0,
    keep_on_interrupt: bool = False,
    on_progress: Callable[[Tick], None] | None = None,
    resume: State | None = None,
    keep: Callable[[State], None] | None = None,
    fused: bool = False,
) -> History:
    """Train a Keras model of patches, with or without context; it ends with the best averaged weights seen.

    The budget is `steps` or `minutes`, counted from the end of the first step, which compiles. validation:
    (noisy, clean), checked ten times on the way. floor: see `weights_of`. optimizer: "adam" (Kingma and Ba,
    2015), "nadam" (Dozat, 2016, with a short memory of how large gradients were), or "muon" (Jordan, 2024)
    for the kernels between the first and the last. loss: "mse", or "paper", which is content with more than
    white where white is wanted, so that clipping makes it exact. fused: compile the step with XLA, which on
    2 cores makes a network of two kernels a quarter to a half faster, and the mixer a tenth slower. With
    `keep_on_interrupt` Ctrl-C ends the training early instead of raising; `History.interrupted` says so.

    keep: called with the training's state after each check and about once a minute. resume: such a state, to
    go on from; the model and all else must be as they were. With `steps` the same seed gives the same weights
    on the same machine, and also when it was resumed, as far as the feed is a function of its generator and
    of its `memory` (see `denoiser.training.feed`).

    Raises TrainingError when the budget is not one of the two, the loss is no longer a number, or `resume`
    belongs to another network, and KeyboardInterrupt (the model's weights are then in no particular state).
    """
    if (minutes is None) == (steps is None) or (minutes or steps or 0) <= 0:
        raise TrainingError("Training takes either minutes or steps, and more than none.")
    model.compile(
        optimizer=losses.optimizer(optimizer, learning_rate),
        loss=losses.LOSSES[loss],
        jit_compile=_compiled() if fused else "auto",
    )
    history, averages, rng = History(), Averages(model, validation, floor), np.random.default_rng(seed)
    clock = _Clock(minutes, steps)
    if resume is not None:
        rng = _resume(model, feed, resume)
        history = replace(resume.history, continued=resume.history.continued + 1)
        averages.resume(resume)
        clock = _Clock(minutes, steps, done=resume.step, seconds=history.seconds)
    run = _Run(model, clock, history, averages, learning_rate)
    block_size = batch_size * min(_BLOCK, max(1, _PATCHES_AT_ONCE // batch_size))
    with feeder.ahead(feed, block_size, rng) as blocks:
        last_kept, checks = time.monotonic(), len(history.points)
        try:
            for block in blocks:
                for batch in _batches(block, batch_size, floor):
                    run.step(*batch)
                    if on_progress and run.due:
                        on_progress(clock.tick(history, batch_size))
                    if clock.fraction >= 1.0:
                        break
                if clock.fraction >= 1.0:
                    break
                late = time.monotonic() - last_kept >= KEEP_EVERY
                if keep and (late or len(history.points) > checks):
                    keep(run.state(block.after))
                    last_kept, checks = time.monotonic(), len(history.points)
        except KeyboardInterrupt:
            if not keep_on_interrupt or not averages.average:
                raise
            history.interrupted = True
            averages.check(history, min(clock.fraction, 1.0), run.loss, clock.seconds)
    history.seconds = clock.seconds
    averages.restore_best()
    return history


def _compiled() -> bool | str:
    from keras import backend

    return "auto" if backend.backend() == "torch" else True  # PyTorch's compiler needs one for C++ too


def _resume(model: Any, feed: Feed, state: State) -> np.random.Generator:
    model.optimizer.build(model.trainable_variables)
    if not checkpoints.fits(state, model, model.optimizer):
        raise TrainingError("The unfinished training is that of another network.", "Start anew with --force.")
    model.set_weights(state.weights)
    for variable, value in zip(model.optimizer.variables, state.optimizer, strict=True):
        variable.assign(value)
    return feeder.rewind(feed, state.source)


class _Run:
    """The steps of one training."""

    def __init__(
        self, model: Any, clock: _Clock, history: History, averages: Averages, learning_rate: float
    ) -> None:
        self._model, self._clock, self._history, self._averages = model, clock, history, averages
        self._learning_rate = learning_rate
        self.loss = math.nan
        self.due = False

    def step(self, inputs: Floats, clean: Floats, weights: Floats) -> None:
        """Learn from one batch, average, note and check when it is time to."""
        model, clock, history, averages = self._model, self._clock, self._history, self._averages
        step, fraction = clock.done, clock.fraction
        warm_up = min(1.0, max((step + 1) / WARM_UP, fraction / 0.05))
        cosine = 0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * fraction))
        model.optimizer.learning_rate = self._learning_rate * warm_up * cosine
        if step % _BLOCK == 0:
            model.reset_metrics()
        result = model.train_on_batch(inputs, clean, sample_weight=weights)
        clock.step()
        history.patches += len(inputs)
        ended = clock.fraction >= 1.0
        self.due = step % EVERY == 0 or ended
        if self.due:
            averages.add(step)
        noted = history.curve[-1].fraction if history.curve else 0.0
        check = clock.fraction >= min(1.0, (len(history.points) + 1) / CHECKS)
        if check or (clock.fraction >= noted + 1 / _NOTES and clock.done % _BLOCK == 0):
            self.loss = float(np.asarray(result).ravel()[0])
        if check:
            averages.check(history, clock.fraction, self.loss, clock.seconds)
        elif clock.fraction >= noted + 1 / _NOTES and clock.done % _BLOCK == 0:
            point = Point(clock.fraction, history.patches, self.loss, None, clock.seconds)
            history.curve.append(point)

    def state(self, source: feeder.Source) -> State:
        """Everything to go on from; the arrays are the training's own, and good until its next step."""
        self._history.seconds = self._clock.seconds
        return State(
            step=self._clock.done,
            fraction=self._clock.fraction,
            weights=self._averages.current(),
            average=self._averages.average,
            best=self._averages.best,
            score=self._averages.score,
            optimizer=[np.asarray(_numpy(variable)) for variable in self._model.optimizer.variables],
            source=source,
            history=self._history,
        )


def _numpy(variable: Any) -> Any:
    from keras import ops

    return ops.convert_to_numpy(variable)


class _Clock:
    """How much of the budget is spent, in steps or in time since the first step ended."""

    def __init__(
        self, minutes: float | None, steps: int | None, *, done: int = 0, seconds: float = 0.0
    ) -> None:
        self._minutes, self._steps = minutes, steps
        self._before, self._steps_before = seconds, done
        self._started = time.monotonic()
        self.done = done
        self.fraction = self._spent()

    @property
    def seconds(self) -> float:
        return self._before + time.monotonic() - self._started

    def _spent(self) -> float:
        if self._steps is not None:
            return self.done / self._steps
        return self.seconds / (60.0 * (self._minutes or math.inf)) if self.done else 0.0

    def tick(self, history: History, batch_size: int) -> Tick:
        seconds = max(time.monotonic() - self._started, 1e-3)
        rate = batch_size * max(self.done - self._steps_before - 1, 1) / seconds
        return Tick(min(self.fraction, 1.0), rate, history.points[-1].db if history.points else None)

    def step(self) -> None:
        self.done += 1
        if self.done - self._steps_before == 1:
            self._started = time.monotonic()
        self.fraction = self._spent()


def _batches(block: feeder.Block, size: int, floor: float) -> Iterator[tuple[Floats, Floats, Floats]]:
    inputs, clean = block.inputs, block.clean
    # Keras averages a loss over its last axis and then weights what is left: (N, 28).
    weights = np.repeat(weights_of(inputs, clean, floor)[:, None], clean.shape[1], axis=1)
    for start in range(0, len(clean) - size + 1, size):
        stop = start + size
        yield inputs[start:stop], clean[start:stop], weights[start:stop]

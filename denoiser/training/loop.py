"""Fitting a network to noisy and clean patches.

Adam or Muon, a warm-up and a fall of the learning rate, averaged weights, the best of them kept, every noise
level weighted alike.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from denoiser._types import Floats
from denoiser.errors import TrainingError
from denoiser.training import checkpoints, losses
from denoiser.training import feed as feeder
from denoiser.training.checkpoints import History as History
from denoiser.training.checkpoints import Point as Point
from denoiser.training.checkpoints import State
from denoiser.training.ema import AVERAGING, EVERY, Averages
from denoiser.training.feed import Feed
from denoiser.training.metrics import weights_of
from denoiser.training.schedule import DECAY, Schedule, share

log = logging.getLogger(__name__)

CHECKS = 10
KEEP_EVERY = 60.0
"""Seconds between two checkpoints; there is one after each check too."""

_BLOCK = 25
"""Batches that are made at a time, where they are of usual sizes; and steps over which a loss is averaged."""

_PATCHES_AT_ONCE = 6400
"""What large batches are bounded by: three or four blocks are in memory, with context 6 kB a patch each."""

_NOTES = 200

_JUMP, _TELLING = 5.0, 1000
"""A block whose loss is so many times the usual one went wrong, if it has patches enough to tell."""

_FORGET = 0.05
_GOOD_EVERY = 250
"""Steps between two states that are kept to go back to."""

_LEAST_SCALE = 2.0**-10


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
    weight_floor: float = 3 / 255,
    optimizer: str = "adam",
    loss: str = "mse",
    schedule: Schedule = "cosine",
    averaging: float = AVERAGING,
    branch_every: int | None = None,
    seed: int = 0,
    keep_on_interrupt: bool = False,
    on_progress: Callable[[Tick], None] | None = None,
    on_better: Callable[[History], None] | None = None,
    resume: State | None = None,
    keep: Callable[[State], None] | None = None,
    jit_compile: bool = False,
) -> History:
    """Train a Keras model of patches, with or without context; it ends with the best averaged weights seen.

    The budget is `steps` or `minutes`, counted from the end of the first step, which compiles. validation:
    (noisy, clean), checked ten times on the way. weight_floor: see `weights_of`. optimizer: "adam" (Kingma
    and Ba, 2015), "nadam" (Dozat, 2016, with a short memory of how large gradients were), or "muon"
    (`denoiser.training.muon`) for the kernels between the first and the last. loss: "mse", or "paper", which
    is content with more than white where white is wanted, so that clipping makes it exact. schedule: see
    `denoiser.training.schedule.share`. averaging: how much of the average of weights a step keeps.
    jit_compile: compile the step with XLA, which on 2 cores makes a network of two kernels a quarter to a
    half faster, and the mixer a fifth slower. With `keep_on_interrupt`
    Ctrl-C ends the training early instead of raising; `History.interrupted` says so.

    branch_every: after so many patches, and again after as many more, the learning rate falls to nothing over
    15 % of the patches seen until then. If the outcome is the best so far by validation, `on_better` is
    called while the model has those weights. The training then goes on from before the branch.

    A step whose loss is no number, or many times the usual one, takes the training back to its last good
    state, and halves the learning rate from there on.

    keep: called with the training's state after each check and about once a minute. resume: such a state, to
    go on from; the model and all else must be as they were. With `steps` the same seed gives the same weights
    on the same machine, and also when it was resumed, as far as the feed is a function of its generator and
    of its `memory` (see `denoiser.training.feed`).

    Raises TrainingError when the budget is not one of the two, the loss stays no number, or `resume`
    belongs to another network, and KeyboardInterrupt (the model's weights are then in no particular state).
    """
    if (minutes is None) == (steps is None) or (minutes or steps or 0) <= 0:
        raise TrainingError("Training takes either minutes or steps, and more than none.")
    model.compile(
        optimizer=losses.optimizer(optimizer, learning_rate),
        loss=losses.LOSSES[loss],
        jit_compile=_compiled() if jit_compile else "auto",
    )
    history, averages = History(), Averages(model, validation, weight_floor, averaging)
    rng = np.random.default_rng(seed)
    clock = _Clock(minutes, steps)
    if resume is not None:
        rng = _resume(model, feed, resume)
        history = replace(resume.history, continued=resume.history.continued + 1)
        averages.resume(resume)
        clock = _Clock(minutes, steps, done=resume.step, seconds=history.seconds)
    run = _Run(model, clock, history, averages, learning_rate, schedule, batch_size, weight_floor)
    if resume is not None:
        run.scale = resume.scale
    block_size = batch_size * min(_BLOCK, max(1, _PATCHES_AT_ONCE // batch_size))

    def tell() -> None:
        if on_progress and run.due:
            on_progress(clock.tick(history, batch_size))

    with feeder.ahead(feed, block_size, rng) as blocks:
        last_kept, checks = time.monotonic(), len(history.points)
        try:
            for block in blocks:
                before = history.patches
                run.learn(block, tell)
                if clock.fraction >= 1.0:
                    break
                branch = branch_every and before // branch_every < history.patches // branch_every
                late = time.monotonic() - last_kept >= KEEP_EVERY
                if keep and (branch or late or len(history.points) > checks):
                    keep(run.state(block.after))
                    last_kept, checks = time.monotonic(), len(history.points)
                if branch_every and branch and run.branch(blocks, int(DECAY * history.patches), tell):
                    with averages.best_weights():
                        (on_better or (lambda _: None))(history)
        except KeyboardInterrupt:
            if not keep_on_interrupt or not averages.average:
                raise
            history.interrupted = True
            averages.check(
                history, min(clock.fraction, 1.0), history.patches, run.loss, clock.seconds, branch=False
            )
    if not averages.best:
        raise diverged()
    history.seconds = clock.seconds
    averages.restore_best()
    return history


def diverged() -> TrainingError:
    """Make the error of a training that is past help."""
    return TrainingError(
        "The training diverged: its loss is no longer a number.", "Use a lower learning rate."
    )


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


@dataclass(frozen=True)
class _Good:
    """A training to go back to: copies of the model's weights, the optimizer's variables and the average."""

    step: int
    weights: list[Floats]
    optimizer: list[npt.NDArray[Any]]
    average: list[Floats]


class _Run:
    """The steps of one training."""

    def __init__(
        self,
        model: Any,
        clock: _Clock,
        history: History,
        averages: Averages,
        learning_rate: float,
        schedule: Schedule,
        batch_size: int,
        weight_floor: float,
    ) -> None:
        self._model, self._clock, self._history, self._averages = model, clock, history, averages
        self._learning_rate, self._schedule = learning_rate, schedule
        self._batch_size, self._weight_floor = batch_size, weight_floor
        self.loss = math.nan
        self.due = False
        self.scale = 1.0
        """What is left of the learning rate after steps that went wrong."""
        self._usual: float | None = None
        self._good: _Good | None = None

    def learn(self, block: feeder.Block, tell: Callable[[], None]) -> None:
        """Learn from the batches of a block until the budget is spent."""
        clock, history = self._clock, self._history
        loss = math.nan
        for batch in _batches(block, self._batch_size, self._weight_floor):
            rate = share(self._schedule, clock.done, clock.fraction)
            loss = self._step(*batch, rate, first=clock.done % _BLOCK == 0)
            clock.step()
            history.patches += len(batch[0])
            self.due = clock.done % EVERY == 1 or clock.fraction >= 1.0
            if self.due:
                self._averages.add(clock.done - 1)
            if not math.isfinite(loss):
                break
            self._note(loss)
            tell()
            if clock.fraction >= 1.0:
                break
        self._guard(loss, len(block.clean))

    def branch(self, blocks: Iterator[feeder.Block], patches: int, tell: Callable[[], None]) -> bool:
        """Let the rate fall to nothing over so many patches; return True if that gave the best weights.

        Afterwards the model, the optimizer and the average are what they were before.
        """
        before, done, steps = self._snapshot(), 0, max(1, patches // self._batch_size)
        while done < steps:
            for batch in _batches(next(blocks), self._batch_size, self._weight_floor):
                self.loss = self._step(*batch, 1.0 - done / steps, first=done % _BLOCK == 0)
                done += 1
                self.due = done % EVERY == 1
                if self.due or done == steps:
                    self._averages.add(self._clock.done + done)
                tell()
                if done == steps:
                    break
        clock, history = self._clock, self._history
        seen = history.patches + done * self._batch_size
        better = self._averages.check(history, clock.fraction, seen, self.loss, clock.seconds, branch=True)
        self._restore(before)
        return better

    def _step(self, inputs: Floats, clean: Floats, weights: Floats, rate: float, *, first: bool) -> float:
        """Learn from one batch; return the mean loss since the `first` of its block."""
        model = self._model
        model.optimizer.learning_rate = self._learning_rate * self.scale * rate
        if first:
            model.reset_metrics()
        result = model.train_on_batch(inputs, clean, sample_weight=weights)
        return float(np.asarray(result).ravel()[0])

    def _note(self, loss: float) -> None:
        """Measure the average of weights when it is time to, and add to the curve."""
        clock, history = self._clock, self._history
        noted = history.curve[-1].fraction if history.curve else 0.0
        if clock.fraction >= min(1.0, (sum(not point.branch for point in history.points) + 1) / CHECKS):
            self.loss = loss
            self._averages.check(history, clock.fraction, history.patches, loss, clock.seconds, branch=False)
        elif clock.fraction >= noted + 1 / _NOTES and clock.done % _BLOCK == 0:
            self.loss = loss
            history.curve.append(Point(clock.fraction, history.patches, loss, None, clock.seconds))

    def _guard(self, loss: float, patches: int) -> None:
        """Go back to the last good state if the loss of a block is no number or far above the usual."""
        usual = self._usual
        if math.isfinite(loss) and (usual is None or patches < _TELLING or loss <= _JUMP * usual):
            self._usual = loss if usual is None else usual + _FORGET * (loss - usual)
            if self._good is None or self._clock.done >= self._good.step + _GOOD_EVERY:
                self._good = self._snapshot()
            return
        if self._good is None or self.scale < _LEAST_SCALE:
            raise diverged()
        self._restore(self._good)
        if self.scale == 1.0:
            log.warning("The training went astray; it goes on from its last good state, in smaller steps.")
        self.scale /= 2.0

    def _snapshot(self) -> _Good:
        model, averages = self._model, self._averages
        return _Good(
            step=self._clock.done,
            weights=averages.current(),
            optimizer=[np.array(_numpy(variable)) for variable in model.optimizer.variables],
            average=[value.copy() for value in averages.average],
        )

    def _restore(self, good: _Good) -> None:
        self._model.set_weights(good.weights)
        for variable, value in zip(self._model.optimizer.variables, good.optimizer, strict=True):
            variable.assign(value)
        self._averages.average = [value.copy() for value in good.average]

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
            scale=self.scale,
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


def _batches(block: feeder.Block, size: int, weight_floor: float) -> Iterator[tuple[Floats, Floats, Floats]]:
    inputs, clean = block.inputs, block.clean
    # Keras averages a loss over its last axis and then weights what is left: (N, 28).
    weights = np.repeat(weights_of(inputs, clean, weight_floor)[:, None], clean.shape[1], axis=1)
    for start in range(0, len(clean) - size + 1, size):
        stop = start + size
        yield inputs[start:stop], clean[start:stop], weights[start:stop]

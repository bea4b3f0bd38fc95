"""The training loop: fits a network to noisy and clean patches.

It schedules the learning rate, averages the weights, keeps the best average by validation, and weights all
noise levels alike.
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
from denoiser.training.checkpoints import History, Point, State
from denoiser.training.ema import EVERY, Averages
from denoiser.training.feed import Feed
from denoiser.training.metrics import weights_of
from denoiser.training.recipes import Optimization
from denoiser.training.schedule import DECAY, share

log = logging.getLogger(__name__)

CHECKS = 10
KEEP_EVERY = 60.0
"""Seconds between two checkpoints; each check is followed by one too."""

_BLOCK = 25
"""Batches in a block, unless they are large; and steps over which the loss is averaged."""

_PATCHES_AT_ONCE = 6400
"""Patches in a block of large batches: memory holds up to four blocks, of 6 kB a patch with context."""

_NOTES = 200

_JUMP, _TELLING = 5.0, 1000
"""Factor above the usual loss from which a block went wrong, and the patches that such a block must have."""

_FORGET = 0.05
_GOOD_EVERY = 250
"""Steps between two states that the training can return to."""

_LEAST_SCALE = 2.0**-10


@dataclass(frozen=True)
class Tick:
    """Progress of a training: share done, patches per second, dB at the last check."""

    fraction: float
    rate: float
    db: float | None


def _ignore(_: object) -> None:
    """Do nothing."""


def fit(
    model: Any,
    feed: Feed,
    validation: tuple[Floats, Floats],
    optimization: Optimization | None = None,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    resume: State | None = None,
    keep_on_interrupt: bool = False,
    keep_start: bool = False,
    refine: feeder.Refine | None = None,
    on_progress: Callable[[Tick], None] = _ignore,
    on_better: Callable[[History], None] = _ignore,
    on_state: Callable[[State], None] = _ignore,
) -> History:
    """Train a Keras model on patches; it ends with the best averaged weights.

    A branch (`Optimization.branch_every`) lowers the learning rate to zero over 15 % of the patches seen so
    far. If that gives the best validation so far, `on_better` is called while the model has those weights.
    The training then continues from before the branch.

    If the loss of a step is no number, or many times the usual loss, the training returns to its last good
    state and halves the learning rate.

    With `steps` the same seed gives the same weights on the same machine, also if the training was resumed,
    provided that the feed depends only on its generator and its `memory` (see `denoiser.training.feed`).

    Args:
        model: Keras model of patches, with or without context.
        feed: Makes the patches.
        validation: Noisy and clean patches, evaluated ten times during the training.
        optimization: How the weights are fitted; None for the defaults.
        minutes: Budget in minutes, counted from the end of the first step, which compiles.
        steps: Budget in steps, instead of `minutes`.
        seed: Seed of the feed's generator.
        resume: State to continue from; all other arguments must be the same as before.
        keep_on_interrupt: Whether Ctrl-C ends the training early instead of raising.
        keep_start: Whether it ends with the model's first weights if no later ones validate better.
        refine: Changes the targets of the patches; each check refreshes it with the averaged weights.
        on_progress: Called every few steps.
        on_better: Called with the history after a branch that gave the best weights so far.
        on_state: Called with the training's state after each check, and about once a minute. The arrays of
            the state are valid until the next step.

    Returns:
        The history; `History.interrupted` is True if Ctrl-C ended the training.

    Raises:
        TrainingError: The budget is not either steps or minutes, the loss stays no number, or `resume`
            belongs to another network.
        KeyboardInterrupt: Ctrl-C was pressed, and the model's weights are in no particular state.
    """
    if (minutes is None) == (steps is None) or (minutes or steps or 0) <= 0:
        raise TrainingError("Training takes either minutes or steps, and more than none.")
    optimization = optimization or Optimization()
    model.compile(**losses.compile_settings(optimization))
    rng = _restore(model, feed, resume) if resume else np.random.default_rng(seed)
    if refine is not None:
        _begin(refine, model, resume)
    run = _Run(model, validation, optimization, minutes, steps, resume, on_progress, refine)
    if keep_start and resume is None:
        run.averages.keep_start()
    batch = optimization.batch_size
    with feeder.ahead(feed, batch * min(_BLOCK, max(1, _PATCHES_AT_ONCE // batch)), rng) as blocks:
        try:
            run.learn_all(blocks, on_better, on_state)
        except KeyboardInterrupt:
            if not keep_on_interrupt or not run.averages.average:
                raise
            run.history.interrupted = True
            run.check()
    return run.finish()


def diverged() -> TrainingError:
    """Return the error of a training that diverged."""
    return TrainingError(
        "The training diverged: its loss is no longer a number.", "Use a lower learning rate."
    )


def _restore(model: Any, feed: Feed, state: State) -> np.random.Generator:
    """Restore the model, its optimizer and the feed; return the feed's generator."""
    model.optimizer.build(model.trainable_variables)
    if not checkpoints.fits(state, model, model.optimizer):
        raise TrainingError("The unfinished training is that of another network.", "Start over with --force.")
    model.set_weights(state.weights)
    for variable, value in zip(model.optimizer.variables, state.optimizer, strict=True):
        variable.assign(value)
    return feeder.rewind(feed, state.source)


def _begin(refine: feeder.Refine, model: Any, resume: State | None) -> None:
    """Refresh with the model's first weights, or restore the state of an unfinished training."""
    if resume is None:
        refine.refresh(model)
        return
    kept = resume.source.memory
    refine.memory.update({key: value for key, value in kept.items() if key.startswith(feeder.REFINED)})
    refine.resume(model)


@dataclass(frozen=True)
class _Good:
    """A state to return to: copies of the model's weights, the optimizer's variables and the average."""

    step: int
    weights: list[Floats]
    optimizer: list[npt.NDArray[Any]]
    average: list[Floats]


class _Run:
    """The steps of one training."""

    def __init__(
        self,
        model: Any,
        validation: tuple[Floats, Floats],
        optimization: Optimization,
        minutes: float | None,
        steps: int | None,
        resume: State | None,
        on_progress: Callable[[Tick], None],
        refine: feeder.Refine | None = None,
    ) -> None:
        self._refine = refine
        self.averages = Averages(model, validation, optimization)
        self.history, done = History(), 0
        self._scale = 1.0  # of the learning rate; halved when a step went wrong
        if resume is not None:
            self.averages.resume(resume)
            self.history = replace(resume.history, continued=resume.history.continued + 1)
            self._scale, done = resume.scale, resume.step
        self._clock = _Clock(minutes, steps, done=done, seconds=self.history.seconds)
        self._model, self._optimization, self._on_progress = model, optimization, on_progress
        self._loss = math.nan
        self._usual: float | None = None
        self._good: _Good | None = None

    def learn_all(
        self,
        blocks: Iterator[feeder.Block],
        on_better: Callable[[History], None],
        on_state: Callable[[State], None],
    ) -> None:
        """Learn from blocks until the budget is spent, with branches and checkpoints in between."""
        every, saved, checks = self._optimization.branch_every, time.monotonic(), len(self.history.points)
        for block in blocks:
            before = self.history.patches
            self._learn(block)
            if self._clock.fraction >= 1.0:
                return
            branch = every is not None and before // every < self.history.patches // every
            overdue = time.monotonic() - saved >= KEEP_EVERY
            if branch or overdue or len(self.history.points) > checks:
                on_state(self._state(block.after))
                saved, checks = time.monotonic(), len(self.history.points)
            if branch and self._branch(blocks, int(DECAY * self.history.patches)):
                with self.averages.best_weights():
                    on_better(self.history)

    def check(self) -> None:
        """Evaluate the averaged weights on the validation patches."""
        fraction = min(self._clock.fraction, 1.0)
        self._check(fraction, self.history.patches, branch=False)

    def finish(self) -> History:
        """Give the model the best weights and return the history. Raises TrainingError if it diverged."""
        if not self.averages.best:
            raise diverged()
        self.history.seconds = self._clock.seconds
        self.averages.restore_best()
        return self.history

    def _check(self, fraction: float, patches: int, *, branch: bool) -> bool:
        better = self.averages.check(
            self.history, fraction, patches, self._loss, self._clock.seconds, branch=branch
        )
        if self._refine is not None and not branch and fraction < 1.0:
            with self.averages.average_weights():
                self._refine.refresh(self._model)
        return better

    def _learn(self, block: feeder.Block) -> None:
        """Learn from the batches of a block until the budget is spent."""
        clock, loss = self._clock, math.nan
        if self._refine is not None:
            block = replace(block, clean=self._refine.targets(block, clock.fraction))
        for batch in _batches(block, self._optimization):
            rate = share(self._optimization.schedule, clock.done, clock.fraction)
            loss = self._step(*batch, rate, first=clock.done % _BLOCK == 0)
            clock.step()
            self.history.patches += len(batch[0])
            due = clock.done % EVERY == 1 or clock.fraction >= 1.0
            if due:
                self.averages.add(clock.done - 1)
            if not math.isfinite(loss):
                break
            self._note(loss)
            if due:
                self._report()
            if clock.fraction >= 1.0:
                break
        self._guard(loss, len(block.clean))

    def _branch(self, blocks: Iterator[feeder.Block], patches: int) -> bool:
        """Lower the rate to zero over so many patches; return True if that gave the best weights.

        Afterwards the model, the optimizer and the average are as they were before.
        """
        before, done, size = self._snapshot(), 0, self._optimization.batch_size
        steps = max(1, patches // size)
        while done < steps:
            for batch in _batches(next(blocks), self._optimization):
                self._loss = self._step(*batch, 1.0 - done / steps, first=done % _BLOCK == 0)
                done += 1
                due = done % EVERY == 1
                if due or done == steps:
                    self.averages.add(self._clock.done + done)
                if due:
                    self._report()
                if done == steps:
                    break
        better = self._check(self._clock.fraction, self.history.patches + done * size, branch=True)
        self._return_to(before)
        return better

    def _report(self) -> None:
        self._on_progress(self._clock.tick(self.history, self._optimization.batch_size))

    def _step(self, inputs: Floats, clean: Floats, weights: Floats, rate: float, *, first: bool) -> float:
        """Learn from one batch; return the mean loss since the `first` of its block."""
        model = self._model
        model.optimizer.learning_rate = self._optimization.learning_rate * self._scale * rate
        if first:
            model.reset_metrics()
        result = model.train_on_batch(inputs, clean, sample_weight=weights)
        return float(np.asarray(result).ravel()[0])

    def _note(self, loss: float) -> None:
        """Evaluate the averaged weights when a check is due, and add a point to the curve."""
        clock, history = self._clock, self.history
        noted = history.curve[-1].fraction if history.curve else 0.0
        if clock.fraction >= min(1.0, (sum(not point.branch for point in history.points) + 1) / CHECKS):
            self._loss = loss
            self._check(clock.fraction, history.patches, branch=False)
        elif clock.fraction >= noted + 1 / _NOTES and clock.done % _BLOCK == 0:
            self._loss = loss
            history.curve.append(Point(clock.fraction, history.patches, loss, None, clock.seconds))

    def _guard(self, loss: float, patches: int) -> None:
        """Return to the last good state if the loss of a block is no number, or far above the usual."""
        usual = self._usual
        if math.isfinite(loss) and (usual is None or patches < _TELLING or loss <= _JUMP * usual):
            self._usual = loss if usual is None else usual + _FORGET * (loss - usual)
            if self._good is None or self._clock.done >= self._good.step + _GOOD_EVERY:
                self._good = self._snapshot()
            return
        if self._good is None or self._scale < _LEAST_SCALE:
            raise diverged()
        self._return_to(self._good)
        if self._scale == 1.0:
            log.warning(
                "The training diverged; it returns to its last good state and continues in smaller steps."
            )
        self._scale /= 2.0

    def _snapshot(self) -> _Good:
        model, averages = self._model, self.averages
        return _Good(
            step=self._clock.done,
            weights=averages.current(),
            optimizer=[np.array(_numpy(variable)) for variable in model.optimizer.variables],
            average=[value.copy() for value in averages.average],
        )

    def _return_to(self, good: _Good) -> None:
        self._model.set_weights(good.weights)
        for variable, value in zip(self._model.optimizer.variables, good.optimizer, strict=True):
            variable.assign(value)
        self.averages.average = [value.copy() for value in good.average]

    def _state(self, source: feeder.Source) -> State:
        """Return all that is needed to resume; its arrays are valid until the next step."""
        self.history.seconds = self._clock.seconds
        if self._refine is not None:
            source = replace(source, memory={**source.memory, **self._refine.memory})
        return State(
            step=self._clock.done,
            fraction=self._clock.fraction,
            weights=self.averages.current(),
            average=self.averages.average,
            best=self.averages.best,
            score=self.averages.score,
            optimizer=[np.asarray(_numpy(variable)) for variable in self._model.optimizer.variables],
            source=source,
            history=self.history,
            scale=self._scale,
        )


def _numpy(variable: Any) -> Any:
    from keras import ops

    return ops.convert_to_numpy(variable)


class _Clock:
    """The part of the budget that is spent, in steps or in time since the end of the first step."""

    def __init__(
        self, minutes: float | None, steps: int | None, *, done: int = 0, seconds: float = 0.0
    ) -> None:
        self._minutes, self._steps = minutes, steps
        self._before, self._steps_before = seconds, done
        self._made = self._started = time.monotonic()
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
        now, steps = time.monotonic(), self.done - self._steps_before
        # The first step, which compiles the network, tells little, but it is all there is.
        counted, since = (steps - 1, self._started) if steps > 1 else (1, self._made)
        rate = batch_size * counted / max(now - since, 1e-3)
        return Tick(min(self.fraction, 1.0), rate, history.points[-1].db if history.points else None)

    def step(self) -> None:
        self.done += 1
        if self.done - self._steps_before == 1:
            self._started = time.monotonic()
        self.fraction = self._spent()


def _batches(block: feeder.Block, optimization: Optimization) -> Iterator[tuple[Floats, Floats, Floats]]:
    """Yield the inputs, clean patches and weights of each batch in a block."""
    inputs, clean, size = block.inputs, block.clean, optimization.batch_size
    # Keras averages a loss over its last axis and then weights what is left: (N, 28).
    weights = np.repeat(weights_of(inputs, clean, optimization.weight_floor)[:, None], clean.shape[1], axis=1)
    for start in range(0, len(clean) - size + 1, size):
        stop = start + size
        yield inputs[start:stop], clean[start:stop], weights[start:stop]

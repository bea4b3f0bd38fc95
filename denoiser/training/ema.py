"""The exponential moving average of a model's weights, and the best average by validation."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from denoiser._types import Floats
from denoiser.training.checkpoints import History, Point, State
from denoiser.training.metrics import errors_of, psnr, weights_of
from denoiser.training.recipes import Optimization

log = logging.getLogger(__name__)


EVERY = 20


class Averages:
    """Averages in NumPy, updated every `EVERY` steps; more often gains nothing. Equal on every backend."""

    def __init__(self, model: Any, validation: tuple[Floats, Floats], optimization: Optimization) -> None:
        self._model, self._averaging = model, optimization.averaging
        self._noisy, self._clean = validation
        self._weights = weights_of(*validation, optimization.weight_floor)
        self.average: list[Floats] = []
        self.best: list[Floats] = []
        self.score: float | None = None

    def resume(self, state: State) -> None:
        """Restore the averages from a checkpoint."""
        self.average, self.best, self.score = state.average, state.best, state.score

    def keep_start(self) -> None:
        """Take the model's weights for the best so far, so that only better ones replace them."""
        errors = errors_of(self._model, self._noisy, self._clean)
        self.score, self.best = float(np.mean(self._weights * errors)), self.current()

    def current(self) -> list[Floats]:
        """Return copies of the model's weights: some backends return views of the weights."""
        return [np.array(value, dtype=np.float32) for value in self._model.get_weights()]

    def add(self, step: int) -> None:
        """Update the average with the weights of this step."""
        current = self.current()
        if not self.average:
            self.average = current
            return
        # Early on, forget faster: otherwise the first weights would dominate the average.
        keep = np.float32(min(self._averaging, (1 + step) / (10 + step)) ** EVERY)
        for average, value in zip(self.average, current, strict=True):
            value -= average
            value *= np.float32(1.0) - keep
            average += value

    def check(
        self, history: History, fraction: float, patches: int, loss: float, seconds: float, *, branch: bool
    ) -> bool:
        """Evaluate the average on the validation patches, record the result, and keep the best average.

        Returns True if this average is the best so far. A result that is no number is discarded.
        """
        current = self.current()
        self._model.set_weights(self.average)
        errors = errors_of(self._model, self._noisy, self._clean)
        self._model.set_weights(current)
        score, db = float(np.mean(self._weights * errors)), psnr(float(np.mean(errors)))
        if not math.isfinite(score):
            return False
        point = Point(fraction, patches, loss, db, seconds, branch)
        history.points.append(point)
        history.curve.append(point)
        log.info("%3.0f %%: %d patches, loss %.3g, %.2f dB", 100 * fraction, point.patches, loss, db)
        better = self.score is None or score < self.score
        if better:
            self.score, self.best = score, [average.copy() for average in self.average]
            history.best = point
        return better

    @contextmanager
    def average_weights(self) -> Iterator[None]:
        """Give the model the average within the context."""
        current = self.current()
        self._model.set_weights(self.average or current)
        try:
            yield
        finally:
            self._model.set_weights(current)

    @contextmanager
    def best_weights(self) -> Iterator[None]:
        """Give the model the best average within the context."""
        current = self.current()
        self.restore_best()
        try:
            yield
        finally:
            self._model.set_weights(current)

    def restore_best(self) -> None:
        """Give the model the best average."""
        if self.best:
            self._model.set_weights(self.best)

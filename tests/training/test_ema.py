"""The average of the weights, and the best average."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from denoiser.training.checkpoints import History
from denoiser.training.ema import EVERY, Averages
from denoiser.training.recipes import Optimization

CLEAN = np.full((3, 28, 28), 0.5, np.float32)
NOISY = CLEAN + np.float32(0.1)


class Model:
    """Stands for a Keras model: it answers every patch with its only weight."""

    def __init__(self) -> None:
        self.weights = [np.zeros(1, np.float32)]

    def get_weights(self) -> list[Any]:
        return self.weights

    def set_weights(self, weights: list[Any]) -> None:
        self.weights = [np.array(value) for value in weights]

    def predict_on_batch(self, patches: Any) -> Any:
        return np.full(patches.shape[:3], self.weights[0][0], np.float32)


@pytest.fixture
def model() -> Model:
    return Model()


def averages(model: Model) -> Averages:
    return Averages(model, (NOISY, CLEAN), Optimization(averaging=0.99))


def test_the_average_follows_the_weights_slowly_and_early_on_faster(model: Model) -> None:
    shares = []
    for step in (1, 100_000):
        found = averages(model)
        model.set_weights([np.zeros(1)])
        found.add(0)
        model.set_weights([np.ones(1)])
        found.add(step)
        shares.append(float(found.average[0][0]))
    assert shares == pytest.approx([1 - (2 / 11) ** EVERY, 1 - 0.99**EVERY])


def test_the_best_average_is_kept_and_the_models_own_weights_stay(model: Model) -> None:
    found, history = averages(model), History()
    better = []
    for value in (0.2, 0.45, 0.9):
        found.average = [np.full(1, value, np.float32)]
        model.set_weights([np.full(1, 7.0)])
        better.append(found.check(history, 0.5, 10, 0.1, 1.0, branch=False))
        assert model.weights[0] == 7.0
    assert better == [True, True, False]
    assert history.best is history.points[1]
    first, second, third = (point.db or 0.0 for point in history.points)
    assert second > first > third > 0.0
    found.restore_best()
    assert model.weights[0] == np.float32(0.45)


def test_a_result_that_is_no_number_is_discarded(model: Model) -> None:
    found, history = averages(model), History()
    found.average = [np.full(1, np.nan, np.float32)]
    assert not found.check(history, 0.5, 10, 0.1, 1.0, branch=False)
    assert (history.points, found.best) == ([], [])


def test_the_start_is_the_best_until_something_is_better(model: Model) -> None:
    found, history = averages(model), History()
    model.set_weights([np.full(1, 0.48)])
    found.keep_start()
    found.average = [np.full(1, 0.4, np.float32)]
    assert not found.check(history, 0.5, 10, 0.1, 1.0, branch=False)
    assert found.best[0] == np.float32(0.48)


def test_the_model_has_the_average_or_the_best_only_within_the_context(model: Model) -> None:
    found = averages(model)
    model.set_weights([np.full(1, 7.0)])
    found.average, found.best = [np.full(1, 0.2, np.float32)], [np.full(1, 0.4, np.float32)]
    with found.average_weights():
        assert model.weights[0] == np.float32(0.2)
    assert model.weights[0] == 7.0
    with found.best_weights():
        assert model.weights[0] == np.float32(0.4)
    assert model.weights[0] == 7.0

"""Fitting a network to noisy and clean patches, and making a network's model file from nothing.

`fit` is the method: Adam, a warm-up and a cosine, averaged weights, the best of them kept, every noise level
weighted alike. `train_network` is the whole way for a known network, from data to one published file; the
command uses it when a network has no weights. Both keep to what every Keras backend has. Keras is imported
inside the functions, so that importing this module costs nothing.
"""

from __future__ import annotations

import logging
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from denoiser.errors import TrainingError
from denoiser.quiet import quietly
from denoiser.recipes import RECIPES, Lesson, Recipe, lesson_for
from denoiser.tiles import own

if TYPE_CHECKING:
    from denoiser.modelfile import ModelFile
    from denoiser.report import Progress

log = logging.getLogger(__name__)

Array = npt.NDArray[np.float32]
#: Makes the next patches: `feed(number, rng)` -> (noisy, clean), both float32 (number, 28, 28), 0..1.
Feed = Callable[[int, np.random.Generator], tuple[Array, Array]]

#: How long each network trains when no budget is given.
DEFAULT_MINUTES = {name: recipe.minutes for name, recipe in RECIPES.items()}
WARM_UP = 500
AVERAGING = 0.999
CHECKS = 10
_AVERAGE_EVERY = 20
_BLOCK = 25
_CHUNK = 1024
_WHITE = 0.998
_OVER_WHITE = 0.02


@dataclass(frozen=True)
class Point:
    """Training at one moment: share of the budget spent, patches seen, loss, and dB on validation."""

    fraction: float
    patches: int
    loss: float
    db: float


@dataclass
class History:
    """How a training went. `points` are its checks; `best` is the one whose weights were kept."""

    points: list[Point] = field(default_factory=list)
    best: Point | None = None
    patches: int = 0
    seconds: float = 0.0
    interrupted: bool = False


@dataclass(frozen=True)
class Tick:
    """What a training tells while it runs: share done, patches a second, dB at the last check."""

    fraction: float
    rate: float
    db: float | None


def weights_of(noisy: Array, clean: Array, floor: float) -> Array:
    """How much each patch counts: 1 / (noise + floor), so that every noise level counts about alike.

    A good denoiser's error grows with the noise, and without this the noisiest patches would decide
    everything. noisy: (N, 28, 28) or (N, 28, 28, 2), clean: (N, 28, 28); floor: 0..1 scale. Returns float32
    (N,), about 1 at noise 0.2.
    """
    noise = np.sqrt(np.mean(np.square(own(noisy) - clean), axis=(1, 2)))
    return np.asarray((0.2 + floor) / (noise + floor), dtype=np.float32)


def psnr(error: float) -> float:
    """A mean squared error on the 0..1 scale in dB; infinite for 0."""
    return -10.0 * math.log10(error) if error > 0 else math.inf


def fit(
    model: Any,
    feed: Feed,
    *,
    validation: tuple[Array, Array],
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
) -> History:
    """Train a Keras model of patches, with or without context; it ends with the best averaged weights seen.

    The budget is `steps` (then the same seed gives the same weights on the same machine) or `minutes`,
    counted from the end of the first step, which compiles. validation: (noisy, clean), checked ten times on
    the way. floor: see `weights_of`. optimizer: "adam" (Kingma and Ba, 2015), or "muon" (Jordan, 2024) for
    the kernels between the first and the last. loss: "mse", or "paper", which is content with more than white
    where white is wanted, so that clipping makes it exact. With `keep_on_interrupt` Ctrl-C ends the training
    early instead of raising; `History.interrupted` says so.
    Raises TrainingError when the budget is not one of the two or the loss is no longer a number, and
    KeyboardInterrupt (the model's weights are then in no particular state).
    """
    if (minutes is None) == (steps is None) or (minutes or steps or 0) <= 0:
        raise TrainingError("Training takes either minutes or steps, and more than none.")
    model.compile(optimizer=_optimizer(optimizer, learning_rate), loss=_LOSSES[loss])
    history, state = History(), _Averages(model, validation, floor)
    with _ahead(feed, batch_size * _BLOCK, np.random.default_rng(seed)) as blocks:
        clock = _Clock(minutes, steps)
        try:
            for step, (noisy, clean, weights) in enumerate(_batches(blocks, batch_size, floor)):
                warm_up = min(1.0, max((step + 1) / WARM_UP, clock.fraction / 0.05))
                cosine = 0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * clock.fraction))
                model.optimizer.learning_rate = learning_rate * warm_up * cosine
                if step % _BLOCK == 0:
                    model.reset_metrics()
                result = model.train_on_batch(noisy, clean, sample_weight=weights)
                clock.step()
                if step % _AVERAGE_EVERY == 0 or clock.fraction >= 1.0:
                    state.add(step)
                history.patches += len(noisy)
                if clock.fraction >= min(1.0, (len(history.points) + 1) / CHECKS):
                    value = float(np.asarray(result).ravel()[0])
                    state.check(history, clock.fraction, value)
                if on_progress and (step % _AVERAGE_EVERY == 0 or clock.fraction >= 1.0):
                    on_progress(clock.tick(history))
                if clock.fraction >= 1.0:
                    break
        except KeyboardInterrupt:
            if not keep_on_interrupt or not state.average:
                raise
            history.interrupted = True
            state.check(history, min(clock.fraction, 1.0), math.nan)
    history.seconds = clock.seconds
    state.restore_best()
    return history


def _optimizer(name: str, learning_rate: float) -> Any:
    import keras

    if name == "adam":
        return keras.optimizers.Adam(learning_rate, global_clipnorm=1.0)
    return keras.optimizers.Muon(
        learning_rate,
        global_clipnorm=1.0,
        weight_decay=None,
        adam_weight_decay=None,
        exclude_layers=["embed", "draw"],
    )


def _paper(target: Any, drawn: Any) -> Any:
    """Squared error, but where the target is white, anything from a little above white is right."""
    from keras import ops

    missing = ops.relu(1.0 + _OVER_WHITE - drawn)
    error = ops.where(target >= _WHITE, missing, target - drawn)
    return ops.mean(ops.square(error), axis=-1)


_LOSSES: dict[str, Any] = {"mse": "mse", "paper": _paper}


class _Clock:
    """How much of the budget is spent, in steps or in time since the first step ended."""

    def __init__(self, minutes: float | None, steps: int | None) -> None:
        self._minutes, self._steps = minutes, steps
        self._done = 0
        self._started = time.monotonic()
        self.fraction = 0.0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def tick(self, history: History) -> Tick:
        rate = history.patches * max(self._done - 1, 1) / self._done / max(self.seconds, 1e-3)
        return Tick(min(self.fraction, 1.0), rate, history.points[-1].db if history.points else None)

    def step(self) -> None:
        self._done += 1
        if self._steps is not None:
            self.fraction = self._done / self._steps
        elif self._minutes is not None and self._done > 1:
            self.fraction = self.seconds / (60.0 * self._minutes)
        if self._done == 1:
            self._started = time.monotonic()


class _Averages:
    """The exponential average of a model's weights, and the best average by validation.

    Kept in NumPy, every few steps: the same on every backend, and at 0.999 the steps between are worth
    nothing.
    """

    def __init__(self, model: Any, validation: tuple[Array, Array], floor: float) -> None:
        self._model = model
        self._noisy, self._clean = validation
        self._weights = weights_of(*validation, floor)
        self.average: list[Array] = []
        self._best: tuple[float, list[Array]] | None = None

    def _current(self) -> list[Array]:
        # A copy: some backends hand out views of the weights themselves.
        return [np.array(value, dtype=np.float32) for value in self._model.get_weights()]

    def add(self, step: int) -> None:
        current = self._current()
        if not self.average:
            self.average = current
            return
        # Early on the average would still be made of the first weights: let it forget them faster.
        keep = min(AVERAGING, (1 + step) / (10 + step)) ** _AVERAGE_EVERY
        for average, value in zip(self.average, current, strict=True):
            average *= keep
            average += (1.0 - keep) * value

    def check(self, history: History, fraction: float, loss: float) -> None:
        current = self._current()
        self._model.set_weights(self.average)
        errors = errors_of(self._model, self._noisy, self._clean)
        self._model.set_weights(current)
        score = float(np.mean(self._weights * errors))
        point = Point(fraction, history.patches, loss, psnr(float(np.mean(errors))))
        history.points.append(point)
        if not math.isfinite(score):
            raise TrainingError(
                "The training diverged: its loss is no longer a number.", "Use a lower learning rate."
            )
        if self._best is None or score < self._best[0]:
            self._best = (score, [average.copy() for average in self.average])
            history.best = point
        log.info("%3.0f %%: %d patches, loss %.3g, %.2f dB", 100 * fraction, point.patches, loss, point.db)

    def restore_best(self) -> None:
        if self._best is not None:
            self._model.set_weights(self._best[1])


def errors_of(model: Any, noisy: Array, clean: Array) -> Array:
    """Mean squared error of each reconstructed patch, outputs clipped to 0..1 as files are; float32 (N,)."""
    errors = np.empty(len(noisy), dtype=np.float32)
    for start in range(0, len(noisy), _CHUNK):
        chunk = noisy[start : start + _CHUNK]
        # Always one shape: another would be compiled anew.
        padded = np.zeros((_CHUNK, *noisy.shape[1:]), dtype=np.float32)
        padded[: len(chunk)] = chunk
        output = np.clip(np.asarray(model.predict_on_batch(padded))[: len(chunk)], 0.0, 1.0)
        errors[start : start + _CHUNK] = np.mean(
            np.square(output - clean[start : start + _CHUNK]), axis=(1, 2)
        )
    return errors


@contextmanager
def _ahead(feed: Feed, number: int, rng: np.random.Generator) -> Iterator[Iterator[tuple[Array, Array]]]:
    """Blocks of patches, made by a thread while the last ones are being learnt from."""
    ready: queue.Queue[tuple[Array, Array] | BaseException] = queue.Queue(2)
    stopped = threading.Event()

    def put(item: tuple[Array, Array] | BaseException) -> None:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.2)
            except queue.Full:
                continue
            return

    def work() -> None:
        try:
            while not stopped.is_set():
                put(feed(number, rng))
        except BaseException as error:  # handed to the thread that waits for the block
            put(error)

    def blocks() -> Iterator[tuple[Array, Array]]:
        while True:
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item

    thread = threading.Thread(target=work, name="patches", daemon=True)
    thread.start()
    try:
        yield blocks()
    finally:
        stopped.set()
        thread.join()


def _batches(
    blocks: Iterator[tuple[Array, Array]], size: int, floor: float
) -> Iterator[tuple[Array, Array, Array]]:
    for noisy, clean in blocks:
        # Keras averages a loss over its last axis and then weights what is left: (N, 28).
        weights = np.repeat(weights_of(noisy, clean, floor)[:, None], noisy.shape[1], axis=1)
        for start in range(0, len(noisy) - size + 1, size):
            stop = start + size
            yield noisy[start:stop], clean[start:stop], weights[start:stop]


def train_network(
    network: str,
    destination: Path,
    *,
    data: Path | None = None,
    noisy: Path | None = None,
    minutes: float | None = None,
    epochs: int | None = None,
    seed: int = 0,
    start: ModelFile | None = None,
    recipe: Recipe | None = None,
    progress: Progress | None = None,
    download: bool = False,
    keep_on_interrupt: bool = False,
    keep_anyway: bool = False,
) -> dict[str, Any]:
    """Train a known network on the best data there is, and write one model file.

    network: `digits`, `general` or `document`. data: a folder of clean images (for `digits` also one with
    MNIST); without it DENOISER_DATA and Keras's cache are looked through for MNIST, and what is missing is
    drawn by the generator. noisy: a folder of noisy images for the clean ones in `data`. minutes or epochs:
    the budget; without either, the recipe's minutes. With epochs,
    the same seed gives the same weights on the same machine. start: weights to go on from. download: let
    Keras fetch MNIST. keep_on_interrupt: Ctrl-C keeps the best so far instead of raising.

    `destination` is written whole or not at all, its folder made if needed. Returns the model card, which the
    file holds too. Raises TrainingError: no such network, no data, diverged, or worse than doing nothing on
    validation (unless `keep_anyway`).
    """
    from denoiser.report import NullProgress

    if recipe is None:
        if network not in RECIPES:
            raise TrainingError(f"There is no network called {network!r}.", f"Known: {', '.join(RECIPES)}.")
        recipe = RECIPES[network]
    if minutes is None and epochs is None:
        minutes = recipe.minutes
    if start is not None:
        _same_kind(recipe, start)
        recipe = replace(recipe, config=start.config)  # what it is shown depends on what it is
    progress = progress or NullProgress()
    lesson = lesson_for(recipe, data=data, noisy=noisy, seed=seed, minutes=minutes, download=download)
    steps = None if epochs is None else max(1, epochs * lesson.epoch // recipe.batch_size)

    with quietly():  # the first weights wake TensorFlow, which looks for GPUs and talks about it
        import keras

        keras.utils.set_random_seed(seed)
        model = _model(recipe, start)
    progress.start(100.0, "%", f"training {network}")
    try:
        history = fit(
            model,
            lesson.feed,
            validation=lesson.validation,
            minutes=minutes,
            steps=steps,
            batch_size=recipe.batch_size,
            learning_rate=recipe.learning_rate,
            floor=recipe.floor,
            optimizer=recipe.optimizer,
            loss=recipe.loss,
            seed=seed,
            keep_on_interrupt=keep_on_interrupt,
            on_progress=lambda tick: progress.update(100.0 * tick.fraction, _line(tick)),
        )
        card = _card(recipe, lesson, model, history, seed=seed, start=start)
        gain = card["validation"]["output_db"] - card["validation"]["input_db"]
        if gain <= 0 and not keep_anyway:
            raise TrainingError(
                f"The trained network is worse than doing nothing ({gain:+.2f} dB on images it has not seen);"
                f" {destination} was not written.",
                "Train for longer, or on images more like yours.",
            )
        from denoiser.models import publish

        publish(model, destination, card, precision=recipe.precision)
    finally:
        progress.finish()
    return card


def _same_kind(recipe: Recipe, start: ModelFile) -> None:
    if start.kind != recipe.kind:
        raise TrainingError(
            f"{start.path} is an {start.kind}, and {recipe.network} is a {recipe.kind}.",
            "Choose with --model.",
        )


def _model(recipe: Recipe, start: ModelFile | None) -> Any:
    from denoiser import models

    if start is not None:
        return models.from_file(start)
    return getattr(models, recipe.kind)(**recipe.arguments)


def _line(tick: Tick) -> str:
    text = f"{tick.rate:,.0f} patches/s"
    return text if tick.db is None else f"{text}, {tick.db:.2f} dB"


def _card(
    recipe: Recipe, lesson: Lesson, model: Any, history: History, *, seed: int, start: ModelFile | None
) -> dict[str, Any]:
    """What a user of the file must be able to look up; plain JSON."""
    import platform

    import keras

    validation = _figure("validation", model, *lesson.validation)
    figures = [_figure(noise, model, noisy, clean) for noise, noisy, clean in lesson.levels()]
    shown = figures[len(figures) // 2] if figures else validation
    return {
        "network": recipe.network,
        "summary": f"{shown['input_db']:.1f} to {shown['output_db']:.1f} dB ({shown['noise']})",
        "trained_on": lesson.data,
        "terms": lesson.terms,
        "noise": recipe.noise.name,
        "seed": seed,
        "started_from": start.digest if start else None,
        "patches": history.patches,
        "minutes": round(history.seconds / 60.0, 1),
        "interrupted": history.interrupted,
        "validation": validation,
        "figures": figures,
        "versions": {
            "keras": keras.__version__,
            "backend": keras.backend.backend(),
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }


def _figure(noise: str, model: Any, noisy: Array, clean: Array) -> dict[str, Any]:
    before = psnr(float(np.mean(np.square(own(noisy) - clean))))
    after = psnr(float(np.mean(errors_of(model, noisy, clean))))
    return {
        "noise": noise,
        "patches": len(noisy),
        "input_db": round(before, 2) if math.isfinite(before) else None,
        "output_db": round(after, 2),
    }


def train(
    network: str = "general",
    *,
    destination: str | os.PathLike[str] | None = None,
    data: str | os.PathLike[str] | None = None,
    minutes: float | None = None,
    epochs: int | None = None,
    seed: int = 0,
    plugins: Iterable[str | os.PathLike[str]] = (),
    plugin_options: Mapping[str, Any] | None = None,
) -> Path:
    """Train a known network and return where its model file is.

    destination: the file to write; without it the user's own store, where `denoiser.Denoiser` and the command
    find it by the network's name. plugins, plugin_options: as for `denoiser.Denoiser`; they change the
    user's images before they are learnt from. The rest is as `train_network` has it, and so are its errors.
    """
    from denoiser import store
    from denoiser.formats import prepared
    from denoiser.plugins import load

    chain = load([str(each) for each in plugins], installed=False, options=plugin_options or {})
    recipe = prepared(RECIPES[network], chain) if chain and network in RECIPES else None
    path = Path(destination) if destination is not None else store.path_for(network)
    folder = Path(data) if data is not None else None
    train_network(network, path, data=folder, minutes=minutes, epochs=epochs, seed=seed, recipe=recipe)
    return path

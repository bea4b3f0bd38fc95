"""The whole way for a known network: from data to one published file, and to what lies beside it."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from denoiser.errors import DeviceError, ImagesError, ModelError, TrainingError, UsageError, reason
from denoiser.system import atomic, hardware
from denoiser.system.stderr import quietly
from denoiser.training import artifacts, checkpoints, evaluation, feed, losses, recipes
from denoiser.training import precision as precisions
from denoiser.training.crops import own
from denoiser.training.datasets import Dataset, dataset_for
from denoiser.training.loop import Tick, fit
from denoiser.training.recipes import Recipe
from denoiser.weights import architectures, store

if TYPE_CHECKING:
    from denoiser.progress import Progress
    from denoiser.training.checkpoints import History, State
    from denoiser.weights.modelfile import ModelFile

log = logging.getLogger(__name__)

_LOOKED_AT = 4096

#: How long each network trains when no budget is given.
DEFAULT_MINUTES = {name: recipe.minutes for name, recipe in recipes.RECIPES.items()}


def train_network(
    network: str,
    destination: Path,
    *,
    data: Path | None = None,
    noisy: Path | None = None,
    validation: float = 0.1,
    minutes: float | None = None,
    epochs: int | None = None,
    seed: int = 0,
    start: ModelFile | None = None,
    recipe: Recipe | None = None,
    device: str = "auto",
    precision: str = "auto",
    plugins: Iterable[Any] = (),
    progress: Progress | None = None,
    tell: Callable[[str], None] = log.info,
    download: bool = False,
    keep_on_interrupt: bool = False,
    keep_anyway: bool = False,
    anew: bool = False,
) -> dict[str, Any]:
    """Train a known network on the best data there is, and write one model file.

    network: `digits`, `general` or `document`. data: a folder of clean images (for `digits` also one with
    MNIST); without it DENOISER_DATA and Keras's cache are looked through for MNIST, and what is missing is
    drawn by the generator. noisy: a folder of noisy images for the clean ones in `data`. validation: the
    share of images that is held out. minutes or epochs: the budget; without either, the recipe's minutes.
    start: weights to go on from. device: `auto`, `cpu` or `gpu`. precision: `auto`, `float32` or `bfloat16`,
    see `denoiser.training.precision`. plugins: as `Plugins.signature` has them,
    for the card. tell: gets sentences for people. download: let Keras fetch MNIST. keep_on_interrupt: Ctrl-C
    keeps the best so far instead of raising.

    About once a minute a checkpoint is written beside `destination`, and removed at the end. Where there is
    one that was started with the same data and settings, the training goes on from it. One that was started
    otherwise is an error, or replaced with `anew`. With epochs, the same seed gives the same weights on the
    same machine; `fit` says what holds after a kill.

    `destination` is written whole or not at all, its folder made if needed; beside it are then a picture of
    noisy, reconstructed and clean patches, and the curve of the training. Returns the model card, which the
    file holds too. Raises TrainingError: no such network, no data, no noise, diverged, or worse than doing
    nothing on validation (unless `keep_anyway`). ModelError: the place can't be written to. DeviceError: no
    such GPU.
    """
    from denoiser.progress import NullProgress

    if recipe is None:
        if network not in recipes.RECIPES:
            raise TrainingError(
                f"There is no network called {network!r}.", f"Known: {', '.join(recipes.RECIPES)}."
            )
        recipe = recipes.RECIPES[network]
    if minutes is None and epochs is None:
        minutes = recipe.minutes
    if start is not None:
        _same_kind(recipe, start)
        shape = _other_shape(recipe, start)
        recipe = dataclasses.replace(recipe, config=start.config)  # what it is shown depends on what it is
    else:
        shape = ""
    progress, plugins = progress or NullProgress(), list(plugins)
    precisions.check(precision, recipe.kind)
    if destination.suffix != store.SUFFIX:
        raise UsageError(f"{destination} can't be a model's file.", f"Let it end in {store.SUFFIX}")
    store.require_place(destination)
    atomic.sweep({destination.parent})
    unfinished = _Unfinished(destination, tell, anew=anew)
    unfinished.read()  # a damaged one must not show after minutes of drawing images
    dataset = dataset_for(
        recipe,
        data=data,
        noisy=noisy,
        seed=seed,
        minutes=minutes,
        validation=validation,
        download=download,
    )
    _refuse_no_noise(recipe, dataset)
    hardware.require_keras("Training")
    begin = f"from {start.name}" if start else "from scratch"
    tell(f"Training {network} {begin} on {dataset.data}. Noise: {recipe.noise.name}.")
    if shape:
        tell(shape)
    steps = None if epochs is None else max(1, epochs * dataset.epoch // recipe.batch_size)
    with quietly():  # the first weights wake TensorFlow, which looks for GPUs and talks about it
        import keras

        place = _place(device)
    budget = {"minutes": minutes, "epochs": epochs}
    origin = start.digest if start else None
    with quietly():
        products, why = precisions.choose(
            precision,
            lambda policy: _compiled(recipe, start, policy),
            feed.looked_at(dataset.feed, recipe.batch_size, seed),
            kind=recipe.kind,
            minutes=minutes,
            before=unfinished.precision,
        )
    if recipe.kind == "PatchAutoencoder":
        tell(f"Products in {products} ({why}).")
    made_with = {
        **_settings(recipe, dataset, data, noisy),
        **budget,
        "seed": seed,
        "validation": validation,
        "start": origin,
        "plugins": plugins,
        "backend": keras.backend.backend(),
        "precision": products,
    }
    resume = unfinished.fitting(made_with)
    with contextlib.ExitStack() as stack:
        stack.enter_context(keras.device(place) if place else contextlib.nullcontext())
        with quietly():
            keras.utils.set_random_seed(seed)
            model = _model(recipe, start)
            learner = model
            if start is None and recipe.kind == "Autoencoder":
                from denoiser.training.preconditioning import Conditioned

                learner = Conditioned(model, *feed.looked_at(dataset.feed, _LOOKED_AT, seed))
            elif products != "float32":
                learner = _model(recipe, start, precisions.POLICIES[products])
                learner.set_weights(model.get_weights())
        progress.start(100.0, "%", f"training {network}")
        stack.callback(progress.finish)
        before = evaluation.look(model, *dataset.validation).db if start is not None else None

        def publish_better(history: History) -> None:
            """Write the best so far: a training may go on for days."""
            model.set_weights(learner.get_weights())
            found = evaluation.look(model, *dataset.validation)
            if found.gain > 0:
                _publish(model, destination, carded(history, found), recipe)
                tell(f"The best so far, {found.db:.2f} dB, is in {destination}.")

        def carded(history: History, found: evaluation.Seen) -> dict[str, Any]:
            return evaluation.card(
                recipe,
                dataset,
                model,
                history,
                found,
                seed=seed,
                started_from=origin,
                plugins=plugins,
                precision=products,
            )

        history = fit(
            learner,
            dataset.feed,
            validation=dataset.validation,
            minutes=minutes,
            steps=steps,
            batch_size=recipe.batch_size,
            learning_rate=recipe.learning_rate,
            weight_floor=recipe.weight_floor,
            optimizer=recipe.optimizer,
            loss=recipe.loss,
            schedule=recipe.schedule,
            averaging=recipe.averaging,
            branch_every=recipe.branch_every,
            seed=seed,
            keep_on_interrupt=keep_on_interrupt,
            on_progress=lambda tick: progress.update(100.0 * tick.fraction, _line(tick)),
            on_better=publish_better,
            resume=resume,
            keep=lambda state: unfinished.keep(state, made_with),
            jit_compile=recipe.jit_compile,
        )
        if recipe.kind == "Autoencoder" and learner is not model:
            learner.fold()
        elif learner is not model:
            model.set_weights(learner.get_weights())
        found = evaluation.look(model, *dataset.validation)
        if before is not None and start is not None:
            tell(f"{start.name}, which it went on from: {before:.2f} dB, now: {found.db:.2f} dB.")
        if not found.gain > 0 and not keep_anyway:
            unfinished.remove()
            raise TrainingError(
                f"The trained network is worse than doing nothing ({found.gain:+.2f} dB on images it has not"
                f" seen); {destination} was not written.",
                "Train for longer, or on images more like yours.",
            )
        card = carded(history, found)
        _publish(model, destination, card, recipe)
        artifacts.write(destination, found, history)
        unfinished.remove()
    return card


def _publish(model: Any, destination: Path, card: dict[str, Any], recipe: Recipe) -> None:
    """Write the model file. Raises ModelError where it can't be written."""
    from denoiser.models import publish

    try:
        publish(model, destination, card, precision=recipe.saved_as)
    except OSError as error:
        raise ModelError(
            f"{destination} can't be written: {reason(error)}.",
            "Make room for it, and repeat the command: it goes on from its last minute.",
        ) from error


def _refuse_no_noise(recipe: Recipe, dataset: Dataset) -> None:
    """Raise ImagesError where what is judged by is clean: there would be nothing to gain."""
    inputs, clean = dataset.validation
    if np.array_equal(own(inputs), clean):
        raise ImagesError(
            f"The noise ({recipe.noise.name}) leaves the images that are judged by as they are.",
            "There is nothing to learn: use a stronger one.",
        )


class _Unfinished:
    """The checkpoint of the training for one destination."""

    def __init__(self, destination: Path, tell: Callable[[str], None], *, anew: bool) -> None:
        self._name = destination.stem
        self._path = store.unfinished(destination)
        self._tell, self._anew = tell, anew
        self._failed = False
        self._found: tuple[State, dict[str, Any]] | None = None
        self.precision: precisions.Precision | None = None
        """Of the unfinished training, if there is one."""

    def read(self) -> None:
        """Read what there is. Raises TrainingError where it is damaged."""
        if not self._path.exists():
            return
        try:
            self._found = checkpoints.read(self._path)
            self.precision = self._found[1].get("precision")
        except TrainingError as error:
            if not self._anew:
                raise
            self._tell(f"{error.message} Starting anew.")

    def fitting(self, made_with: Mapping[str, Any]) -> State | None:
        """What to go on from, if anything. Raises TrainingError where it isn't clear what is wanted."""
        if self._found is None:
            return None
        (state, before), self._found = self._found, None
        done = state.fraction
        changed = checkpoints.differences(before, made_with)
        if not changed:
            self._tell(f"Going on with the unfinished training of {self._name}, {done:.0%} of which is done.")
            return state
        how = f"was started with other settings: {', '.join(changed)}"
        if not self._anew:
            raise TrainingError(
                f"There is an unfinished training of {self._name}, {done:.0%} done, that {how}.",
                "Repeat its command to go on, choose another name, or start anew with --force.",
            )
        self._tell(f"Starting anew: the unfinished training of {self._name}, {done:.0%} done, {how}.")
        return None

    def keep(self, state: State, made_with: Mapping[str, Any]) -> None:
        try:
            checkpoints.write(self._path, state, made_with)
        except OSError as error:
            if not self._failed:  # once is enough: the training itself is well
                log.warning(
                    "%s can't be written, so a killed training would start anew: %s", self._path, error
                )
            self._failed = True

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


def _settings(recipe: Recipe, dataset: Dataset, *folders: Path | None) -> dict[str, Any]:
    """What decides a training, as plain JSON: the recipe, and the data by their files."""
    plain: dict[str, Any] = {}
    for each in dataclasses.fields(recipe):
        value = getattr(recipe, each.name)
        if isinstance(value, str | int | float | tuple | None):
            plain[each.name] = list(value) if isinstance(value, tuple) else value
    plain |= {"noise": recipe.noise.name, "network": recipe.network, "config": recipe.arguments}
    listings = [None if folder is None else listing(folder) for folder in folders]
    return plain | {"trained on": dataset.data, "images": listings}


def listing(folder: Path) -> str:
    """A digest of the names, sizes and times of a folder's files."""
    digest = hashlib.sha256(str(folder.resolve()).encode())
    for path in sorted(folder.rglob("*")):
        with contextlib.suppress(OSError):
            state = path.stat()
            if path.is_file():
                name = path.relative_to(folder)
                digest.update(
                    f"{name}\0{state.st_size}\0{state.st_mtime_ns}\0".encode(errors="surrogateescape")
                )
    return digest.hexdigest()


def _place(device: str) -> str | None:
    """Where to compute, as Keras names it; None leaves it to the backend. Raises DeviceError."""
    if device == "cpu":
        return "cpu:0"
    from denoiser.inference import engine
    from denoiser.system import hardware

    engine.require(device=device)
    if not hardware.may_have_gpu():
        return None
    from denoiser.inference.keras_engine import gpu

    found = gpu()
    if device == "gpu" and found is None:
        raise DeviceError(
            "Keras finds no GPU that it can use.", "Install the extra denoiser[gpu], or use --device cpu."
        )
    return None if found is None else "gpu:0"


def _same_kind(recipe: Recipe, start: ModelFile) -> None:
    if start.kind != recipe.kind:
        raise TrainingError(
            f"{start.path} is an {start.kind}, and {recipe.network} is a {recipe.kind}.",
            "Choose with --model.",
        )


def _other_shape(recipe: Recipe, start: ModelFile) -> str:
    """Return a sentence if the weights to go on from have another shape than the network has from scratch."""
    expected = architectures.validate(recipe.kind, recipe.arguments)
    other = [name for name, value in expected.items() if start.config[name] != value]
    if not other:
        return ""
    has = ", ".join(f"{name} {start.config[name]}" for name in other)
    wanted = ", ".join(f"{name} {expected[name]}" for name in other)
    return (
        f"{start.name} has another shape than {recipe.network} has now: {has}; expected: {wanted}."
        " It keeps its shape; --from scratch trains the new one."
    )


def _model(recipe: Recipe, start: ModelFile | None, policy: str = "float32") -> Any:
    from denoiser import models

    if start is not None:
        return models.from_file(start, dtype=policy)
    return getattr(models, recipe.kind)(**recipe.arguments, dtype=policy)


def _compiled(recipe: Recipe, start: ModelFile | None, policy: str) -> Any:
    """Make a network to measure a step of the training with."""
    model = _model(recipe, start, policy)
    model.compile(
        optimizer=losses.optimizer(recipe.optimizer, recipe.learning_rate),
        loss=losses.LOSSES[recipe.loss],
        jit_compile="auto",
    )
    return model


def _line(tick: Tick) -> str:
    text = f"{tick.rate:,.0f} patches/s"
    return text if tick.db is None else f"{text}, {tick.db:.2f} dB"

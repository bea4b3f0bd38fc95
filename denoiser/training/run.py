"""Run a training: prepare, build, fit, evaluate, publish."""

from __future__ import annotations

import contextlib
import logging
import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from denoiser._types import Floats
from denoiser.errors import DeviceError, ImagesError, ModelError, NotKeptError, TrainingError, reason
from denoiser.inference.patches import own
from denoiser.inference.precision import POLICIES
from denoiser.noise import NoCorruption
from denoiser.progress import NullProgress
from denoiser.system import atomic, hardware
from denoiser.system.stderr import quietly
from denoiser.training import artifacts, cautions, evaluation, feed, losses, recipes
from denoiser.training import precision as precisions
from denoiser.training.checkpoints import Checkpoint
from denoiser.training.datasets import Dataset, dataset_for
from denoiser.training.loop import Tick, fit
from denoiser.training.metrics import restored
from denoiser.weights import architectures, store

if TYPE_CHECKING:
    from denoiser.progress import Progress
    from denoiser.training.checkpoints import History, State
    from denoiser.training.evaluation import Seen
    from denoiser.training.plan import Plan

log = logging.getLogger(__name__)

Tell = Callable[[str], None]

_LOOKED_AT = 4096
"""Number of patches that preconditioning computes its statistics from."""

DEFAULT_MINUTES = {name: recipe.minutes for name, recipe in recipes.RECIPES.items()}
"""Budget of each network when none is given."""


def train_network(
    plan: Plan,
    *,
    progress: Progress | None = None,
    tell: Tell = log.info,
    keep_on_interrupt: bool = False,
    keep_anyway: bool = False,
    force: bool = False,
) -> dict[str, Any]:
    """Train a network and write one model file.

    About once a minute the training writes a checkpoint beside the destination. A killed training of the
    same plan resumes from it; the end of a training removes it.

    The model file is written whole or not at all, and its folder is made if needed. Beside it are written a
    picture of noisy, reconstructed and clean patches, and the training curve.

    Args:
        plan: All that decides the result.
        progress: Shows how far the training is.
        tell: Receives sentences for people.
        keep_on_interrupt: Whether Ctrl-C publishes the best weights so far instead of raising.
        keep_anyway: Whether a network that is worse than doing nothing is published too.
        force: Whether to discard a checkpoint of another plan, or one that is damaged.

    Returns:
        The model card, which the file holds too.

    Raises:
        UsageError: The destination or the precision is not allowed.
        TrainingError: There are no data or no noise to learn, the training diverged, it is worse than doing
            nothing, or its checkpoint belongs to another plan.
        KeyboardInterrupt: Ctrl-C was pressed, and there is nothing to publish yet; the checkpoint stays.
        ModelError: The destination can't be written.
        DeviceError: There is no such GPU, or Keras is missing.
    """
    run = _prepare(plan, tell, force=force)
    dataset = run.dataset
    with _device(run.device), _started(progress or NullProgress(), run.plan) as bar:
        network = _build(run)
        started = None if dataset.held_out is None else dataset.held_out.figures(_restorer(run, network))
        before = math.nan if run.plan.start is None or started else _evaluate(run, network).db
        history = _fit(run, network, bar, keep_on_interrupt=keep_on_interrupt)
        network.finish()
        seen = _evaluate(run, network)
        if run.plan.start is not None and not started:
            tell(f"{run.plan.start.name}, which it started from: {before:.2f} dB, now: {seen.db:.2f} dB.")
        card = evaluation.card(run.plan, dataset, network.model, history, seen, started)
        fault = cautions.refused(card)
        if fault and not keep_anyway:
            if history.interrupted and run.checkpoint.exists():
                tell(f"{fault} so far; nothing was written. The same command resumes the training.")
                raise KeyboardInterrupt
            run.checkpoint.remove()
            raise (NotKeptError if started else TrainingError)(
                f"{fault}; {plan.destination} was not written.",
                "Train for longer, or on images more like yours.",
            )
        _publish(run, network, card)
        artifacts.write(plan.destination, seen, history, card)
        run.checkpoint.remove()
    for text in card["warnings"]:
        if text not in dataset.warnings:  # those were told before the training
            tell(f"Warning: {text}")
    return card


@dataclass(frozen=True)
class _Run:
    """A training that is ready to start.

    `plan` has the precision that was chosen; `device` is the name that Keras uses, None for its own choice.
    """

    plan: Plan
    dataset: Dataset
    checkpoint: Checkpoint
    fingerprint: dict[str, Any]
    resume: State | None
    device: str | None
    tell: Tell


@dataclass(frozen=True)
class _Network:
    """The model to publish, and the model that learns, which may be the same."""

    model: Any
    learner: Any

    def copy_weights(self) -> None:
        """Give the model to publish the weights of the model that learns."""
        if self.learner is not self.model:
            self.model.set_weights(self.learner.get_weights())

    def finish(self) -> None:
        """Give the model to publish the trained weights, with any preconditioning folded in."""
        fold = getattr(self.learner, "fold", self.copy_weights)
        fold()


def _prepare(plan: Plan, tell: Tell, *, force: bool) -> _Run:
    """Check the plan, load its data, and choose its device and precision."""
    plan.check()
    atomic.sweep({plan.destination.parent})
    checkpoint = Checkpoint(plan.destination, tell, force=force)
    checkpoint.read()  # before the data: generating them may take minutes
    dataset = dataset_for(plan)
    _require_noise(plan, dataset)
    hardware.require_keras("Training")
    _try_place(plan)
    _announce(plan, dataset, tell)
    with quietly():  # TensorFlow writes about GPUs when it starts
        import keras

        device = _device_name(plan.device)
        precision, why = precisions.choose(
            plan.precision,
            lambda policy: _compiled(plan, policy),
            feed.looked_at(dataset.feed, plan.optimization.batch_size, plan.seed),
            kind=plan.recipe.kind,
            minutes=plan.minutes,
            before=checkpoint.precision,
        )
    plan = replace(plan, precision=precision)
    if plan.recipe.kind == "PatchAutoencoder":
        tell(f"Products in {precision} ({why}).")
    fingerprint = plan.fingerprint(trained_on=dataset.data, backend=keras.backend.backend())
    return _Run(plan, dataset, checkpoint, fingerprint, checkpoint.resume(fingerprint), device, tell)


def _require_noise(plan: Plan, dataset: Dataset) -> None:
    """Raise ImagesError if the validation patches are clean, since there is nothing to learn then."""
    inputs, clean = dataset.validation
    if dataset.method:
        return  # measured already
    if np.array_equal(own(inputs), clean):
        raise ImagesError(
            f"The noise ({plan.recipe.noise.name}) leaves the validation images unchanged.",
            "There is nothing to learn: use a stronger one.",
        )


def _try_place(plan: Plan) -> None:
    """Write as many bytes as the model will need where it will lie. Raises ModelError if they don't fit."""
    folder = plan.destination.parent
    while not folder.exists():
        folder = folder.parent
    needed = 4 * architectures.make_config(plan.recipe.kind, plan.config).parameters
    try:
        with tempfile.TemporaryFile(dir=folder, prefix=".denoise-") as file:
            file.write(bytes(needed))
            file.flush()
    except OSError as error:
        raise ModelError(
            f"{plan.destination} can't be written: {reason(error)}.",
            "Choose another place before the training, with DENOISER_HOME if it is the store.",
        ) from error


def _announce(plan: Plan, dataset: Dataset, tell: Tell) -> None:
    """Say what is trained, on which data, and whether the start has an older shape than the network."""
    recipe, start = plan.recipe, plan.start
    begin = f"from {start.name}" if start else "from scratch"
    adds_to_pairs = plan.data.noisy is not None and not isinstance(recipe.noise, NoCorruption)
    where = ", added to the noisy images of the pairs" if adds_to_pairs else ""
    tell(
        f"Training {plan.destination.stem}: {recipe.network} {begin}, {_budget(plan)}, on {dataset.data}."
        + ("" if dataset.method else f" Noise: {recipe.noise.name}{where}.")
    )
    if dataset.method:
        tell(f"Method {dataset.method}: {dataset.why}.")
    for text in dataset.warnings:
        tell(f"Warning: {text}")
    expected = architectures.make_config(recipe.kind, recipe.arguments)
    names = [argument.name for argument in fields(expected)]
    other = [name for name in names if start and getattr(start.config, name) != getattr(expected, name)]
    # A bundled one is what was meant to be started from, whatever a new one would look like.
    if start and other and start.path.parent != store.BUNDLED:
        has, wanted = (
            ", ".join(f"{name} {getattr(config, name)}" for name in other)
            for config in (start.config, expected)
        )
        tell(
            f"The start, {start.name}, has another shape ({has}) than a new {recipe.network}"
            f" ({wanted}). It keeps that shape; --from scratch trains the new one."
        )


def _budget(plan: Plan) -> str:
    """Return the budget of a training in words."""
    length, unit = (plan.minutes, "minute") if plan.epochs is None else (plan.epochs, "epoch")
    return f"for {length:g} {unit}{'' if length == 1 else 's'}"


def _device_name(device: str) -> str | None:
    """Return Keras's name of the device, or None for the backend's own choice. Raises DeviceError."""
    if device == "cpu":
        return "cpu:0"
    from denoiser.inference import engine

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


def _device(name: str | None) -> contextlib.AbstractContextManager[Any]:
    """Return the context in which Keras computes on the device."""
    import keras

    device: contextlib.AbstractContextManager[Any] = keras.device(name) if name else contextlib.nullcontext()
    return device


@contextlib.contextmanager
def _started(progress: Progress, plan: Plan) -> Iterator[Progress]:
    """Start the progress, and finish it however the training ends."""
    progress.start(100.0, "%", f"training {plan.recipe.network}")
    try:
        yield progress
    finally:
        progress.finish()


def _model(plan: Plan, policy: str = "float32") -> Any:
    """Return a new network with the weights that the plan starts from."""
    from denoiser import models

    if plan.start is not None:
        return models.from_file(plan.start, dtype=policy)
    return getattr(models, plan.recipe.kind)(**plan.config, dtype=policy)


def _compiled(plan: Plan, policy: str) -> Any:
    """Return a new network that is ready to time a training step."""
    model = _model(plan, policy)
    model.compile(**losses.compile_settings(plan.optimization))
    return model


def _build(run: _Run) -> _Network:
    """Build the network to publish and the one that learns."""
    import keras

    plan = run.plan
    with quietly():
        keras.utils.set_random_seed(plan.seed)
        model = _model(plan)
        if plan.start is None and plan.recipe.kind == "Autoencoder":
            from denoiser.training.preconditioning import Conditioned

            patches = feed.looked_at(run.dataset.feed, _LOOKED_AT, plan.seed)
            return _Network(model, Conditioned(model, *patches))
        if plan.precision == "float32":
            return _Network(model, model)
        learner = _model(plan, POLICIES["bfloat16"])
        learner.set_weights(model.get_weights())
        return _Network(model, learner)


def _fit(run: _Run, network: _Network, progress: Progress, *, keep_on_interrupt: bool) -> History:
    """Fit the network, writing checkpoints and the best weights so far."""
    plan, dataset = run.plan, run.dataset

    def publish_better(history: History) -> None:
        network.copy_weights()
        seen = _evaluate(run, network)
        card = evaluation.card(plan, dataset, network.model, history, seen)
        if cautions.refused(card) is None:
            _publish(run, network, card)
            run.tell(f"The best so far, {seen.db:.2f} dB, is in {plan.destination}.")

    batch_size = plan.optimization.batch_size
    return fit(
        network.learner,
        dataset.feed,
        dataset.validation,
        plan.optimization,
        minutes=plan.minutes,
        steps=None if plan.epochs is None else max(1, plan.epochs * dataset.epoch // batch_size),
        seed=plan.seed,
        resume=run.resume,
        keep_on_interrupt=keep_on_interrupt,
        keep_start=bool(dataset.method) and plan.start is not None,
        refine=dataset.refine,
        on_progress=lambda tick: progress.update(100.0 * tick.fraction, _line(tick)),
        on_better=publish_better,
        on_state=lambda state: run.checkpoint.save(state, run.fingerprint),
    )


def _line(tick: Tick) -> str:
    text = f"{tick.rate:,.0f} patches/s"
    return text if tick.db is None else f"{text}, {tick.db:.2f} dB"


def _restorer(run: _Run, network: _Network) -> Callable[[Floats], Floats]:
    """Return the function that a training without clean images is compared with: the start, or none."""
    if run.plan.start is None:
        return own
    return lambda inputs: restored(network.model, inputs)


def _evaluate(run: _Run, network: _Network) -> Seen:
    """Restore the validation patches with the network to publish."""
    if run.dataset.held_out is not None:
        return evaluation.look_without_clean(network.model, run.dataset.held_out.inputs)
    return evaluation.look(network.model, *run.dataset.validation)


def _publish(run: _Run, network: _Network, card: dict[str, Any]) -> None:
    """Write the model file. Raises ModelError if it can't be written."""
    from denoiser.models import publish

    plan = run.plan
    try:
        publish(network.model, plan.destination, card, precision=plan.recipe.saved_as)
    except OSError as error:
        raise ModelError(
            f"{plan.destination} can't be written: {reason(error)}.",
            "Make room for it, and repeat the command: it resumes from its last minute.",
        ) from error

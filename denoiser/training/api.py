"""The public `train`, and `run`, which it shares with the command."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from denoiser.errors import ModelError, UsageError
from denoiser.training import checkpoints
from denoiser.training.plan import Plan
from denoiser.training.run import train_network
from denoiser.training.task import Task
from denoiser.weights import store

if TYPE_CHECKING:
    from denoiser.plugins.manager import Plugins
    from denoiser.progress import Progress

log = logging.getLogger(__name__)

_LATER = {"trained on", "backend", "precision"}
"""Parts of a plan's fingerprint that are known only when the training begins."""

Name = str | os.PathLike[str]


def train(
    network: str = "general",
    *,
    name: str | None = None,
    destination: Name | None = None,
    data: Name | None = None,
    noise: str | Iterable[str] = (),
    noisy: Name | None = None,
    noise_from: Name | None = None,
    only_noisy: Name | None = None,
    frames: bool = False,
    method: str | None = None,
    start: Name | None = None,
    latent_dim: int | None = None,
    minutes: float | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    validation: float = 0.1,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    plugins: str | Path | Iterable[str | Path] = (),
    plugin_options: Mapping[str, Any] | None = None,
    keep_anyway: bool = False,
    force: bool = False,
    progress: Callable[[float, str], object] | None = None,
) -> Path:
    """Train a network as `denoise train` does, and return the path of its model file.

    An unfinished training with the same settings is resumed.

    Args:
        network: "digits", "general" or "document".
        name: Name of the model in the user's store, where `denoiser.Denoiser` and the command find it; it
            must not be the name of another network. None makes one, such as "general-1", so that a bundled
            model is replaced only by name.
        destination: Model file to write, instead of a name in the store.
        data: Folder of clean images. None uses MNIST for `digits`, and generated images for the others.
        noise: One or several noises, such as "gaussian:sigma=0..0.1". Without any, those of the recipe.
        noisy: Folder with a noisy image for each one in `data`, of the same relative name.
        noise_from: Folder of blank scans or dark frames, whose noise is cut out and added to clean images.
        only_noisy: Folder of noisy images, to learn from them alone.
        frames: Whether the pages of each of these files, or the files of each sub-folder, are frames of one
            scene.
        method: How to learn from them: "frames", "flat", "neighbours" or "masked". None measures and chooses.
        start: Name or file of a model to start from. None starts from scratch, unlike in the command.
        latent_dim: Width of `digits`.
        minutes: Budget in minutes. Without `minutes` and `epochs`, the recipe's.
        epochs: Budget in epochs. The same seed then gives the same weights on the same machine.
        batch_size: Patches per step.
        validation: Share of the images that is held out for validation, above 0 and up to 0.5.
        seed: Seed of everything random.
        device: "auto", "cpu" or "gpu".
        precision: Precision of products: "float32", "bfloat16", or "auto", which measures which is faster.
        plugins: As for `denoiser.Denoiser`; they add noises, and change the user's images before training.
        plugin_options: As for `denoiser.Denoiser`.
        keep_anyway: Whether a model that is worse than doing nothing, or does damage, is kept too.
        force: Whether to replace an existing model, and an unfinished training with other settings.
        progress: Called every few steps with the share of the training that is done, 0..1, and with its speed
            and last figure in words. An exception from it ends the training.

    Raises:
        UsageError: A value is not allowed.
        ModelError: The model exists already, can't be written, or can't be used as the start.
        DeviceError: There is no such GPU.
        PluginError: A plugin failed.
        TrainingError: See `denoiser.training.run.train_network`.
    """
    from denoiser.plugins.manager import load, named

    if name is not None and destination is not None:
        raise UsageError("name and destination are two places for one model.", "Give one.")
    task = Task(
        network=network,
        noises=_noises(noise),
        data=_path("data", data),
        noisy=_path("noisy", noisy),
        noise_from=_path("noise_from", noise_from),
        only_noisy=_path("only_noisy", only_noisy),
        frames=frames,
        method=method,
        start="scratch" if start is None else _text("start", start),
        latent_dim=latent_dim,
        batch_size=batch_size,
        validation=validation,
        minutes=minutes,
        epochs=epochs,
        seed=seed,
        device=device,
        precision=precision,
    )
    task.check()
    if name is not None:
        name = _text("name", name)
        task.check_name(name)
    if progress is not None and not callable(progress):
        raise UsageError(f"progress is {progress!r}; it must be a function.")
    path = _path("destination", destination) if name is None else store.path_for(name)
    chain = load(named(plugins), installed=False)
    chain.configure({} if plugin_options is None else plugin_options)
    bar = None if progress is None else _Callback(progress)
    return run(task, path, chain, progress=bar, keep_anyway=keep_anyway, force=force)[0]


@dataclass(frozen=True)
class _Callback:
    """Tells a function of a caller how far a training is."""

    call: Callable[[float, str], object]

    def start(self, total: float, unit: str, text: str) -> None:
        """Do nothing: the share that is done needs no total."""

    def update(self, done: float, text: str = "") -> None:
        """Call the function. done: percent."""
        self.call(done / 100.0, text)

    def finish(self) -> None:
        """Do nothing."""


def _log(text: str) -> None:
    """Log a sentence for people."""
    warning = text.startswith("Warning: ")
    log.log(logging.WARNING if warning else logging.INFO, "%s", text.removeprefix("Warning: "))


def run(
    task: Task,
    destination: Path | None,
    plugins: Plugins,
    *,
    progress: Progress | None = None,
    tell: Callable[[str], None] = _log,
    keep_on_interrupt: bool = False,
    keep_anyway: bool = False,
    force: bool = False,
) -> tuple[Path, dict[str, Any]]:
    """Run a checked task with these plugins, and return the path of the model file and the model card.

    `tell` receives sentences for people; those that warn begin with "Warning: ". With `destination` None the
    model gets a name that is free: see `free_path`. Raises the same errors as `train`.
    """
    with plugins.noises():
        plan = task.plan(destination or store.path_for(task.network), plugins)
        if destination is None:
            plan = replace(plan, destination=free_path(plan))
        path = plan.destination
        resuming = store.unfinished(path).exists()  # the model may then be its best so far
        if path.exists() and not (force or resuming):
            raise ModelError(f"There is a model {path} already.", "Choose another name, or use --force.")
        card = train_network(
            plan,
            progress=progress,
            tell=tell,
            keep_on_interrupt=keep_on_interrupt,
            keep_anyway=keep_anyway,
            force=force,
        )
    return path, card


def free_path(plan: Plan) -> Path:
    """Return the place in the store for a model without a name: NETWORK-1, or the next number that is free.

    The number of an unfinished training of the same plan counts as free, so that it is resumed.
    """
    now = plan.fingerprint(trained_on="", backend="")
    for number in itertools.count(1):
        path = store.path_for(f"{plan.recipe.network}-{number}")
        before = checkpoints.made_with(store.unfinished(path))
        if before is not None and not {*checkpoints.differences(before, now)} - _LATER:
            return path
        if not path.exists() and not store.unfinished(path).exists():
            return path
    raise AssertionError  # unreachable


def _path(argument: str, name: Name | None) -> Path | None:
    if name is None:
        return None
    text = _text(argument, name)
    if not text:  # which means the current folder
        raise UsageError(f"{argument} is empty.", "Is a variable not set?")
    return Path(text)


def _text(argument: str, name: Name) -> str:
    if not isinstance(name, str | os.PathLike):
        raise UsageError(f"{argument} is {name!r}; it must be text or a path.")
    return os.fspath(name)


def _noises(given: str | Iterable[str]) -> tuple[str, ...]:
    several = (given,) if isinstance(given, str) else given
    noises = tuple(several) if isinstance(several, Iterable) else (several,)
    if not all(isinstance(noise, str) for noise in noises):
        raise UsageError(f"noise is {given!r}; it must be one or several, such as 'gaussian:sigma=0.1'.")
    return noises

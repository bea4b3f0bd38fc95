"""The public `train`, and `run`, which it shares with the command."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from denoiser.errors import ModelError, UsageError
from denoiser.training.run import train_network
from denoiser.training.task import Task
from denoiser.weights import store

if TYPE_CHECKING:
    from denoiser.plugins.manager import Plugins
    from denoiser.progress import Progress

log = logging.getLogger(__name__)

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
    start: Name | None = None,
    latent_dim: int | None = None,
    minutes: float | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    validation: float = 0.1,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    plugins: Iterable[Name] = (),
    plugin_options: Mapping[str, Any] | None = None,
    keep_anyway: bool = False,
    force: bool = False,
) -> Path:
    """Train a network as `denoise train` does, and return the path of its model file.

    An unfinished training with the same settings is resumed.

    Args:
        network: "digits", "general" or "document".
        name: Name of the model in the user's store, where `denoiser.Denoiser` and the command find it; it
            must not be the name of another network. None uses the network's name.
        destination: Model file to write, instead of a name in the store.
        data: Folder of clean images. None uses MNIST for `digits`, and generated images for the others.
        noise: One or several noises, such as "gaussian:sigma=0..0.1". Without any, those of the recipe.
        noisy: Folder with a noisy image for each one in `data`, of the same relative name.
        noise_from: Folder of blank scans or dark frames, whose noise is cut out and added to clean images.
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
        keep_anyway: Whether a model that is worse than doing nothing is kept too.
        force: Whether to replace an existing model, and an unfinished training with other settings.

    Raises:
        UsageError: A value is not allowed.
        ModelError: The model exists already, can't be written, or can't be used as the start.
        DeviceError: There is no such GPU.
        PluginError: A plugin failed.
        TrainingError: See `denoiser.training.run.train_network`.
    """
    from denoiser.plugins.manager import load

    if name is not None and destination is not None:
        raise UsageError("name and destination are two places for one model.", "Give one.")
    task = Task(
        network=network,
        noises=(noise,) if isinstance(noise, str) else tuple(noise),
        data=_path(data),
        noisy=_path(noisy),
        noise_from=_path(noise_from),
        start="scratch" if start is None else os.fspath(start),
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
        task.check_name(name)
    path = Path(destination) if destination is not None else store.path_for(network if name is None else name)
    chain = load([str(each) for each in plugins], installed=False, options=plugin_options or {})
    run(task, path, chain, keep_anyway=keep_anyway, force=force)
    return path


def run(
    task: Task,
    destination: Path,
    plugins: Plugins,
    *,
    progress: Progress | None = None,
    tell: Callable[[str], None] = log.info,
    keep_on_interrupt: bool = False,
    keep_anyway: bool = False,
    force: bool = False,
) -> dict[str, Any]:
    """Run a checked task with these plugins, and return the model card.

    `tell` receives sentences for people. Raises the same errors as `train`.
    """
    resuming = store.unfinished(destination).exists()  # the model may then be its best so far
    if destination.exists() and not (force or resuming):
        raise ModelError(f"There is a model {destination} already.", "Choose another name, or use --force.")
    with plugins.noises():
        return train_network(
            task.plan(destination, plugins),
            progress=progress,
            tell=tell,
            keep_on_interrupt=keep_on_interrupt,
            keep_anyway=keep_anyway,
            force=force,
        )


def _path(name: Name | None) -> Path | None:
    return None if name is None else Path(name)

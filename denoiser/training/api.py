"""Training as it is asked for: the public `train`, and `run`, which it shares with the command."""

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
    """Train a network as `denoise train` does, and return where its model file is.

    network: `digits`, `general` or `document`. name: what to call the model in the user's own store, where
    `denoiser.Denoiser` and the command find it, and not that of another network; without it, the network's
    name. destination: a file to write
    instead. data: a folder of clean images; without it MNIST, for `digits`, or what the generator draws.
    noise: one noise or several, as in "gaussian:sigma=0..0.1"; without any, those of
    the network's recipe. noisy: a folder with a noisy image for each in `data`, of equal relative name.
    noise_from: a folder of blank scans or dark frames, whose noise is cut out and added. start: the
    name or file of a model to go on from; None, unlike in the command, starts from scratch.
    latent_dim: the width of `digits`. minutes or epochs: how long; without either, as long as the recipe
    says. With epochs, the same seed gives the same weights on the same machine. batch_size: patches a step.
    validation: the share of the images, above 0 and up to 0.5, that is held out to judge by. device: `auto`,
    `cpu` or `gpu`. precision: of the products, `float32` or `bfloat16`; `auto` measures which is faster.
    plugins, plugin_options: as for `denoiser.Denoiser`; they add noises, and change the
    user's images before they are learnt from. keep_anyway: keep even what is worse than doing nothing. force:
    replace a model that is there, and an unfinished training with other settings; one with the same settings
    is gone on with.

    Raises UsageError for values that can't be, ModelError for a model that is there already or that can't be
    gone on from, DeviceError without the GPU that was asked for, PluginError for a plugin at fault, and
    TrainingError as `train_network` does.
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
    """Train what a checked task says with these plugins, and return the model card.

    tell: gets sentences for people. Raises what `train` does.
    """
    going_on = store.unfinished(destination).exists()  # what is there may be its best so far
    if destination.exists() and not (force or going_on):
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

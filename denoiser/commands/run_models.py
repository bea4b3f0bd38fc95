"""Make the denoiser of a request, and train its model first if it has no weights."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from denoiser.commands.run_options import Request
from denoiser.errors import ModelError, UsageError
from denoiser.inference import auto, engine
from denoiser.inference.denoiser import QUALITIES, Denoiser
from denoiser.weights import modelfile, store

if TYPE_CHECKING:
    from denoiser.plugins.manager import Plugins
    from denoiser.weights.modelfile import ModelFile


def denoiser(
    request: Request, plugins: Plugins, *, pixels: int | None = None, apart: bool = False
) -> Denoiser:
    """Make the denoiser of a request. Raises before any work if its model or device is not available.

    pixels: about the number of pixels to clean; None if it is not known.
    apart: whether other processes will clean where plugins see images.
    """
    # Check before any training, which takes minutes.
    engine.require(
        engine="numpy" if request.cluster is not None else request.engine,
        device=request.device,
        jobs=request.jobs,
        batch_size=request.batch_size,
        precision=request.precision,
    )
    model: str | ModelFile = request.model
    missing = untrained(request)
    if request.weights is not None:
        model = _weights(request, plugins)
    else:
        for network in missing:
            _trained(request, plugins, network)
    denoiser = Denoiser(
        model,
        **settings(request),
        engine="numpy" if request.cluster is not None else request.engine,
        device=request.device,
        jobs=request.jobs,
        batch_size=request.batch_size,
        precision=request.precision,
        plugins=plugins,
        work=None if pixels is None else pixels // (request.stride or QUALITIES[request.quality]) ** 2,
    )
    if apart and plugins.see_images and request.cluster is None:
        from denoiser.pipeline.process_pool import possible

        if possible():
            denoiser.keep_apart()
    denoiser.probe()
    return denoiser


def settings(request: Request) -> dict[str, Any]:
    """Return the arguments of `Denoiser` that decide the pixels, apart from model and plugins."""
    density = "quality" if request.stride is None else "stride"
    return {name: getattr(request, name) for name in ("mode", "size", density, "strength")}


def untrained(request: Request) -> list[str]:
    """Return the networks that the request needs and that have no weights.

    Raises UsageError if `--weights` names no network, and ModelError if none may be trained.
    """
    if request.weights is not None:
        if request.model not in store.NETWORKS:
            raise UsageError(
                f"--weights needs the name of a network, and {request.model} is not one.",
                f"The networks are {', '.join(store.NETWORKS)}. To use a model file by itself: --model FILE.",
            )
        missing = [] if request.weights.exists() else [request.model]
        near = _near(request.weights) if missing else None
        if near is not None:
            raise ModelError(
                f"{request.weights} doesn't exist, and {near} does.",
                f"Write --weights {near}, or a name that is less like it to train {request.model} first.",
            )
        if missing and not request.train:
            raise ModelError(f"{request.weights} doesn't exist, and --no-train forbids making it.")
        if missing and request.weights.suffix != store.SUFFIX:
            raise UsageError(
                f"{request.weights} doesn't exist, and a new model can't have this name.",
                f"Choose a name that ends in {store.SUFFIX}",
            )
    else:
        names = auto.NETWORKS if request.model == auto.AUTO else (request.model,)
        missing = [name for name in names if store.find(name) is None]
    if missing and not request.train:
        raise ModelError(f"The network {missing[0]} has no weights, and --no-train forbids making them.")
    return missing


def _near(weights: Path) -> Path | None:
    """Return the model file beside a missing one whose name is nearly the same."""
    try:
        names = [path.stem for path in weights.parent.iterdir() if path.suffix == store.SUFFIX]
    except OSError:
        return None
    near = difflib.get_close_matches(weights.stem, names, 1, cutoff=0.75)
    return weights.with_name(near[0] + store.SUFFIX) if near else None


def _weights(request: Request, plugins: Plugins) -> ModelFile:
    """Read `--weights`, trained first where the file does not exist."""
    assert request.weights is not None  # noqa: S101 - the caller has checked it
    if not request.weights.exists():
        return _trained(request, plugins, request.model, request.weights)
    return store.load(request.weights, network=request.model)


def durations(networks: Iterable[str]) -> str:
    """Return the names of networks, each with the duration of its training."""
    from denoiser.training.run import DEFAULT_MINUTES

    return ", ".join(f"{name} (about {DEFAULT_MINUTES[name]:g} minutes)" for name in networks)


def _trained(request: Request, plugins: Plugins, network: str, destination: Path | None = None) -> ModelFile:
    """Announce and train a network that has no weights, and return the model."""
    from denoiser.commands.training_progress import training_progress
    from denoiser.training.datasets import reader_for
    from denoiser.training.plan import DataRequest, Plan
    from denoiser.training.recipes import RECIPES
    from denoiser.training.run import train_network

    path = destination or store.path_for(network)
    if not request.quiet:
        click.echo(
            f"No weights yet: training {durations([network])}. "
            f"The result will be weaker than the bundled weights and is saved as {path}.",
            err=True,
        )
    plan = Plan(
        RECIPES[network],
        path,
        DataRequest(request.data, reader=reader_for(plugins), download=True),
        device=request.device,
        plugins=tuple(plugins.signature),
    )
    train_network(
        plan,
        progress=training_progress(quiet=request.quiet),
        tell=lambda text: None if request.quiet else click.echo(text, err=True),
        force=True,
    )
    return modelfile.read(path, name=network)

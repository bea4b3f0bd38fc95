"""`denoise train`: teach a network your own noise."""

from __future__ import annotations

import dataclasses
import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from denoiser.commands import options
from denoiser.commands.help import Command, GroupedOption, NamedPath
from denoiser.commands.plugins import load
from denoiser.errors import ModelError, UsageError

if TYPE_CHECKING:
    from denoiser.modelfile import ModelFile
    from denoiser.plugins import Plugins
    from denoiser.recipes import Recipe

WHAT, HOW, RESULT = "What is learnt", "How it is learnt", "The result"

PARAMETERS: list[click.Parameter] = [
    click.Argument(["images"], required=False, type=NamedPath(path_type=Path, exists=True, file_okay=False)),
    GroupedOption(
        ["--noise", "noises"],
        multiple=True,
        metavar="NOISE",
        heading=WHAT,
        help="Noise to add to clean images, such as gaussian:sigma=0..0.2; several are mixed, + chains them. "
        "See denoise noises.",
    ),
    GroupedOption(
        ["--model", "network"],
        type=click.Choice(["digits", "general", "document"]),
        default="general",
        show_default=True,
        heading=WHAT,
        help="The network.",
    ),
    GroupedOption(
        ["--from", "start"],
        metavar="MODEL|scratch",
        heading=HOW,
        help="Weights to go on from. [default: the network's own, if there are any]",
    ),
    GroupedOption(
        ["--minutes"], metavar="N", type=click.FloatRange(0.0, min_open=True), heading=HOW, help="How long."
    ),
    GroupedOption(
        ["--epochs"],
        metavar="N",
        type=click.IntRange(1),
        heading=HOW,
        help="Or how many passes over the images.",
    ),
    GroupedOption(
        ["--seed"],
        metavar="N",
        type=click.IntRange(0, 2**32 - 1),
        default=0,
        show_default=True,
        heading=HOW,
        help="Seed.",
    ),
    GroupedOption(
        ["--name"], metavar="NAME", heading=RESULT, help="What to call it; then: denoise --model NAME."
    ),
    GroupedOption(["--force"], is_flag=True, heading=RESULT, help="Replace a model of that name."),
    GroupedOption(
        ["--keep-anyway"],
        is_flag=True,
        heading=RESULT,
        help="Keep it even if it is worse than doing nothing.",
    ),
    *options.LOADING,
    GroupedOption(["--quiet", "-q"], is_flag=True, heading=RESULT, help="Errors only."),
]


@click.command(
    cls=Command,
    params=PARAMETERS,
    examples=(
        ("denoise train ./clean --name mine --noise gaussian:sigma=0..0.1", "clean images, named noise"),
        ("denoise ./scans --model mine --out ./clean", "then use it"),
        ("denoise train --model digits --from scratch --name small", "from what data there is"),
    ),
)
def train(**given: Any) -> None:
    """Teach a network a noise, and keep it under a name.

    IMAGES is a folder of clean images. Without it, the network learns from MNIST (digits) or from what the
    built-in generator draws. Ctrl-C keeps the best so far.
    """
    from denoiser import store
    from denoiser.plugins import insist

    network, name = given["network"], given["name"] or given["network"]
    if given["minutes"] is not None and not math.isfinite(given["minutes"]):
        raise UsageError(f"--minutes is {given['minutes']}.", "Give a number.")
    if given["minutes"] is not None and given["epochs"] is not None:
        raise UsageError("--minutes and --epochs are two budgets.", "Give one.")
    destination = store.path_for(name)
    if destination.exists() and not given["force"]:
        raise ModelError(f"You have a model called {name} already.", "Choose another --name, or use --force.")
    plugins = load(**{each.name: given[each.name] for each in options.LOADING if each.name})
    insist(plugins)
    with plugins.noises():
        _train(network, name, destination, plugins, given)


def _train(network: str, name: str, destination: Path, plugins: Plugins, given: dict[str, Any]) -> None:
    from denoiser.formats import prepared
    from denoiser.report import progress_for
    from denoiser.training import train_network

    quiet = given["quiet"]
    recipe = prepared(_recipe(network, given["noises"]), plugins)
    start = _start(network, given["start"])
    if not quiet:
        begin = f"from {start.name}" if start else "from scratch"
        click.echo(f"Training {network} {begin} on {recipe.noise.name}.", err=True)
    card = train_network(
        network,
        destination,
        data=given["images"],
        minutes=given["minutes"],
        epochs=given["epochs"],
        seed=given["seed"],
        start=start,
        recipe=recipe,
        progress=progress_for(quiet=quiet),
        keep_on_interrupt=True,
        keep_anyway=given["keep_anyway"],
    )
    if not quiet:
        _tell(card, name, destination)


def _recipe(network: str, noises: tuple[str, ...]) -> Recipe:
    from denoiser.noise import Mixture, parse
    from denoiser.recipes import RECIPES

    recipe = RECIPES[network]
    if not noises:
        return recipe
    mixture = Mixture([(parse(text), 1.0) for text in noises], clean=0.1)
    return dataclasses.replace(recipe, noise=mixture, levels=noises, drawn=0.0, dirt=False)


def _start(network: str, name: str | None) -> ModelFile | None:
    from denoiser import modelfile, store

    if name == "scratch":
        return None
    path = store.find(name or network)
    if path is None:
        if name is None:
            return None
        raise ModelError(f"The network {name} has no weights to go on from.", "Use --from scratch.")
    return modelfile.read(path, name=name or network)


def _tell(card: dict[str, Any], name: str, path: Path) -> None:
    rows = [("noise", "noisy dB", "restored dB")]
    for figure in [card["validation"], *card["figures"]]:
        before = "clean" if figure["input_db"] is None else f"{figure['input_db']:.2f}"
        rows.append((figure["noise"], before, f"{figure['output_db']:.2f}"))
    width = max(len(row[0]) for row in rows)
    for noise, before, after in rows:
        click.echo(f"  {noise:<{width}} {before:>9} {after:>12}", err=True)
    click.echo(f"On images it has not seen. Saved as {path}. Use it with:", err=True)
    click.echo(f"  denoise ./scans --model {shlex.quote(name)} --out ./clean", err=True)

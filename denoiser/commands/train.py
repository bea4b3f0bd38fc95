"""`denoise train`: teach a network your own noise."""

from __future__ import annotations

import contextlib
import logging
import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from denoiser.commands import completion, run_options
from denoiser.commands.click_parts import Command, NamedPath
from denoiser.commands.click_parts import option as _option
from denoiser.commands.plugins import load
from denoiser.errors import ModelError, UsageError
from denoiser.inference.precision import PRECISIONS

if TYPE_CHECKING:
    from denoiser.training.task import Task

WHAT, HOW, RESULT = "What is learnt", "How it is learnt", "The result"
FOLDER = NamedPath(path_type=Path, exists=True, file_okay=False)
NETWORKS = click.Choice(["digits", "general", "document"])
METHODS = ["frames", "flat", "neighbours", "masked"]
COUNT = click.IntRange(1)


PARAMETERS: list[click.Parameter] = [
    click.Argument(["images"], required=False, type=FOLDER),
    _option(
        *(WHAT, "--noise", "noises"),
        multiple=True,
        metavar="NOISE",
        shell_complete=completion.noises,
        help="Noise to add to clean images, such as gaussian:sigma=0..0.2. Repeatable: each image gets "
        "one of them. NOISE+NOISE applies both. See denoise noises.",
    ),
    _option(
        *(WHAT, "--noisy"),
        type=FOLDER,
        metavar="DIR",
        help="Learn from pairs: DIR has a noisy image of the same name for each clean one.",
    ),
    _option(
        *(WHAT, "--noise-from"),
        type=FOLDER,
        metavar="DIR",
        help="Add noise that is cut from the blank scans in DIR (empty paper, dark frames).",
    ),
    _option(
        *(WHAT, "--only-noisy"),
        type=NamedPath(path_type=Path, exists=True),
        metavar="DIR|FILE",
        help="Learn from noisy images alone, without any clean ones.",
    ),
    _option(
        *(WHAT, "--frames"),
        is_flag=True,
        help="With --only-noisy: the pages of a file, or the files of a sub-folder, are frames of one scene.",
    ),
    _option(
        *(WHAT, "--method"),
        type=click.Choice(METHODS),
        help="With --only-noisy: how to learn. [default: chosen by the noise in the images]",
    ),
    _option(WHAT, "--model", "network", type=NETWORKS, help="Network to train. [default: general]"),
    _option(
        *(WHAT, "--recipe"),
        type=NETWORKS,
        help="Train as the bundled weights of this network were trained, from random weights.",
    ),
    _option(WHAT, "--latent-dim", metavar="N", type=COUNT, help="Width of the latent layer of digits."),
    _option(
        *(HOW, "--from", "start"),
        metavar="MODEL|scratch",
        shell_complete=completion.starts,
        help="Weights to start from. [default: the network's own, if it has any]",
    ),
    _option(
        *(HOW, "--minutes"),
        metavar="N",
        type=click.FloatRange(0.0, min_open=True),
        help="Length of the training. [default: 20; for digits 2]",
    ),
    _option(
        HOW,
        "--epochs",
        metavar="N",
        type=COUNT,
        help="Passes over the images, in place of --minutes.",
    ),
    _option(HOW, "--batch-size", metavar="N", type=COUNT, help="Patches per step."),
    _option(
        *(HOW, "--validation"),
        metavar="SHARE",
        type=float,
        default=0.1,
        show_default=True,
        help="Share of the images that is held out for validation.",
    ),
    _option(
        *(HOW, "--device"),
        type=click.Choice(["auto", "cpu", "gpu"]),
        default="auto",
        show_default=True,
        help="Where to compute.",
    ),
    _option(
        *(HOW, "--precision"),
        type=click.Choice(PRECISIONS),
        default="auto",
        show_default=True,
        help="Number format of products while training. auto measures which is faster; with --epochs it is "
        "float32.",
    ),
    _option(
        *(HOW, "--seed"),
        metavar="N",
        type=click.IntRange(0, 2**32 - 1),
        default=0,
        show_default=True,
        help="Seed of all random numbers.",
    ),
    _option(
        *(RESULT, "--name"),
        metavar="NAME",
        help="Name of the model, for denoise --model NAME. [default: an unused one, such as general-1]",
    ),
    _option(
        *(RESULT, "--force"),
        is_flag=True,
        help="Replace a model of that name, or an unfinished training with other settings.",
    ),
    _option(
        *(RESULT, "--keep-anyway"),
        is_flag=True,
        help="Keep the model even if it is worse than doing nothing, or does damage.",
    ),
    *run_options.LOADING,
    _option(RESULT, "--quiet", "-q", is_flag=True, help="Errors only."),
]


@click.command(
    cls=Command,
    params=PARAMETERS,
    examples=(
        ("denoise train ./good_scans --name mine --noise gaussian:sigma=0..0.1", "clean images, named noise"),
        ("denoise ./scans --model mine --out ./clean", "then use it"),
        ("denoise train ./good_scans --name mine --noisy ./bad_scans", "pairs of noisy and clean images"),
        ("denoise train ./good_scans --name mine --noise-from ./blanks", "noise cut from blank scans"),
        ("denoise train --only-noisy ./bad_scans --name mine", "nothing but noisy images"),
        ("denoise train --model digits --from scratch --name small", "MNIST or generated digits"),
    ),
)
def train(**given: Any) -> None:
    """Train a network on your noise, and save it under a name.

    IMAGES is a folder of clean images. Without IMAGES and --only-noisy, the network learns from MNIST
    (digits) or from images that the built-in generator draws. Ctrl-C keeps the best weights so far. Repeat
    the command of a killed training to resume it.
    """
    with _errors_only() if given["quiet"] else contextlib.nullcontext():
        _train(given)


@contextlib.contextmanager
def _errors_only() -> Iterator[None]:
    """Hide the library's warnings, such as those of images that are left out."""
    logger = logging.getLogger("denoiser")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _train(given: dict[str, Any]) -> None:
    from denoiser.commands.training_progress import training_progress
    from denoiser.plugins.manager import insist
    from denoiser.training.api import run

    task = _task(given)
    destination = None if given["name"] is None else _destination(task, given["name"], force=given["force"])
    plugins = load(**{each.name: given[each.name] for each in run_options.LOADING if each.name})
    insist(plugins)
    quiet = given["quiet"]

    def tell(text: str) -> None:
        if not quiet:
            click.echo(text, err=True)

    path, card = run(
        task,
        destination,
        plugins,
        progress=training_progress(quiet=quiet),
        tell=tell,
        keep_on_interrupt=True,
        keep_anyway=given["keep_anyway"],
        force=given["force"],
    )
    for line in _summary(card, path.stem, path):
        tell(line)


def _destination(task: Task, name: str, *, force: bool) -> Path:
    """Return the place of a model of this name. Raises UsageError, or ModelError if the name is taken."""
    from denoiser.weights import store

    task.check_name(name)
    destination = store.path_for(name)
    resuming = store.unfinished(destination).exists()  # the model may then be its best so far
    if destination.exists() and not (force or resuming):
        raise ModelError(f"You have a model called {name} already.", "Choose another --name, or use --force.")
    return destination


def _task(given: dict[str, Any]) -> Task:
    """Return the checked request. Raises UsageError."""
    from denoiser.training.task import Task

    network, recipe = given["network"], given["recipe"]
    if network and recipe and network != recipe:
        raise UsageError(f"--recipe {recipe} trains {recipe}, and --model says {network}.", "Give one.")
    task = Task(
        **{each.name: given[each.name] for each in fields(Task) if each.name in given}
        | {"network": recipe or network or "general", "data": given["images"]},
        as_released=recipe is not None,
    )
    task.check()
    return task


def _summary(card: dict[str, Any], name: str, path: Path) -> Iterator[str]:
    """Yield the figures of a training, the paths of its files, and the next command."""
    from denoiser.training.evaluation import table
    from denoiser.weights import store

    what = "images" if card["validation"] else "noisy images"
    yield f"On {what} it has not seen ({card['validated_on']}):"
    yield from (f"  {line}" for line in table(card))
    if card["interrupted"]:
        yield f"Interrupted after {card['minutes']:g} minutes: the best so far is kept."
    yield f"Saved as {path}"
    yield f"The model is called {name}."
    if name in store.NETWORKS:
        yield f"It is used in place of the bundled {name} from now on, until: denoise models remove {name}"
    page = store.beside(path)[-1]
    if page.is_file():
        yield f"Look at its cases and its curve in a browser: {page}"
    yield "Use it with:"
    yield f"  denoise ./scans --model {shlex.quote(name)} --out ./clean"

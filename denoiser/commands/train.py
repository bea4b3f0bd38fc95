"""`denoise train`: teach a network your own noise."""

from __future__ import annotations

import contextlib
import logging
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from denoiser.commands import run_options
from denoiser.commands.click_parts import Command, GroupedOption, NamedPath
from denoiser.commands.plugins import load
from denoiser.errors import ModelError, UsageError

if TYPE_CHECKING:
    from denoiser.training.task import Task

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
        ["--noisy"],
        type=NamedPath(path_type=Path, exists=True, file_okay=False),
        metavar="DIR",
        heading=WHAT,
        help="Or a noisy image for each clean one, of the same name: learn from these pairs.",
    ),
    GroupedOption(
        ["--noise-from"],
        type=NamedPath(path_type=Path, exists=True, file_okay=False),
        metavar="DIR",
        heading=WHAT,
        help="Or scans of nothing (blank paper, dark frames): add the noise that is in them.",
    ),
    GroupedOption(
        ["--model", "network"],
        type=click.Choice(["digits", "general", "document"]),
        heading=WHAT,
        help="The network. [default: general]",
    ),
    GroupedOption(
        ["--recipe"],
        type=click.Choice(["digits", "general", "document"]),
        heading=WHAT,
        help="Noise, data and settings as for this network's bundled weights, from scratch.",
    ),
    GroupedOption(
        ["--latent-dim"],
        metavar="N",
        type=click.IntRange(1),
        heading=WHAT,
        help="Width of digits' narrow layer.",
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
    GroupedOption(["--batch-size"], metavar="N", type=click.IntRange(1), heading=HOW, help="Patches a step."),
    GroupedOption(
        ["--validation"],
        metavar="SHARE",
        type=float,
        default=0.1,
        show_default=True,
        heading=HOW,
        help="Share of the images that is held out to judge by.",
    ),
    GroupedOption(
        ["--device"],
        type=click.Choice(["auto", "cpu", "gpu"]),
        default="auto",
        show_default=True,
        heading=HOW,
        help="Where to compute.",
    ),
    GroupedOption(
        ["--precision"],
        type=click.Choice(["auto", "float32", "bfloat16"]),
        default="auto",
        show_default=True,
        heading=HOW,
        help="Precision of the products while learning. auto measures which is faster; with --epochs it is "
        "float32.",
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
    GroupedOption(
        ["--force"], is_flag=True, heading=RESULT, help="Replace a model of that name, or start anew."
    ),
    GroupedOption(
        ["--keep-anyway"],
        is_flag=True,
        heading=RESULT,
        help="Keep it even if it is worse than doing nothing.",
    ),
    *run_options.LOADING,
    GroupedOption(["--quiet", "-q"], is_flag=True, heading=RESULT, help="Errors only."),
]


@click.command(
    cls=Command,
    params=PARAMETERS,
    examples=(
        ("denoise train ./clean --name mine --noise gaussian:sigma=0..0.1", "clean images, named noise"),
        ("denoise ./scans --model mine --out ./clean", "then use it"),
        ("denoise train ./clean --name mine --noisy ./noisy", "pairs of noisy and clean images"),
        ("denoise train ./clean --name mine --noise-from ./blanks", "noise cut from scans of nothing"),
        ("denoise train --model digits --from scratch --name small", "from what data there is"),
    ),
)
def train(**given: Any) -> None:
    """Teach a network a noise, and keep it under a name.

    IMAGES is a folder of clean images. Without it, the network learns from MNIST (digits) or from what the
    built-in generator draws. Ctrl-C keeps the best so far. A training that was killed goes on when its
    command is repeated.
    """
    with _errors_only() if given["quiet"] else contextlib.nullcontext():
        _train(given)


@contextlib.contextmanager
def _errors_only() -> Iterator[None]:
    """Keep the library's warnings, such as which images are left out, from whoever wants errors only."""
    logger = logging.getLogger("denoiser")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _train(given: dict[str, Any]) -> None:
    from denoiser.plugins.manager import insist
    from denoiser.progress import progress_for
    from denoiser.training.api import run
    from denoiser.weights import store

    task = _task(given)
    name = task.network if given["name"] is None else given["name"]
    task.check_name(name)
    destination = store.path_for(name)
    going_on = store.unfinished(destination).exists()  # what is there may be its best so far
    if destination.exists() and not (given["force"] or going_on):
        raise ModelError(f"You have a model called {name} already.", "Choose another --name, or use --force.")
    plugins = load(**{each.name: given[each.name] for each in run_options.LOADING if each.name})
    insist(plugins)
    quiet = given["quiet"]

    def tell(text: str) -> None:
        if not quiet:
            click.echo(text, err=True)

    card = run(
        task,
        destination,
        plugins,
        progress=progress_for(quiet=quiet),
        tell=tell,
        keep_on_interrupt=True,
        keep_anyway=given["keep_anyway"],
        force=given["force"],
    )
    for line in _summary(card, name, destination):
        tell(line)


def _task(given: dict[str, Any]) -> Task:
    """Check what was asked for. Raises UsageError."""
    from denoiser.training.task import Task

    network, recipe = given["network"], given["recipe"]
    if network and recipe and network != recipe:
        raise UsageError(f"--recipe {recipe} trains {recipe}, and --model says {network}.", "Give one.")
    task = Task(
        network=recipe or network or "general",
        noises=given["noises"],
        data=given["images"],
        noisy=given["noisy"],
        noise_from=given["noise_from"],
        start=given["start"],
        as_released=recipe is not None,
        latent_dim=given["latent_dim"],
        batch_size=given["batch_size"],
        validation=given["validation"],
        minutes=given["minutes"],
        epochs=given["epochs"],
        seed=given["seed"],
        device=given["device"],
        precision=given["precision"],
    )
    task.check()
    return task


def _summary(card: dict[str, Any], name: str, path: Path) -> Iterator[str]:
    """What a training came to: the figures, where everything is, and what to do next."""
    from denoiser.training.evaluation import table
    from denoiser.weights import store

    yield "On images it has not seen:"
    yield from (f"  {line}" for line in table(card))
    if card["interrupted"]:
        yield f"Interrupted after {card['minutes']:g} minutes: the best so far is kept."
    yield f"Saved as {path}"
    if name in store.NETWORKS:
        yield f"It is used in place of the bundled {name} from now on, until: denoise models remove {name}"
    beside = [each for each in store.beside(path) if each.is_file()]
    if beside:
        yield f"Look at it in {' and '.join(str(each) for each in beside)}"
    yield "Use it with:"
    yield f"  denoise ./scans --model {shlex.quote(name)} --out ./clean"

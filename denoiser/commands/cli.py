"""The command line. `denoise PATHS...` means `denoise run PATHS...`.

Click has no default command: the group puts `run` in front of arguments that don't begin with a command's
name. Commands import what they need when they are called, so that help is instant.
"""

from __future__ import annotations

import click

from denoiser import __version__
from denoiser.commands.click_parts import Group
from denoiser.commands.models import models
from denoiser.commands.noises import noises
from denoiser.commands.plugins import plugins
from denoiser.commands.report import report
from denoiser.commands.run import run
from denoiser.commands.train import train


@click.group(
    cls=Group,
    default="run",
    epilog="Documents: README.md and docs/ in the source; start with docs/guide/cleaning.md.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    examples=(
        ("denoise ./scans --out ./clean", "clean a folder"),
        ("denoise photo.jpg page.tif --out ./clean", "clean some files"),
        ("denoise ./scans --out ./clean --dry-run", "see what would be done"),
        ("denoise - < noisy.png > clean.png", "in a pipe"),
        ("denoise train ./clean --name mine --noise speckle:sigma=0.1", "learn a noise"),
        ("denoise report ./clean --to ./look", "look through the results"),
        ("denoise models", "the models there are"),
    ),
)
@click.version_option(__version__, prog_name="denoise")
def cli() -> None:
    """Clean folders of grayscale images with dense autoencoders.

    All options of the main job: denoise run --help
    """


for command in (run, report, train, models, noises, plugins):
    cli.add_command(command)

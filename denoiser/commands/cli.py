"""The command line: `denoise PATHS...` means `denoise run PATHS...`.

Commands import other modules when they are called, so that help is instant.
"""

from __future__ import annotations

import click

from denoiser import __version__
from denoiser.commands.click_parts import Group
from denoiser.commands.doctor import doctor
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
        ("denoise ./scans --out ./clean --dry-run", "print what would be done"),
        ("denoise - < noisy.png > clean.png", "clean one image in a pipe"),
        (
            "denoise train ./good_scans --name mine --noise speckle:sigma=0.1",
            "train a model on your own noise",
        ),
        ("denoise models", "list the models"),
        ("denoise report ./clean --to ./look", "look through the results"),
        ("denoise doctor", "check this installation"),
    ),
)
@click.version_option(__version__, prog_name="denoise")
def cli() -> None:
    """Clean noisy grayscale images in whole folders.

    All options of the default command: denoise run --help
    """


for command in (run, report, train, models, noises, plugins, doctor):
    cli.add_command(command)

"""The options of `denoise run`, grouped as help shows them, and what they ask for once they are checked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from denoiser.commands.click_parts import GroupedOption, NamedPath
from denoiser.errors import UsageError

if TYPE_CHECKING:
    from denoiser.pipeline.cleaner import Output
    from denoiser.plugins.manager import Plugins

MODEL, INPUT, OUTPUT = "Model", "Which files", "What is written"
WORK, PLUGINS, MESSAGES = "How it is computed", "Plugins", "Messages"

LOADING: list[click.Parameter] = [
    GroupedOption(
        ["--plugin", "plugins"],
        heading=PLUGINS,
        multiple=True,
        metavar="FILE|MODULE",
        help="Use it. Repeatable.",
    ),
    GroupedOption(
        ["--no-plugins", "installed_plugins"],
        heading=PLUGINS,
        is_flag=True,
        flag_value=False,
        default=True,
        help="Leave out those of installed packages.",
    ),
    GroupedOption(
        ["--plugin-option", "plugin_options"],
        heading=PLUGINS,
        multiple=True,
        metavar="NAME.KEY=VALUE",
        help="Set an option of a plugin, such as invert.threshold=0.4. Repeatable.",
    ),
]
"""Which plugins, for every command that has to do with them."""

PARAMETERS: list[click.Parameter] = [
    click.Argument(["paths"], nargs=-1, metavar="PATHS..."),
    GroupedOption(
        ["--glob", "pattern"],
        heading=INPUT,
        metavar="PATTERN",
        help="Only files whose names match, such as '*_raw.tif'.",
    ),
    GroupedOption(
        ["--no-recursive", "recursive"],
        heading=INPUT,
        is_flag=True,
        flag_value=False,
        default=True,
        help="Do not search subfolders.",
    ),
    GroupedOption(["--follow-links"], heading=INPUT, is_flag=True, help="Follow symbolic links to folders."),
    GroupedOption(
        ["--max-megapixels"],
        heading=INPUT,
        type=click.FloatRange(0.0, min_open=True),
        default=500.0,
        show_default=True,
        metavar="N",
        help="Largest page to accept, in millions of pixels.",
    ),
    GroupedOption(["--fail-fast"], heading=INPUT, is_flag=True, help="Stop after the first file that fails."),
    GroupedOption(
        ["--out", "-o"],
        heading=OUTPUT,
        type=NamedPath(path_type=Path),
        metavar="DIR",
        help="Folder for the results.",
    ),
    GroupedOption(
        ["--format"],
        heading=OUTPUT,
        type=click.Choice(["keep", "png", "tiff", "jpeg"]),
        default="keep",
        show_default=True,
        help="File format of the results.",
    ),
    GroupedOption(["--color"], heading=OUTPUT, is_flag=True, help="Keep colour, and denoise each channel."),
    GroupedOption(
        ["--size"],
        heading=OUTPUT,
        type=click.Choice(["model", "input"]),
        default="model",
        show_default=True,
        help="In whole mode: write the model's 28x28 pixels, or scale them to the input's size.",
    ),
    GroupedOption(
        ["--strength"],
        metavar="0..1",
        heading=OUTPUT,
        type=click.FloatRange(0.0, 1.0),
        default=1.0,
        show_default=True,
        help="Blend between the input (0) and the result (1).",
    ),
    GroupedOption(
        ["--compare"],
        heading=OUTPUT,
        type=NamedPath(path_type=Path, file_okay=False),
        metavar="DIR",
        help="Also write a picture of before | after | difference for each page, as PNG.",
    ),
    GroupedOption(
        ["--report"],
        heading=OUTPUT,
        type=NamedPath(path_type=Path),
        metavar="DIR|FILE.html",
        help="Also write a page to look through the results, worst first: a folder, or one file.",
    ),
    GroupedOption(
        ["--sync"],
        heading=OUTPUT,
        is_flag=True,
        help="Flush each file to the disk before the next, so that it survives a power cut.",
    ),
    GroupedOption(
        ["--force"],
        heading=OUTPUT,
        is_flag=True,
        help="Reprocess files that are up to date, and overwrite files not written by denoise.",
    ),
    GroupedOption(
        ["--model"],
        heading=MODEL,
        default="auto",
        show_default=True,
        metavar="auto|NAME|FILE",
        help="Model: auto, a name from `denoise models`, or a .keras file.",
    ),
    GroupedOption(
        ["--weights"],
        heading=MODEL,
        type=NamedPath(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Weights file for the model. If it does not exist, the model is trained and saved there.",
    ),
    GroupedOption(
        ["--data"],
        heading=MODEL,
        type=NamedPath(path_type=Path, exists=True, file_okay=False),
        metavar="DIR",
        help="Clean images to train on, if the model has no weights.",
    ),
    GroupedOption(
        ["--no-train", "train"],
        heading=MODEL,
        is_flag=True,
        flag_value=False,
        default=True,
        help="Exit with an error if the model has no weights, instead of training them.",
    ),
    GroupedOption(
        ["--mode"],
        heading=MODEL,
        type=click.Choice(["whole", "tile"]),
        help="Process each image as one patch, or as overlapping tiles. [default: the model's]",
    ),
    GroupedOption(
        ["--quality"],
        heading=WORK,
        type=click.Choice(["fast", "balanced", "best"]),
        default="balanced",
        show_default=True,
        help="Overlap of the patches: more is slower and better.",
    ),
    GroupedOption(
        ["--stride"],
        heading=WORK,
        type=click.IntRange(1, 28),
        metavar="N",
        help="Pixels between patches, 1 to 28, instead of --quality.",
    ),
    GroupedOption(
        ["--device"],
        heading=WORK,
        type=click.Choice(["auto", "cpu", "gpu"]),
        default="auto",
        show_default=True,
        help="Device to compute on.",
    ),
    GroupedOption(
        ["--engine"],
        heading=WORK,
        type=click.Choice(["numpy", "keras"]),
        help="Engine to compute with. [default: keras on a GPU, else numpy]",
    ),
    GroupedOption(
        ["--jobs", "-j"],
        heading=WORK,
        type=click.IntRange(1),
        metavar="N",
        help="Number of CPU cores to use. [default: all]",
    ),
    GroupedOption(
        ["--batch-size"],
        heading=WORK,
        type=click.IntRange(1),
        metavar="N",
        help="Patches per batch (keras engine).",
    ),
    *LOADING,
    GroupedOption(
        ["--dry-run"], heading=MESSAGES, is_flag=True, help="Print what would be done, without doing it."
    ),
    GroupedOption(
        ["--json", "as_json"],
        heading=MESSAGES,
        is_flag=True,
        help="Print one JSON object per file on stdout, then a summary.",
    ),
    GroupedOption(["--quiet", "-q"], heading=MESSAGES, is_flag=True, help="Print errors only."),
    GroupedOption(
        ["--verbose", "-v"],
        heading=MESSAGES,
        is_flag=True,
        help="Print a line for each file, and the details of errors.",
    ),
]


@dataclass(frozen=True)
class Request:
    """The options as given; each is described by its help text."""

    paths: tuple[str, ...]
    out: Path | None
    model: str
    weights: Path | None
    data: Path | None
    train: bool
    mode: str | None
    size: str
    quality: str
    stride: int | None
    strength: float
    device: str
    engine: str | None
    jobs: int | None
    batch_size: int | None
    pattern: str | None
    recursive: bool
    follow_links: bool
    format: str
    color: bool
    max_megapixels: float
    force: bool
    dry_run: bool
    fail_fast: bool
    plugins: tuple[str, ...]
    installed_plugins: bool
    plugin_options: tuple[str, ...]
    compare: Path | None
    report: Path | None
    sync: bool
    as_json: bool
    quiet: bool
    verbose: bool

    def check(self) -> None:
        """Refuse combinations that can't be meant."""
        if not self.paths:
            raise UsageError("Nothing to clean.", "Name files or folders: denoise ./scans --out ./clean")
        if "" in self.paths:
            raise UsageError("An empty name stands for nothing.", "Is a variable in the command not set?")
        if self.pattern == "":
            raise UsageError("--glob is empty.", "Is a variable in the command not set?")
        if not math.isfinite(self.max_megapixels):
            raise UsageError(f"--max-megapixels is {self.max_megapixels}.", "Give a number.")
        if self.batch_size is not None and self.engine == "numpy":
            raise UsageError("--batch-size is for the keras engine.", "Leave it out, or add --engine keras.")
        if "-" in self.paths:
            if len(self.paths) > 1:
                raise UsageError("- stands for stdin and can't be mixed with other inputs.", "Give it alone.")
            if self.as_json:
                raise UsageError("- and --json would both write to stdout.", "Leave one out.")
            if self.out is not None:
                raise UsageError(
                    "- writes to stdout, so --out has no use.", "Leave --out away and redirect stdout."
                )
            if self.compare is not None or self.report is not None or self.dry_run:
                raise UsageError("- goes with none of --compare, --report and --dry-run.", "Leave them out.")
        elif self.out is None:
            raise UsageError("Where should the results go?", "Add --out DIR, for example: --out ./clean")
        if self.weights is not None and self.model == "auto":
            raise UsageError(
                "--weights holds the weights of one network.", "Name it: --model digits, general or document."
            )
        if self.quiet and self.verbose:
            raise UsageError("--quiet and --verbose exclude each other.", "Leave one out.")

    def load_plugins(self) -> Plugins:
        """Load the plugins; one that can't be is an error."""
        from denoiser.plugins import manager

        chain = manager.load(self.plugins, installed=self.installed_plugins, options=self.plugin_options)
        manager.insist(chain)
        return chain

    def output(self) -> Output:
        """Say what to write."""
        from denoiser.pipeline.cleaner import Output
        from denoiser.pipeline.comparison import Comparisons

        compare = None
        if self.compare is not None:
            compare = Comparisons(self.compare, force=self.force, sync=self.sync)
        return Output(
            format=None if self.format == "keep" else self.format,
            color=self.color,
            max_megapixels=self.max_megapixels,
            compare=compare,
            estimate=self.verbose or self.as_json,
            sync=self.sync,
        )

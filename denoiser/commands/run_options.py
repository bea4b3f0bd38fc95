"""The options of `denoise run`, grouped as help shows them, and what they ask for once they are checked."""

from __future__ import annotations

import functools
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from denoiser.commands import completion
from denoiser.commands.click_parts import NamedPath, option
from denoiser.errors import UsageError, on_one_line
from denoiser.inference.precision import PRECISIONS
from denoiser.storage.base import scheme_of

if TYPE_CHECKING:
    from denoiser.pipeline.cleaner import Output
    from denoiser.pipeline.listed import FileList, ObjectList
    from denoiser.pipeline.shard import Shard
    from denoiser.plugins.manager import Plugins

MODEL, INPUT, OUTPUT = "Model", "Which files", "What is written"
WORK, PLUGINS, MESSAGES = "How it is computed", "Plugins", "Messages"

_OTHER_NAMES = {"jpg": "jpeg", "tif": "tiff", "same": "keep"}


class _Shard(click.ParamType):  # type: ignore[type-arg]  # Click 8.1 has none
    """Part of a job, as text or from the environment of an array's task."""

    name = "shard"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ARG002
        """Return the part. Raises UsageError."""
        from denoiser.pipeline import shard

        return value if isinstance(value, shard.Shard) else shard.parse(str(value), os.environ)


class _Format(click.Choice):  # type: ignore[type-arg]  # Click 8.1 has none
    """The formats, with a hint for those who write an ending instead."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse other names, with the right one for an ending."""
        name = _OTHER_NAMES.get(str(value).lower().lstrip("."))
        if name is not None:
            self.fail(f"{value!r} is called {name} here: --format {name}", param, ctx)
        return str(super().convert(value, param, ctx))


@dataclass(frozen=True)
class Url:
    """A URL in an option's place for a path."""

    text: str


_ALMOST_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""What is no URL, but was meant as one: as a path it would make a folder called `s3:`."""


class _Place(NamedPath):
    """A folder, or the URL of a storage, whose slashes a path would lose."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Tell the two apart."""
        if isinstance(value, Url) or (isinstance(value, str) and scheme_of(value) is not None):
            return value if isinstance(value, Url) else Url(value)
        if isinstance(value, str) and _ALMOST_URL.match(value):
            self.fail(
                f"{value} is no URL: write s3://BUCKET/FOLDER, with the scheme in lower case."
                f" Is a variable in the command not set? For a folder, write ./{value} instead",
                param,
                ctx,
            )
        return super().convert(value, param, ctx)


LOADING: list[click.Parameter] = [
    option(
        PLUGINS,
        "--plugin",
        "plugins",
        multiple=True,
        metavar="FILE|MODULE",
        help="Load a plugin: a .py file, or an installed module. Repeatable.",
        shell_complete=completion.paths,
    ),
    option(
        *(PLUGINS, "--no-plugins", "installed_plugins"),
        is_flag=True,
        flag_value=False,
        default=True,
        help="Do not load the plugins of installed packages.",
    ),
    option(
        *(PLUGINS, "--plugin-option", "plugin_options"),
        multiple=True,
        metavar="NAME.KEY=VALUE",
        help="Set an option of a plugin, such as invert.threshold=0.4. Repeatable.",
    ),
]
"""The options that select plugins, for every command that loads plugins."""

PARAMETERS: list[click.Parameter] = [
    click.Argument(["paths"], nargs=-1, metavar="PATHS...", shell_complete=completion.paths),
    option(
        *(INPUT, "--glob", "patterns"),
        multiple=True,
        metavar="PATTERN",
        help="Only files whose names match, such as '*_raw.tif'. Repeatable.",
    ),
    option(
        *(INPUT, "--no-recursive", "recursive"),
        is_flag=True,
        flag_value=False,
        default=True,
        help="Do not search subfolders.",
    ),
    option(
        *(INPUT, "--files-from"),
        metavar="FILE|-",
        help="Clean the files that this list names: one path or URL a line, sorted by folder. - is stdin.",
        shell_complete=completion.paths,
    ),
    option(
        *(INPUT, "--null", "-0"),
        is_flag=True,
        help="Names in the list of --files-from end in NUL, as find -print0 writes them.",
    ),
    option(
        *(INPUT, "--root"),
        type=_Place(path_type=Path, exists=True, file_okay=False),
        metavar="DIR|URL",
        help="With --files-from: the folder whose tree --out mirrors. [default: the one common to all files]",
    ),
    option(
        *(INPUT, "--shard"),
        type=_Shard(),
        metavar="I/N|auto[/N]",
        help="Clean only part I of N; the first is 0. auto: the part of this task in an array of Slurm,"
        " Kubernetes or AWS Batch.",
    ),
    option(INPUT, "--follow-links", is_flag=True, help="Follow symbolic links to folders."),
    option(
        *(INPUT, "--max-megapixels"),
        type=click.FloatRange(0.0, min_open=True),
        default=500.0,
        show_default=True,
        metavar="N",
        help="Largest page to accept, in millions of pixels.",
    ),
    option(INPUT, "--fail-fast", is_flag=True, help="Stop after the first file that fails."),
    option(
        *(OUTPUT, "--out", "-o"),
        type=_Place(path_type=Path, allow_dash=True),
        metavar="DIR|URL",
        help="Folder for the results, or a URL such as s3://BUCKET/FOLDER. For one input file, it may name a"
        " file, such as out.png.",
    ),
    option(
        *(OUTPUT, "--format"),
        type=_Format(["keep", "png", "tiff", "jpeg"]),
        default="keep",
        show_default=True,
        help="File format of the results.",
    ),
    option(
        OUTPUT,
        "--color",
        is_flag=True,
        help="Keep colour: each channel is denoised; with document, the brightness, and hues stay.",
    ),
    option(
        *(OUTPUT, "--bilevel"),
        is_flag=True,
        help="Keep pages of 1 bit at 1 bit, in their compression: what is darker than 0.5 becomes black.",
    ),
    option(
        *(OUTPUT, "--strip-metadata"),
        is_flag=True,
        help="Leave out EXIF, XMP, IPTC, texts and comments. Resolution and colour profile stay.",
    ),
    option(
        *(OUTPUT, "--size"),
        type=click.Choice(["input", "model"]),
        default="input",
        show_default=True,
        help="Size of a result in whole mode (see --mode): that of the input, or the model's 28x28 pixels.",
    ),
    option(
        *(OUTPUT, "--strength"),
        metavar="0..1",
        type=click.FloatRange(0.0, 1.0),
        default=1.0,
        show_default=True,
        help="Blend between the input (0) and the result (1).",
    ),
    option(
        *(OUTPUT, "--compare"),
        type=NamedPath(path_type=Path, file_okay=False),
        metavar="DIR",
        help="Also write a picture of before | after | difference for each page, as PNG.",
    ),
    option(
        *(OUTPUT, "--report"),
        type=NamedPath(path_type=Path),
        metavar="DIR|FILE.html",
        help="Also write a page to look through the results, worst first: a folder, or one file.",
    ),
    option(
        *(OUTPUT, "--sync"),
        is_flag=True,
        help="Flush each file to the disk before the next, so that it survives a power cut.",
    ),
    option(
        *(OUTPUT, "--force"),
        is_flag=True,
        help="Reprocess files that are up to date, and overwrite files not written by denoise.",
    ),
    option(
        OUTPUT,
        "--keep",
        is_flag=True,
        help="Leave files alone that were not written by denoise, and clean the rest.",
    ),
    option(
        *(INPUT, "--watch"),
        type=click.FloatRange(0.0, 86_400.0, min_open=True),
        metavar="SECONDS",
        help="Look for new files every so many seconds and clean them, until Ctrl-C.",
    ),
    option(
        *(MODEL, "--model"),
        default="auto",
        show_default=True,
        metavar="auto|NAME|FILE",
        help="Model: auto, a name from `denoise models`, or a .keras file.",
        shell_complete=completion.models,
    ),
    option(
        *(MODEL, "--weights"),
        type=NamedPath(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Weights file for the model. If it does not exist, the model is trained and saved there.",
    ),
    option(
        *(MODEL, "--data"),
        type=NamedPath(path_type=Path, exists=True, file_okay=False),
        metavar="DIR",
        help="Clean images to train on, if the model has no weights.",
    ),
    option(
        *(MODEL, "--no-train", "train"),
        is_flag=True,
        flag_value=False,
        default=True,
        help="Exit with an error if the model has no weights, instead of training them.",
    ),
    option(
        *(MODEL, "--mode"),
        type=click.Choice(["whole", "tile"]),
        help="whole: fit each image into one patch of 28x28 pixels. tile: cover it with patches. [default:"
        " the model's own]",
    ),
    option(
        *(WORK, "--quality"),
        type=click.Choice(["fast", "balanced", "best"]),
        default="balanced",
        show_default=True,
        help="How densely patches overlap: the denser, the better and the slower.",
    ),
    option(
        *(WORK, "--stride"),
        type=click.IntRange(1, 28),
        metavar="N",
        help="Pixels between patches, 1 to 28, instead of --quality.",
    ),
    option(
        *(WORK, "--device"),
        type=click.Choice(["auto", "cpu", "gpu"]),
        default="auto",
        show_default=True,
        help="Device to compute on.",
    ),
    option(
        *(WORK, "--engine"),
        type=click.Choice(["numpy", "keras"]),
        help="Engine to compute with. [default: keras on a GPU, else numpy]",
    ),
    option(
        *(WORK, "--jobs", "-j"),
        type=click.IntRange(1),
        metavar="N",
        help="Number of CPU cores to use. [default: all]",
    ),
    option(
        WORK, "--batch-size", type=click.IntRange(1), metavar="N", help="Patches per batch (keras engine)."
    ),
    option(
        *(WORK, "--precision"),
        type=click.Choice(PRECISIONS),
        default="float32",
        show_default=True,
        help="Number format of products. bfloat16 is faster on some processors and GPUs; it needs the keras"
        " engine, and digits does not support it. auto measures which is faster, with the keras engine.",
    ),
    option(
        *(WORK, "--cluster"),
        metavar="ADDRESS",
        help="Clean on the workers of a Dask cluster: tcp://HOST:PORT, tls://HOST:PORT, the scheduler's"
        " file.json, or local:N for N workers here.",
    ),
    option(
        *(WORK, "--path-map"),
        multiple=True,
        metavar="HERE=THERE",
        help="The cluster's workers see the folder HERE as THERE. Repeatable.",
    ),
    *LOADING,
    option(MESSAGES, "--dry-run", is_flag=True, help="Print what would be done, without doing it."),
    option(
        *(MESSAGES, "--json", "as_json"),
        is_flag=True,
        help="Print one JSON object per file on stdout, then a summary.",
    ),
    option(
        *(MESSAGES, "--log-file"),
        type=NamedPath(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Append the messages to a file too, with their times.",
    ),
    option(MESSAGES, "--quiet", "-q", is_flag=True, help="Print errors only."),
    option(
        *(MESSAGES, "--verbose", "-v"),
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
    precision: str
    cluster: str | None
    path_map: tuple[str, ...]
    patterns: tuple[str, ...]
    recursive: bool
    follow_links: bool
    files_from: str | None
    null: bool
    root: Path | Url | None
    shard: Shard | None
    format: str
    color: bool
    bilevel: bool
    strip_metadata: bool
    max_megapixels: float
    force: bool
    keep: bool
    watch: float | None
    dry_run: bool
    fail_fast: bool
    plugins: tuple[str, ...]
    installed_plugins: bool
    plugin_options: tuple[str, ...]
    compare: Path | None
    report: Path | None
    sync: bool
    as_json: bool
    log_file: Path | None
    quiet: bool
    verbose: bool
    out_url: str | None = None

    def check(self) -> None:
        """Refuse combinations that can't be meant."""
        self._check_parts()
        if not self.paths and self.files_from is None:
            raise UsageError("Nothing to clean.", "Name files or folders: denoise ./scans --out ./clean")
        if "" in self.paths:
            raise UsageError("An empty name stands for nothing.", "Is a variable in the command not set?")
        if "" in self.patterns:
            raise UsageError("--glob is empty.", "Is a variable in the command not set?")
        for name, number in (("--max-megapixels", self.max_megapixels), ("--watch", self.watch)):
            if number is not None and not math.isfinite(number):
                raise UsageError(f"{name} is {number}.", "Give a number.")
        if self.batch_size is not None and self.engine == "numpy":
            raise UsageError("--batch-size is for the keras engine.", "Leave it out, or add --engine keras.")
        if "-" in self.paths:
            if len(self.paths) > 1:
                raise UsageError("- stands for stdin and can't be mixed with other inputs.", "Give it alone.")
            if self.as_json:
                raise UsageError("- and --json would both write to stdout.", "Leave one out.")
            if self.out is not None or self.out_url is not None:
                raise UsageError(
                    "- writes to stdout, so --out has no use.", "Leave --out away and redirect stdout."
                )
            if self.compare is not None or self.report is not None or self.dry_run or self.watch is not None:
                raise UsageError(
                    "- goes with none of --compare, --report, --dry-run and --watch.", "Leave them out."
                )
        elif self.out is None and self.out_url is None:
            raise UsageError("Where should the results go?", "Add --out DIR, for example: --out ./clean")
        elif self.out == Path("-"):
            raise UsageError(
                "--out - is no folder.",
                "From stdin to stdout: denoise - < noisy.png > clean.png. For a folder, choose another name.",
            )
        if self.weights is not None and self.model == "auto":
            raise UsageError(
                "--weights holds the weights of one network.", "Name it: --model digits, general or document."
            )
        if self.keep and self.force:
            raise UsageError("--keep leaves alone the files that --force overwrites.", "Leave one out.")
        if self.watch is not None and (self.dry_run or self.force):
            raise UsageError("--watch goes with neither --dry-run nor --force.", "Leave them out.")
        if self.watch is not None and self.report is not None:
            raise UsageError(
                "--watch goes without --report.", "Write the page afterwards: denoise report OUT --to DIR"
            )
        if self.quiet and self.verbose:
            raise UsageError("--quiet and --verbose exclude each other.", "Leave one out.")
        self._check_cluster()
        if self.remote:
            self._check_remote()

    @functools.cached_property
    def listed(self) -> FileList | ObjectList | None:
        """The files that --files-from names, if it is given. Raises UsageError if the list can't be used."""
        if self.files_from is None:
            return None
        from denoiser.pipeline.listed import read_list

        root = self.root.text if isinstance(self.root, Url) else None if self.root is None else str(self.root)
        return read_list(self.files_from, null=self.null, root=root)

    @property
    def remote(self) -> bool:
        """Whether inputs or outputs lie in a storage that a URL names."""
        if self.listed is not None and scheme_of(self.listed.root) is not None:
            return True
        return self.out_url is not None or any(scheme_of(path) is not None for path in self.paths)

    def _check_remote(self) -> None:
        """Refuse what only folders of this machine can do."""
        for name, given, remedy in (
            ("--compare", self.compare, "Clean a few files into a folder for that."),
            ("--report", self.report, "Clean a few files into a folder for that."),
            ("--watch", self.watch, "Call the command again and again instead."),
        ):
            if given is not None:
                raise UsageError(f"{name} works with folders, and not with URLs.", remedy)

    def _check_parts(self) -> None:
        """Refuse what a list or a part of a job can't be combined with."""
        if self.files_from is not None:
            if self.paths:
                raise UsageError("--files-from and paths exclude each other.", "Put all paths into the list.")
            if not self.files_from:
                raise UsageError("--files-from is empty.", "Is a variable in the command not set?")
        elif self.null or self.root is not None:
            name = "--null" if self.null else "--root"
            raise UsageError(f"{name} is for the list of --files-from.", "Leave it out.")
        parts = "--files-from" if self.files_from is not None else "--shard" if self.shard else None
        if parts is not None and self.watch is not None:
            raise UsageError(f"--watch goes without {parts}.", "Leave one out.")
        if self.shard is not None and self.paths == ("-",):
            raise UsageError("- is one image, which has no parts.", "Leave --shard out.")
        if self.shard is not None and self.report is not None:
            raise UsageError(
                "--shard goes without --report: each part would write the page of all.",
                "Write it when all parts are done: denoise report OUT --to DIR",
            )

    def _check_cluster(self) -> None:
        """Refuse what a cluster can't do."""
        if self.cluster is None:
            if self.path_map:
                raise UsageError("--path-map is for the workers of --cluster.", "Leave it out.")
            return
        from denoiser.pipeline.cluster import require_form

        if "-" in self.paths:
            raise UsageError("- is cleaned here, so --cluster has no use.", "Leave it out.")
        if self.compare is not None:
            raise UsageError(
                "--compare goes without --cluster.", "Look through the results with --report instead."
            )
        if self.device == "gpu" or self.engine == "keras" or self.precision == "bfloat16":
            raise UsageError(
                "A cluster's workers compute with the numpy engine, so that all results are alike.",
                "Leave out --device, --engine and --precision, or --cluster.",
            )
        if self.jobs is not None:
            raise UsageError(
                "--jobs is for this machine; a cluster's workers were started with threads of their own.",
                "Leave it out.",
            )
        for text in self.path_map:
            here, equals, there = text.partition("=")
            if not equals or not here or not there:
                raise UsageError(
                    f"--path-map {text}: it must be HERE=THERE.", "An example: --path-map /data=/mnt/data"
                )
        require_form(self.cluster)

    def say_left_out(self, folder: Path | str) -> None:
        """Say that a folder in a folder is left out since it holds results of ours."""
        if not self.quiet:
            text = f"Note: {folder} holds results of denoise and is left out. Name it to clean it."
            click.echo(on_one_line(text), err=True)

    @property
    def writer(self) -> str | None:
        """Name of the record's file that this run writes; None: any that is free."""
        return None if self.shard is None else self.shard.writer

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
            compare = Comparisons(self.compare, force=self.force, sync=self.sync, writer=self.writer)
        return Output(
            format=None if self.format == "keep" else self.format,
            color=self.color,
            bilevel=self.bilevel,
            strip_metadata=self.strip_metadata,
            max_megapixels=self.max_megapixels,
            compare=compare,
            estimate=self.verbose or self.as_json,
            sync=self.sync,
        )

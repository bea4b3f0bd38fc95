"""What a `denoise run` was asked for, checked, and turned into the objects that do it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from denoiser.errors import UsageError

if TYPE_CHECKING:
    from denoiser.cleaner import Output
    from denoiser.plugins import Plugins


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
            if self.compare is not None or self.dry_run:
                raise UsageError("- goes with neither --compare nor --dry-run.", "Leave them out.")
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
        from denoiser import plugins

        chain = plugins.load(self.plugins, installed=self.installed_plugins, options=self.plugin_options)
        plugins.insist(chain)
        return chain

    def output(self) -> Output:
        """Say what to write."""
        from denoiser.cleaner import Output
        from denoiser.comparison import Comparisons

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

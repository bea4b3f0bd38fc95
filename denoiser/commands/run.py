"""`denoise [run]`: the main job."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterable
from typing import Any

import click

from denoiser.commands import run_options
from denoiser.commands.click_parts import Command
from denoiser.commands.run_options import Request
from denoiser.errors import ExitCode, UsageError, on_one_line
from denoiser.system.stderr import only_python
from denoiser.system.stdout import stdout_for_data


@click.command(
    cls=Command,
    params=run_options.PARAMETERS,
    examples=(
        ("denoise ./scans --out ./clean", "clean a folder, mirrored under ./clean"),
        ("denoise page.tif --model document --out ./clean", "a dirty page to white paper"),
        ("denoise ./scans --out ./clean --compare ./look", "and see what changed"),
        ("denoise ./scans --out ./clean --strength 0.7", "keep some of the grain"),
        ("denoise - < noisy.png > clean.png", "one image from stdin to stdout"),
    ),
)
def run(**given: Any) -> int:
    """Clean images (the default command).

    PATHS are files, folders, glob patterns, or `-` for stdin to stdout. A folder's content goes straight into
    DIR, its tree mirrored; one file goes to DIR under its name; several inputs keep their names under DIR.
    Finished files are skipped next time.
    """
    request = Request(**given)
    _suggest_commands(request.paths)
    request.check()
    # Pillow warns about odd metadata in words that help nobody here; damage comes as an error.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    # NumPy would tell of a model's overflow in words of its own; what a model gives is checked anyhow.
    warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"denoiser\.")
    if isinstance(logging.lastResort, logging.Handler):
        logging.lastResort.setFormatter(_OneLine("%(message)s"))
    with contextlib.ExitStack() as stack:
        if request.verbose:
            handler = logging.StreamHandler()
            handler.setFormatter(_OneLine("%(name)s: %(message)s"))
            logging.basicConfig(level=logging.INFO, handlers=[handler])
            logging.getLogger("denoiser").setLevel(logging.DEBUG)
        else:
            stack.enter_context(only_python())
        return _stream(request) if request.paths == ("-",) else _batch(request)


class _OneLine(logging.Formatter):
    """Names in messages must not forge lines; what follows a message, a traceback, has many."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Format the message itself."""
        return on_one_line(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """Format a traceback, whose lines may hold names, too."""
        return "\n".join(map(on_one_line, super().formatException(ei).splitlines()))


def _suggest_commands(paths: Iterable[str]) -> None:
    """Where a path doesn't exist but a command is spelt nearly so, say that."""
    context = click.get_current_context()
    group = context.parent.command if context.parent else None
    names = list(group.commands) if isinstance(group, click.Group) else []
    for path in paths:
        if path and not os.path.lexists(path):
            import difflib

            near = difflib.get_close_matches(path, names, 1)
            if near:
                raise UsageError(
                    f"{path}: no such file or folder.", f"Did you mean the command: denoise {near[0]}"
                )


def _stream(request: Request) -> int:
    from denoiser.commands import run_models
    from denoiser.errors import FileError
    from denoiser.pipeline.pipeline import Pipeline

    if sys.stdin is None:
        raise UsageError("stdin is closed, and - stands for it.", "Redirect an image into it.")
    content = sys.stdin.buffer.read()
    with stdout_for_data() as data:
        with run_models.denoiser(request, request.load_plugins()) as denoiser:
            try:
                result, outcome = Pipeline(denoiser, request.output()).stream(content)
            except FileError as error:
                raise FileError(f"stdin {error.message}", error.hint) from error
        if not request.quiet:
            for note in outcome.notes:
                click.echo(f"Note: {note}.", err=True)
        if request.verbose:
            used = ", ".join(outcome.models)
            click.echo(f"stdin -> stdout: done by {used}, {outcome.seconds:.2f} s", err=True)
        data.write(result)
    return ExitCode.OK


def _batch(request: Request) -> int:
    from denoiser.commands.run_batch import Batch
    from denoiser.system.malloc import keep_freed

    keep_freed()
    with contextlib.ExitStack() as stack:
        data = stack.enter_context(stdout_for_data()) if request.as_json else None
        return Batch(request, data).run()

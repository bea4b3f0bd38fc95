"""`denoise [run]`: the main job."""

from __future__ import annotations

import contextlib
import glob
import logging
import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import click

from denoiser.commands import run_options
from denoiser.commands.advice import advice
from denoiser.commands.config import OPTIONS, Configured, conflicts_told
from denoiser.commands.log_file import logged
from denoiser.commands.mistakes import near_path
from denoiser.commands.run_options import Request
from denoiser.errors import ExitCode, UsageError, on_one_line
from denoiser.storage.base import scheme_of
from denoiser.system.stderr import only_ours
from denoiser.system.stdout import stdout_for_data


@click.command(
    cls=Configured,
    params=[*run_options.PARAMETERS, *OPTIONS],
    examples=(
        ("denoise ./scans --out ./clean", "clean a folder, mirrored under ./clean"),
        ("denoise page.tif --model document --out ./clean", "make a dirty page white"),
        ("denoise ./scans --out ./clean --compare ./look", "also show what changed"),
        ("denoise ./scans --out ./clean --strength 0.7", "keep some of the grain"),
        ("denoise - < noisy.png > clean.png", "one image from stdin to stdout"),
    ),
)
def run(config: str | None, preset: str | None, **given: Any) -> int:  # noqa: ARG001 - read before
    """Clean images (the default command).

    PATHS are files, folders, glob patterns, URLs such as s3://BUCKET/FOLDER, or `-` for stdin to stdout. With
    --out DIR, the content of one folder goes straight into DIR, with its tree. One file goes to DIR under its
    own name. Several inputs keep their names below DIR. Finished files are skipped next time.
    """
    out = given.pop("out")
    url = out.text if isinstance(out, run_options.Url) else None
    request = Request(**given, out=None if url else out, out_url=url)
    _suggest_commands(request.paths, request.out)
    with conflicts_told(click.get_current_context()):
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
            stack.enter_context(only_ours())
        stack.enter_context(logged(request.log_file, _read_files(request)))
        _say_config(request)
        if not request.quiet:
            for text in advice(request, click.get_current_context()):
                click.echo(on_one_line(f"Note: {text}"), err=True)
        return _stream(request) if request.paths == ("-",) else _batch(request)


def _read_files(request: Request) -> Iterator[tuple[str, str]]:
    """Yield options that name files of text which this run reads, and the files."""
    if request.files_from is not None:
        yield "--files-from", request.files_from
    yield from (("a --plugin", text) for text in request.plugins)
    config = click.get_current_context().meta.get("denoiser.config")
    if config is not None:
        yield "the configuration", config.path


def _say_config(request: Request) -> None:
    """Say where settings come from that are not on the command line."""
    used = click.get_current_context().meta.get("denoiser.config")
    if used and not request.quiet:
        click.echo(on_one_line(f"Defaults from {used}."), err=True)


_ALIKE = 0.7
"""How alike a command's name must be to be suggested: `noises` is not meant by `nofile`."""


class _OneLine(logging.Formatter):
    """Names in messages must not forge lines; what follows a message, a traceback, has many."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Format the message itself."""
        return on_one_line(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """Format a traceback, whose lines may hold names, too."""
        return "\n".join(map(on_one_line, super().formatException(ei).splitlines()))


def _suggest_commands(paths: Iterable[str], out: Path | None) -> None:
    """Where a path doesn't exist but a command, or a name beside it, is spelt nearly so, say that."""
    context = click.get_current_context()
    group = context.parent.command if context.parent else None
    names = list(group.commands) if isinstance(group, click.Group) else []
    for path in paths:
        if path and scheme_of(path) is None and not os.path.lexists(path):
            import difflib

            near = difflib.get_close_matches(path, names, 1, _ALIKE)
            if near:
                raise UsageError(
                    f"{path}: no such file or folder.", f"Did you mean the command: denoise {near[0]}"
                )
            beside = None if glob.has_magic(path) else near_path(Path(path))
            if beside is not None:
                raise UsageError(f"{path}: no such file or folder.", f"Did you mean {beside}?")
            if path != "-" and not glob.has_magic(path) and len(Path(path).parts) == 1 and not out:
                raise UsageError(
                    f"{path}: no such file or folder, and no command.", "List the commands: denoise --help"
                )


def _stream(request: Request) -> int:
    from denoiser.commands import run_models
    from denoiser.errors import FileError
    from denoiser.pipeline.pipeline import Pipeline

    if sys.stdout is not None and sys.stdout.isatty():
        raise UsageError(
            "The image would be written to the terminal.", "Redirect it: denoise - < noisy.png > clean.png"
        )
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
    from denoiser.commands.run_file import one_file, refuse_file, written_as
    from denoiser.system.malloc import keep_freed

    keep_freed()
    with contextlib.ExitStack() as stack:
        data = stack.enter_context(stdout_for_data()) if request.as_json else None
        if request.remote:
            from denoiser.commands.run_storage import Remote

            refuse_file(request)
            return Remote(request, data).run()
        if request.watch is not None:
            return _watch(request, data)
        job = one_file(request)
        if job is None:
            return Batch(request, data).run()
        return Batch(written_as(request, job), data, [job], recorded=False).run()


def _watch(request: Request, data: IO[bytes] | None) -> int:
    from denoiser.commands import run_batch, run_models
    from denoiser.commands.run_plan import Planned
    from denoiser.commands.watch import Watch
    from denoiser.pipeline.outcomes import Result
    from denoiser.pipeline.plan import Job, NothingFoundError

    plugins = request.load_plugins()
    run_models.untrained(request)  # a model that can't be had is said now, not when the first file comes
    loud = iter([request])
    silent = replace(request, quiet=True)  # folders that are left out are named once
    unreadable: set[str] = set()

    def jobs() -> list[Job]:
        unlisted: list[Result] = []
        try:
            planned = Planned(next(loud, silent), plugins, unlisted)
            found = [job for folder in planned for job in folder]
        except NothingFoundError:
            found = []
        for folder in unlisted:
            if str(folder.source) not in unreadable:
                unreadable.add(str(folder.source))
                click.echo(on_one_line(f"Error: {folder.source} {folder.outcome.error}"), err=True)
        return found

    code = Watch(request, jobs, lambda found: run_batch.Batch(request, data, found).run()).run()
    return code or (ExitCode.SOME_FAILED if unreadable else ExitCode.OK)

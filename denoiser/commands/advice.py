"""Options that have no effect, and inputs that need something else: said before the work."""

from __future__ import annotations

import os
from collections.abc import Iterator

import click
from click.core import ParameterSource

from denoiser.commands.run_options import Request

_SEARCH = {"patterns": "--glob", "recursive": "--no-recursive", "follow_links": "--follow-links"}
_TILED = ("general", "document")


def advice(request: Request, context: click.Context) -> Iterator[str]:
    """Yield a sentence for each option that was given in vain, and for PDF files."""

    def given(name: str) -> bool:
        return context.get_parameter_source(name) is ParameterSource.COMMANDLINE

    piped = request.paths == ("-",)
    if given("stride") and given("quality"):
        yield "--quality has no effect beside --stride."
    if piped or all(os.path.isfile(path) for path in request.paths):  # noqa: PTH113 - names may be anything
        for name, option in _SEARCH.items():
            if given(name):
                yield f"{option} has no effect: it is for folders, and the inputs are files."
    if given("size") and (request.mode == "tile" or (request.mode is None and request.model in _TILED)):
        yield "--size has no effect in tile mode, which keeps the input's size."
    whole = request.mode == "whole" or (request.mode is None and request.model == "digits")
    for name in ("stride", "quality"):
        if whole and given(name):
            yield f"--{name} has no effect in whole mode, which has one patch an image."
    if given("follow_links") and not request.recursive:
        yield "--follow-links has no effect beside --no-recursive: links to folders are not searched either."
    if request.bilevel and request.format == "jpeg":
        yield "--bilevel has no effect with --format jpeg, which holds no 1 bit."
    if piped:
        for name in ("force", "keep", "sync", "fail_fast"):
            if given(name):
                yield f"--{name.replace('_', '-')} has no effect in a pipe: no file is written."
    if request.dry_run:
        for name in ("compare", "report", "sync", "fail_fast"):
            if given(name):
                yield f"--{name.replace('_', '-')} has no effect in a dry run, which writes nothing."
    yield from _untrained(request)
    yield from _pdf(request)


def _untrained(request: Request) -> Iterator[str]:
    """Options that are for training, and for the keras engine only."""
    if request.data is not None:
        from denoiser.commands.run_models import untrained

        if not untrained(request):
            yield "--data has no effect: the model has weights and is not trained."
    if request.engine == "keras" or request.precision == "bfloat16":
        return
    from denoiser.system.hardware import may_have_gpu

    if request.engine == "numpy" or request.device == "cpu" or not may_have_gpu():
        for name, given in (
            ("--batch-size", request.batch_size is not None),
            ("--precision auto", request.precision == "auto"),
        ):
            if given:
                yield f"{name} has no effect: it is for the keras engine, and the numpy engine computes."


def _pdf(request: Request) -> Iterator[str]:
    named = [path for path in request.paths if path.lower().endswith(".pdf")]
    if named and ".pdf" not in request.load_plugins().suffixes("read_pages"):
        yield (
            f"{named[0]} is a PDF, which needs a plugin: python -m pip install ./plugins/denoiser-pdf"
            " in the source, or see docs/guide/pdf.md"
        )

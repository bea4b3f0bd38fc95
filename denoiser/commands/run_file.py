"""`--out out.png`: one input file to one output file, without a record."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from denoiser.commands.run_options import Request
from denoiser.errors import UsageError
from denoiser.imaging.formats import FORMATS, NO_FOLDERS, SUFFIXES
from denoiser.pipeline.plan import Job


def one_file(request: Request) -> Job | None:
    """Return the job of a run from one file to the file that `--out` names; None if that names a folder.

    Raises UsageError if the output is the input, or if that file can't take what there is.
    """
    out = request.out
    alone = len(request.paths) == 1 and os.path.isfile(request.paths[0])  # noqa: PTH113 - it may be empty
    if out is not None and alone and out.suffix.lower() in NO_FOLDERS and not out.is_dir():
        raise UsageError(
            f"--out {out} can't be a file: {out.suffix} is not written.",
            f"Use .png, .tif or .jpg, or name a folder: --out {out.with_suffix('')}",
        )
    if out is None or not out.suffix or out.is_dir():
        return None
    own = {Path(request.paths[0]).suffix.lower()} if alone else set()
    # Plugins are loaded only where nothing else tells a file's name from a folder's.
    if out.suffix.lower() not in SUFFIXES | own | (_plugins_own(request) if alone else set()):
        return None
    several = len(request.paths) != 1  # or a list of them
    if several or not os.path.isfile(request.paths[0]):  # noqa: PTH113 - it may be empty
        if several or os.path.isdir(request.paths[0]):  # noqa: PTH112 - as above
            what = "there are several inputs" if several else f"{request.paths[0]} is a folder"
            raise UsageError(
                f"--out {out} names a file, and {what}.", f"Name a folder: --out {out.with_suffix('')}"
            )
        return None
    if request.shard is not None:
        raise UsageError(f"{request.paths[0]} is one image, which has no parts.", "Leave --shard out.")
    source = Path(request.paths[0])
    if os.path.realpath(source) == os.path.realpath(out):
        raise UsageError(
            f"The output {out} is the input; inputs are never written to.", "Choose another name."
        )
    return Job(source, out, out.name)


def _plugins_own(request: Request) -> frozenset[str]:
    """Return the endings that only plugins write."""
    return request.load_plugins().suffixes("write_pages")


def refuse_file(request: Request) -> None:
    """Refuse an output that is called like a file, where inputs are URLs. Raises UsageError."""
    out = request.out
    if out is not None and out.suffix.lower() in SUFFIXES | NO_FOLDERS and not out.is_dir():
        raise UsageError(
            f"--out {out} names a file, and what URLs name goes into a folder.",
            f"Name a folder: --out {out.with_suffix('')}",
        )


def written_as(request: Request, job: Job) -> Request:
    """Return the request with the folder of the output, and with the format that its name asks for.

    Raises UsageError for a name that the format doesn't fit.
    """
    ending = job.destination.suffix.lower()
    named = next((name for name, (_, suffixes) in FORMATS.items() if ending in suffixes), None)
    if request.format not in ("keep", named):
        raise UsageError(
            f"--out {job.destination} and --format {request.format} don't go together.", "Leave one out."
        )
    if named is None and ending != job.source.suffix.lower():
        raise UsageError(
            f"--out {job.destination}: {ending} is not written from another format.",
            "Use .png, .tif or .jpg.",
        )
    return replace(request, out=job.destination.parent, format=named or "keep")

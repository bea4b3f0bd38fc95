"""`denoise noises`: list the noises for training, with their parameters."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from denoiser.commands import run_options
from denoiser.commands.click_parts import Command, option
from denoiser.commands.plugins import load, tell_failures
from denoiser.errors import UsageError
from denoiser.system.stdout import stdout_for_data

if TYPE_CHECKING:
    from denoiser.noise import Noise


@click.command(
    cls=Command,
    params=[
        *run_options.LOADING,
        option("Output", "--json", "as_json", is_flag=True, help="Print JSON."),
        option(
            *("Output", "--preview"),
            metavar="FILE.png",
            type=click.Path(path_type=Path),
            help="Draw the noises into a file instead: at half, once and twice their default settings.",
        ),
        option("Output", "--force", is_flag=True, help="Replace an existing FILE.png."),
    ],
    examples=(
        ("denoise noises", "names, parameters and their ranges"),
        ("denoise noises --preview noises.png", "draw them"),
    ),
)
def noises(*, as_json: bool, preview: Path | None, force: bool, **selection: Any) -> None:
    """List the noises that `denoise train` can add. Black is 0 and white is 1."""
    from denoiser import noise

    if preview is not None and as_json:
        raise UsageError("--preview draws the noises, and --json lists them.", "Use one of the two.")
    if force and preview is None:
        raise UsageError("--force replaces the file of --preview.", "Use both, or neither.")
    with stdout_for_data() as data:
        plugins = load(**selection)
        tell_failures(plugins)
        with plugins.noises():
            listed = [noise.get(name) for name in noise.names()]
            if preview is not None:
                from denoiser.commands import noise_preview

                noise_preview.write(listed, preview, force=force)
                click.echo(f"{len(listed)} noises drawn: {preview}", err=True)
                return
        if as_json:
            text = json.dumps([_as_dict(entry) for entry in listed], indent=2)
        else:
            text = "\n".join(line for entry in listed for line in _lines(entry))
        data.write(f"{text}\n".encode())


def _as_dict(noise: Noise) -> dict[str, Any]:
    """Return the noise as plain JSON, which has no infinity: a missing bound is null."""
    parameters = {
        key: {
            name: None if value in (math.inf, -math.inf) else value
            for name, value in dataclasses.asdict(parameter).items()
        }
        for key, parameter in noise.parameters.items()
    }
    return {"name": noise.name, "help": noise.help, "parameters": parameters}


def _lines(noise: Noise) -> Iterator[str]:
    yield f"{noise.name}: {noise.help}"
    for key, value in noise.parameters.items():
        bounded = math.isfinite(value.low) or math.isfinite(value.high)
        limits = f"{value.low:g} to {value.high:g}" if bounded else ""
        about = ", ".join(filter(None, (limits, value.help)))
        yield f"    {key}={value.default:g}  {about}".rstrip()

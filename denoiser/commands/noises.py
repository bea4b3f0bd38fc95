"""`denoise noises`: the noises that can be taught, with their parameters."""

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
from denoiser.commands.plugins import load
from denoiser.errors import UsageError
from denoiser.system.stdout import stdout_for_data

if TYPE_CHECKING:
    from denoiser.noise import Noise


@click.command(
    cls=Command,
    params=list(run_options.LOADING),
    examples=(
        ("denoise noises", "names, parameters and their ranges"),
        ("denoise noises --preview noises.png", "see them"),
    ),
)
@option("--json", "as_json", is_flag=True, heading="Output", help="Print JSON, one list.")
@option(
    "--preview",
    metavar="FILE.png",
    type=click.Path(path_type=Path),
    heading="Output",
    help="Draw them instead: each at half of its default settings, at these, and at their double.",
)
@option("--force", is_flag=True, heading="Output", help="Replace an existing FILE.png.")
def noises(*, as_json: bool, preview: Path | None, force: bool, **which: Any) -> None:
    """List the noises that `denoise train` can add. All values are on the 0..1 scale."""
    from denoiser import noise

    if preview is not None and as_json:
        raise UsageError("--preview draws and --json lists.", "Give one.")
    if force and preview is None:
        raise UsageError("--force is about the file of --preview.", "Give both, or neither.")
    with stdout_for_data() as data:
        plugins = load(**which)
        for failed in plugins.failed:
            click.echo(f"{failed.name} from {failed.origin} failed to load: {failed.error}", err=True)
        with plugins.noises():
            found = [noise.get(name) for name in noise.names()]
            if preview is not None:
                _preview(found, preview, force=force)
                return
        if as_json:
            text = json.dumps([_as_dict(each) for each in found], indent=2)
        else:
            text = "\n".join(line for each in found for line in _lines(each))
        data.write(f"{text}\n".encode())


def _preview(found: list[Noise], path: Path, *, force: bool) -> None:
    from denoiser.commands import noise_preview

    noise_preview.write(found, path, force=force)
    click.echo(f"{len(found)} noises drawn: {path}", err=True)


def _as_dict(noise: Noise) -> dict[str, Any]:
    """The noise as plain JSON, which knows no infinity: a parameter without a bound has null."""
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

"""`denoise plugins`: what would run, and what failed to load."""

from __future__ import annotations

import json

import click

from denoiser.commands.help import Command, option


@click.command(
    cls=Command,
    examples=(
        ("denoise plugins", "those of installed packages"),
        ("denoise plugins --plugin invert.py", "check a file of your own"),
    ),
)
@option(
    "--plugin", "specs", multiple=True, metavar="FILE|MODULE", heading="Plugins", help="Load this one too."
)
@option("--json", "as_json", is_flag=True, heading="Output", help="Print JSON.")
@click.argument("nothing", nargs=-1, type=click.UNPROCESSED)
@option("--out", "out", hidden=True, heading="Output")
def plugins(*, specs: tuple[str, ...], as_json: bool, nothing: tuple[str, ...], out: str | None) -> None:
    """List plugins, and what failed to load."""
    if nothing or out:
        raise click.UsageError("plugins is a command. To clean a folder of that name, write ./plugins.")
    from denoiser import plugins as loading

    found = loading.load(specs)
    if as_json:
        listed = {
            "loaded": [plugin.as_dict() for plugin in found.loaded],
            "failed": [plugin.as_dict() for plugin in found.failed],
        }
        click.echo(json.dumps(listed, indent=2))
        return
    for plugin in found.loaded:
        click.echo(f"{plugin.name} {plugin.version} from {plugin.origin}: {', '.join(plugin.hooks)}")
    for failed in found.failed:
        click.echo(f"{failed.name} from {failed.origin} failed to load: {failed.error}", err=True)
    if not found.loaded and not found.failed:
        click.echo("No plugins. Use --plugin FILE, or install a package that has some.", err=True)

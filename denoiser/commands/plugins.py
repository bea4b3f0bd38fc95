"""`denoise plugins`: what would run, and what failed to load."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from denoiser.commands.click_parts import Command, GroupedOption, option
from denoiser.commands.run_options import LOADING
from denoiser.system.stdout import stdout_for_data

if TYPE_CHECKING:
    from denoiser.plugins.manager import Loaded, Plugins


def load(*, plugins: tuple[str, ...], installed_plugins: bool, plugin_options: tuple[str, ...]) -> Plugins:
    """Load the plugins that the options of `LOADING` ask for; installed ones that fail are in `failed`."""
    from denoiser.plugins import manager as loading

    return loading.load(plugins, installed=installed_plugins, options=plugin_options)


def _lines(loaded: Iterable[Loaded]) -> Iterator[str]:
    """Name, version, origin and hooks, and below them the options as they are."""
    for plugin in loaded:
        files = f" for {' '.join(plugin.suffixes)}" if plugin.suffixes else ""
        yield f"{plugin.name} {plugin.version} from {plugin.origin}: {', '.join(plugin.hooks)}{files}"
        for each in plugin.as_dict()["options"]:
            value = "none" if each["value"] is None else str(each["value"])
            about = ", ".join(filter(None, (each["type"], each["help"])))
            yield f"    {plugin.name}.{each['name']}={value}  {about}"


@click.command(
    cls=Command,
    params=[
        *LOADING,
        GroupedOption(["--json", "as_json"], is_flag=True, heading="Output", help="Print JSON."),
    ],
    examples=(
        ("denoise plugins", "those of installed packages"),
        ("denoise plugins --plugin invert.py", "check a file of your own"),
    ),
)
@click.argument("nothing", nargs=-1, type=click.UNPROCESSED, metavar="")
@option("--out", "out", hidden=True, heading="Output")
def plugins(*, as_json: bool, nothing: tuple[str, ...], out: str | None, **which: Any) -> None:
    """List plugins, and what failed to load."""
    if nothing or out:
        raise click.UsageError("plugins is a command. To clean a folder of that name, write ./plugins.")
    with stdout_for_data() as data:
        found = load(**which)
        if as_json:
            listed = {
                "loaded": [plugin.as_dict() for plugin in found.loaded],
                "failed": [plugin.as_dict() for plugin in found.failed],
            }
            text = json.dumps(listed, indent=2)
        else:
            text = "\n".join(_lines(found.loaded))
        data.write(f"{text}\n".encode() if text else b"")
    if as_json:
        return
    for failed in found.failed:
        click.echo(f"{failed.name} from {failed.origin} failed to load: {failed.error}", err=True)
    if not found.loaded and not found.failed:
        click.echo("No plugins. Use --plugin FILE, or install a package that has some.", err=True)

"""`denoise plugins`: list the plugins, and those that failed to load."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from denoiser.commands.click_parts import Command, option
from denoiser.commands.run_options import LOADING
from denoiser.system.stdout import stdout_for_data

if TYPE_CHECKING:
    from denoiser.plugins.manager import Loaded, Plugins


def load(*, plugins: tuple[str, ...], installed_plugins: bool, plugin_options: tuple[str, ...]) -> Plugins:
    """Load the plugins of the options in `LOADING`; installed plugins that fail are in `failed`."""
    from denoiser.plugins import manager

    return manager.load(plugins, installed=installed_plugins, options=plugin_options)


def tell_failures(plugins: Plugins) -> None:
    """Print the plugins that failed to load on stderr."""
    for failed in plugins.failed:
        click.echo(f"{failed.name} from {failed.origin} failed to load: {failed.error}", err=True)


def _lines(loaded: Iterable[Loaded]) -> Iterator[str]:
    """Yield a line for each plugin, and below it a line for each of its options."""
    for plugin in loaded:
        files = f" for {' '.join(plugin.suffixes)}" if plugin.suffixes else ""
        yield f"{plugin.name} {plugin.version} from {plugin.origin}: {', '.join(plugin.hooks)}{files}"
        for setting in plugin.as_dict()["options"]:
            value = "none" if setting["value"] is None else str(setting["value"])
            about = ", ".join(filter(None, (setting["type"], setting["help"])))
            yield f"    {plugin.name}.{setting['name']}={value}  {about}"


@click.command(
    cls=Command,
    params=[
        *LOADING,
        option("Output", "--json", "as_json", is_flag=True, help="Print JSON."),
        click.Argument(["paths"], nargs=-1, type=click.UNPROCESSED, metavar=""),
        option("Output", "--out", hidden=True),
    ],
    examples=(
        ("denoise plugins", "the plugins of installed packages"),
        ("denoise plugins --plugin invert.py", "check a file of your own"),
    ),
)
def plugins(*, as_json: bool, paths: tuple[str, ...], out: str | None, **selection: Any) -> None:
    """List plugins, and those that failed to load."""
    if paths or out:  # as in `denoise plugins --out clean`
        raise click.UsageError("plugins is a command. To clean a folder of that name, write ./plugins.")
    with stdout_for_data() as data:
        plugins = load(**selection)
        if as_json:
            listed = {
                "loaded": [plugin.as_dict() for plugin in plugins.loaded],
                "failed": [asdict(plugin) for plugin in plugins.failed],
            }
            text = json.dumps(listed, indent=2)
        else:
            text = "\n".join(_lines(plugins.loaded))
        data.write(f"{text}\n".encode() if text else b"")
    if as_json:
        return
    tell_failures(plugins)
    if not plugins.loaded and not plugins.failed:
        click.echo("No plugins. Use --plugin FILE, or install a package with plugins.", err=True)

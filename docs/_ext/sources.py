"""What the generated parts of these pages are made from: the one place that names the package's modules."""

from __future__ import annotations

from collections.abc import Iterator

from click import Choice, Context, Group, Option

from denoiser import hookspecs
from denoiser.commands.cli import cli
from denoiser.imaging.formats import ALPHA, SAME_AS, SIXTEEN_BIT, SUFFIXES
from denoiser.noise import get, names
from denoiser.weights.architectures import CONFIGS, make_config, parameters_of
from denoiser.weights.store import NETWORKS

__all__ = [
    "ALPHA",
    "CONFIGS",
    "NETWORKS",
    "SAME_AS",
    "SIXTEEN_BIT",
    "SUFFIXES",
    "Choice",
    "Option",
    "cli",
    "commands",
    "get",
    "hookspecs",
    "make_config",
    "names",
    "parameters_of",
]


def commands(group: Group = cli, parent: Context | None = None) -> Iterator[Context]:
    """Yield a context for every command below a group: the names of its help option come from there."""
    above = Context(
        group, info_name=group.name if parent else "denoise", parent=parent, **group.context_settings
    )
    for name, command in group.commands.items():
        if isinstance(command, Group):
            yield from commands(command, above)
        else:
            yield Context(command, info_name=name, parent=above, **command.context_settings)

"""Check the pages that Sphinx built: every command, option and figure must be there."""

from __future__ import annotations

import html
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from denoiser.commands.cli import cli


def commands(group: click.Command, path: str = "denoise") -> Iterator[tuple[str, click.Command]]:
    """Yield every command with its full name."""
    yield path, group
    if isinstance(group, click.Group):
        for name, command in group.commands.items():
            yield from commands(command, f"{path} {name}")


def missing(built: Path) -> Iterator[str]:
    """Yield what the built pages lack."""
    page = (built / "reference" / "cli.html").read_text("utf-8")
    anchors = set(re.findall(r'id="([^"]+)"', page))
    text = html.unescape(re.sub(r"<[^>]+>", "", page))
    for path, command in commands(cli):
        if f"{path} " not in text:
            yield path
        for parameter in command.params:
            hidden = getattr(parameter, "hidden", False) or isinstance(parameter, click.Argument)
            for name in () if hidden else parameter.opts:
                if f"cmdoption-{path.replace(' ', '-')}-{name.lstrip('-')}" not in anchors:
                    yield f"{path} {name}"
    for name in ("page_before_after.png", "scaling.png"):
        if not (built / "_images" / name).is_file():
            yield name


def main(built: Path) -> int:
    """Say what is missing; returns 1 if anything is."""
    found = sorted(missing(built))
    for each in found:
        print(f"{each} is not in {built}", file=sys.stderr)
    print(f"{sum(1 for _ in commands(cli))} commands, {len(found)} things missing")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

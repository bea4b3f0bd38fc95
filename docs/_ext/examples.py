"""Show a command's examples, which `--help` begins with, on its generated page too."""

from __future__ import annotations

from typing import Any

import click


def add_examples(_app: Any, ctx: click.Context, lines: list[str]) -> None:
    """Append the examples of a command to its description."""
    examples = getattr(ctx.command, "examples", ())
    if examples:
        lines += ["", ".. code-block:: sh", ""]
        for command, purpose in examples:
            lines += [f"    # {purpose}", f"    {command}"]
        lines.append("")


def escape(_app: Any, _ctx: click.Context, lines: list[str]) -> None:
    """Keep an asterisk in plain help, such as that of '*_raw.tif', from being taken for markup."""
    lines[:] = [line.replace("*", "\\*") for line in lines]


def leave_out_nameless(_app: Any, _ctx: click.Context, lines: list[str]) -> None:
    """Leave out arguments that have no name: they are there to be refused."""
    if any(line.strip() == ".. option::" for line in lines):
        lines.clear()


def setup(app: Any) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("sphinx-click-process-description", escape, priority=400)
    app.connect("sphinx-click-process-description", add_examples)
    app.connect("sphinx-click-process-options", escape)
    app.connect("sphinx-click-process-arguments", leave_out_nameless)
    return {"parallel_read_safe": True}

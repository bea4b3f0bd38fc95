"""What Click says of a wrong argument, on one line with what to write instead."""

from __future__ import annotations

import os
from pathlib import Path

import click

_PLAINLY = {
    "is not a valid integer range": "is not a whole number",
    "is not a valid integer": "is not a whole number",
    "is not a valid float range": "is not a number",
    "is not a valid float": "is not a number",
}


def plainly(text: str) -> str:
    """Return what Click says of a value in plain words."""
    for words, plain in _PLAINLY.items():
        text = text.replace(words, plain)
    return text


def explained(error: click.ClickException) -> str:
    """Return the message of an error, and its remedy, on one line."""
    text = plainly(" ".join(error.format_message().split()))
    text = text if text.endswith((".", "?", "!")) else f"{text}."
    remedy = _remedy(error) if isinstance(error, click.UsageError) else ""
    return f"{text} {remedy}".rstrip()


def _remedy(error: click.UsageError) -> str:
    if _answered(error):
        return ""
    context = error.ctx
    if context is None:
        return "See: denoise --help"
    examples = getattr(context.command, "examples", ())
    if isinstance(error, click.MissingParameter) and examples:
        return f"For example: {examples[0][0]}"
    near = _near_path(error) or _near_choice(error)
    return near or f"See: {context.command_path} --help"


def _answered(error: click.UsageError) -> bool:
    """Whether the message itself says what to write."""
    text = error.format_message()
    return any(words in text for words in ("Did you mean", "Is a variable", " write ", "here: --"))


def _near_choice(error: click.UsageError) -> str:
    """Return what may have been meant by a word that is none of an option's."""
    if not isinstance(error, click.BadParameter) or "is not one of" not in error.message:
        return ""
    import difflib

    word, *choices = error.message.split("'")[1::2]
    near = difflib.get_close_matches(word, choices, 1)
    return f"Did you mean {near[0]}?" if near else ""


def _near_path(error: click.UsageError) -> str:
    """Return what may have been meant by the name of a file or folder that doesn't exist."""
    if not isinstance(error, click.BadParameter) or "does not exist" not in error.message:
        return ""
    quoted = error.message.split("'")
    near = near_path(Path(quoted[1])) if len(quoted) > 2 else None
    return f"Did you mean {near}?" if near else ""


def near_path(path: Path) -> Path | None:
    """Return the file or folder beside a missing one whose name is nearly the same."""
    import difflib

    try:
        names = os.listdir(path.parent)  # noqa: PTH208 - names are all that is needed
    except OSError:
        return None
    near = difflib.get_close_matches(path.name, names, 1)
    return path.with_name(near[0]) if near else None

"""`denoise.toml`: defaults of `denoise run`, and presets.

The file is read from where the user's models lie, or from where `--config` says, and never from the current
folder: a folder of other people's images must not decide what is run.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from denoiser.commands import completion
from denoiser.commands.click_parts import Command
from denoiser.commands.click_parts import option as make_option
from denoiser.commands.mistakes import plainly
from denoiser.errors import UsageError

NAME = "denoise.toml"
FOR_NAMED_FILES = {"plugin": "would load code", "plugin-option": "would set options of plugins"}
"""Keys that only a file may have that `--config` names: plugins are code, and an option of one that is not
loaded is an error, which would end every run."""

_PAIRS = (("quality", "stride"), ("force", "keep"), ("quiet", "verbose"))
_INSTEAD = {**dict(_PAIRS), **{second: first for first, second in _PAIRS}}
"""Options that exclude each other, or say the same in two ways."""

_OWN = ("config", "preset", "help")
_TO_FILES = ("out", "compare", "report", "json", "dry-run", "watch")
"""Keys that mean nothing where one image goes from stdin to stdout."""


@dataclass(frozen=True)
class Used:
    """The file of a command's defaults: its path, the preset, and the parameters that it sets, by name."""

    path: str
    preset: str | None
    names: frozenset[str]

    def __str__(self) -> str:
        return self.path + (f", preset {self.preset}" if self.preset else "")


class Configured(Command):
    """A command whose options have defaults in `denoise.toml`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the file before the options get their values: command line, preset, file, default."""
        if not ctx.resilient_parsing:
            self._refuse_misread(ctx, args)
            given, paths, _ = self.make_parser(ctx).parse_args(args=list(args))
            if not {*args} & {*ctx.help_option_names}:
                piped = given.get("paths") == ("-",) or paths == ["-"] or args[-1:] == ["-"]
                values = _defaults(self, ctx, given.get("config"), given.get("preset"), piped=piped)
                ctx.default_map = _without_others(values, given)
        return super().parse_args(ctx, args)

    def _refuse_misread(self, ctx: click.Context, args: list[str]) -> None:
        """Refuse `-out`, which means `-o ut`, `-o=ut`, which means `=ut`, and names that mean options."""
        names = [name for each in self.get_params(ctx) for name in each.opts]
        long = {name[1:]: name for name in names if name[:2] == "--"}
        before = ""
        for argument in args[: args.index("--") if "--" in args else None]:
            name, is_set, value = argument.partition("=")
            if name in long:
                raise UsageError(f"{name} has one dash.", f"Write {long[name]}")
            if is_set and len(name) == 2 and name in names:
                raise UsageError(f"{argument} has a = too many.", f"Write {name} {shlex.quote(value)}")
            is_short = argument[:1] == "-" and argument[:2] not in ("-", "--") and argument not in names
            # After an option it may be the option's value.
            if is_short and before[:1] != "-" and os.path.lexists(argument):
                raise UsageError(f"{argument} is taken for options.", f"Write ./{shlex.quote(argument)}")
            before = argument


def _defaults(
    command: click.Command, ctx: click.Context, named: str | None, preset: str | None, *, piped: bool
) -> dict[str, Any]:
    """Return the values of the file and of the preset, by the names of the command's parameters."""
    if named == "":
        raise UsageError("--config has an empty name.", "Is a variable in the command not set?")
    path = Path(named) if named is not None else _own_file()
    if named is None and not os.path.lexists(path):
        if preset is not None:
            raise UsageError(f"There is no preset {preset}: {path} does not exist.", "Name a file: --config.")
        return {}
    content = _read(path)
    presets = content.pop("preset", {})
    if not isinstance(presets, dict) or not all(isinstance(each, dict) for each in presets.values()):
        raise UsageError(f"{path}: preset must be a table of tables.", "Write [preset.NAME].")
    if preset is not None and preset not in presets:
        raise UsageError(f"{path} has no preset {preset}.", _near(preset, presets, "It has"))
    options = {_key(each): each for each in command.get_params(ctx) if isinstance(each, click.Option)}
    values: dict[str, Any] = {}
    tables = [("", content), *((f"preset.{name}.", table) for name, table in presets.items())]
    for where, table in tables:  # all are checked, before a job relies on one of them
        used: dict[str, Any] = {}
        for key, value in table.items():
            known = key.replace("_", "-")
            option = _checked(path, where + key, known, options, trusted=named is not None)
            checked = _value(path, where + key, option, value, ctx)
            is_used = where in ("", f"preset.{preset}.") and not (piped and known in _TO_FILES)
            if option.name is not None and is_used:
                used[option.name] = checked
        values = {**_without_others(values, used), **used}
    ctx.meta["denoiser.config"] = Used(str(path), preset, frozenset(values))
    return values


def _without_others(values: dict[str, Any], stronger: Iterable[str]) -> dict[str, Any]:
    """Return values without those that exclude an option which is given where it counts before them."""
    others = {_INSTEAD[name] for name in stronger if name in _INSTEAD}
    return {name: value for name, value in values.items() if name not in others}


@contextlib.contextmanager
def conflicts_told(ctx: click.Context) -> Iterator[None]:
    """Where options can't be combined, say which of them the file of defaults sets, as nobody typed these."""
    try:
        yield
    except UsageError as error:
        used = ctx.meta.get("denoiser.config")
        if not isinstance(used, Used):
            raise
        from_file = (each for each in ctx.command.params if each.name in used.names)
        names = [
            max(each.opts, key=len)
            for each in from_file
            if ctx.get_parameter_source(str(each.name)) is ParameterSource.DEFAULT_MAP
        ]
        named = [name for name in names if re.search(rf"{name}(?![\w-])", error.message)]
        if not named:
            raise
        hint = f"{used} sets {' and '.join(named)}. {error.hint or ''}".rstrip()
        raise UsageError(error.message, hint) from error


def check_own_file(command: click.Command) -> None:
    """Raise UsageError if the user's own file can't be read, or its defaults don't suit the command."""
    with click.Context(command) as ctx:
        _defaults(command, ctx, None, None, piped=False)


def _own_file() -> Path:
    from denoiser.weights import store

    return store.home() / NAME


def _read(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))  # editors may put a mark first
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}.", "Check the path.") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UsageError(f"{path} is not UTF-8 text (at line {line}).", "Save it as UTF-8.") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(
            f"{path} is not TOML: {error}.", 'A line is KEY = VALUE; text has "quotes".'
        ) from error


def _key(option: click.Option) -> str:
    """Return the name of an option in the file: the long one without its dashes."""
    return max(option.opts, key=len).lstrip("-")


def _near(name: str, known: Iterable[str], listing: str) -> str:
    import difflib

    names = list(known)
    near = difflib.get_close_matches(name, names, 1)
    if near:
        return f"Did you mean {near[0]}?"
    return f"{listing} {', '.join(names)}." if names else f"{listing} none."


def _checked(
    path: Path, shown: str, key: str, options: Mapping[str, click.Option], *, trusted: bool
) -> click.Option:
    """Return the option of a key. Raises UsageError if there is none, or the file may not have it."""
    if key not in options or key in _OWN:
        known = [each for each in options if each not in _OWN]
        raise UsageError(f"{path}: there is no option {shown}.", _near(key, known, "The options are"))
    if key in FOR_NAMED_FILES and not trusted:
        raise UsageError(
            f"{path}: {shown} {FOR_NAMED_FILES[key]}, which only a file named by --config may do.",
            f"Remove it, or write --config {path}",
        )
    return options[key]


def _value(path: Path, shown: str, option: click.Option, value: Any, ctx: click.Context) -> Any:
    """Return the value of an option as Click expects it. Raises UsageError for one that it refuses."""
    if option.is_flag:
        if not isinstance(value, bool):
            raise UsageError(f"{path}: {shown} must be true or false.")
        turns_off = option.flag_value is False  # as --no-train does, which sets its parameter to False
        return value is not turns_off
    parts = value if option.multiple and isinstance(value, list) else [value]
    is_number = isinstance(option.type, click.types.IntParamType | click.types.FloatParamType)
    wanted = int | float if is_number else str
    right = (isinstance(part, wanted) and not isinstance(part, bool) for part in parts)
    if not all(right) or (is_number and not all(map(math.isfinite, parts))):
        kind = "a number, without quotes" if is_number else 'text in "quotes"'
        raise UsageError(f"{path}: {shown} must be {kind}{', or a list of such' if option.multiple else ''}.")
    texts: Any = [str(part) for part in parts]
    try:
        option.type_cast_value(ctx, texts if option.multiple else texts[0])
    except click.BadParameter as error:
        raise UsageError(f"{path}: {shown}: {plainly(error.message)}") from error
    return texts if option.multiple else texts[0]


OPTIONS: list[click.Parameter] = [
    make_option(
        *("Defaults", "--config"),
        metavar="FILE",
        shell_complete=completion.paths,
        help=f"File of defaults for these options. [default: {NAME} in the folder of `denoise doctor`]",
    ),
    make_option("Defaults", "--preset", metavar="NAME", help="Use the table [preset.NAME] of that file."),
]

"""Options of plugins: a dataclass that the plugin declares, and values that are checked against it."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import numbers
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np

from denoiser.errors import PluginError, UsageError
from denoiser.plugins.checks import first_line

TYPES: dict[Any, Any] = {
    bool: click.BOOL,
    int: click.INT,
    float: click.FLOAT,
    str: click.STRING,
    Path: click.Path(path_type=Path, readable=False),
}
"""How text is read, by the type of the field."""


def defaults(declared: Any, plugin: str) -> Any:
    """Make the options of a plugin with their defaults. Raises PluginError if `declared` is unfit."""
    if not (isinstance(declared, type) and dataclasses.is_dataclass(declared)):
        raise PluginError(f"Plugin {plugin}: Options is not a dataclass.", "Decorate it with @dataclass.")
    try:
        kinds = _kinds(declared)
        for name, kind in kinds.items():
            _type_name(kind, f"Plugin {plugin}: the option {name}")
        options = declared()
        for name, kind in kinds.items():
            _check_default(kind, getattr(options, name), f"Plugin {plugin}: the option {name}")
        return options
    except PluginError:
        raise
    except (Exception, SystemExit) as error:  # the plugin's code may raise anything
        raise PluginError(
            f"Plugin {plugin}: its Options can't be made: {first_line(error)}.",
            "Give each field a valid default.",
        ) from error


def _check_default(kind: Any, value: Any, option: str) -> None:
    """Raise PluginError for a default that is not of the option's type. Text is no number here."""
    for member in _members(kind):
        if isinstance(value, str) and member in TYPES and member is not str:
            continue
        with contextlib.suppress(ValueError, OverflowError):
            _convert(member, value)
            return
    raise PluginError(f"{option} is {value!r} by default.", f"It is declared as {_type_name(kind, option)}.")


def changed(options: Any, plugin: str, values: Mapping[str, Any]) -> Any:
    """Return the options with other values; text is read as the type of the field.

    Raises UsageError for an unknown option, a value of another type, or a value that the plugin refuses.
    """
    kinds = _kinds(type(options)) if options is not None else {}
    read = {}
    for key, value in values.items():
        if key not in kinds:
            near = difflib.get_close_matches(key, kinds, 1)
            known = f"It has {', '.join(kinds)}." if kinds else "It has none."
            raise UsageError(
                f"The plugin {plugin} has no option {key}.", f"Did you mean {near[0]}?" if near else known
            )
        read[key] = _value(kinds[key], value, f"{plugin}.{key}={value}")
    try:
        return dataclasses.replace(options, **read)
    except (Exception, SystemExit) as error:  # the plugin's own checks
        shown = ", ".join(f"{plugin}.{key}={value}" for key, value in values.items())
        raise UsageError(f"{shown}: the plugin refuses it: {first_line(error)}.") from error


def described(options: Any) -> list[dict[str, Any]]:
    """Return the name, type, value, default and help of each option, as plain JSON."""
    if options is None:
        return []
    kinds, standard = _kinds(type(options)), type(options)()
    return [
        {
            "name": field.name,
            "type": _type_name(kinds[field.name], field.name),
            "value": _plain(getattr(options, field.name)),
            "default": _plain(getattr(standard, field.name)),
            "help": str(field.metadata.get("help", "")),
        }
        for field in dataclasses.fields(options)
        if field.init
    ]


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _kinds(declared: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(declared)
    return {field.name: hints[field.name] for field in dataclasses.fields(declared) if field.init}


def _members(kind: Any) -> tuple[Any, ...]:
    """Return the types of a union, or the one type."""
    is_union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    return typing.get_args(kind) if is_union else (kind,)


def _type_name(kind: Any, option: str) -> str:
    """Return a type as text. Raises PluginError if options can't have this type."""
    names = []
    for member in _members(kind):
        if member is type(None):
            names.append("none")
        elif typing.get_origin(member) is Literal:
            names.extend(str(value) for value in typing.get_args(member))
        elif member in TYPES:
            names.append(member.__name__.lower())
        else:
            raise PluginError(
                f"{option} is of type {member}.", "It may be bool, int, float, str, Path, a Literal, or None."
            )
    return "|".join(names)


def _value(kind: Any, value: Any, shown: str) -> Any:
    # None first, or "none" would be taken for text.
    for member in sorted(_members(kind), key=lambda member: member is not type(None)):
        with contextlib.suppress(click.BadParameter, ValueError, TypeError, OverflowError):
            return _convert(member, value)
    raise UsageError(f"{shown}: it must be {_type_name(kind, shown)}.")


def _convert(kind: Any, value: Any) -> Any:
    """Read text as a type, or check a value from Python. Raises ValueError or click.BadParameter."""
    if kind is type(None) and (value is None or value == "none"):
        return None
    for allowed in typing.get_args(kind):  # of a Literal
        if value in (allowed, str(allowed)):
            return allowed
    if isinstance(value, str) and kind in TYPES:
        value = TYPES[kind].convert(value, None, None)
        if value != value:  # NaN, which would pass every check of the plugin's that is a comparison
            raise ValueError
        return value
    if kind is bool and isinstance(value, bool | np.bool_):
        return bool(value)
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)  # NumPy's are such, too
    if kind in (int, float) and is_number and value == kind(value):
        return kind(value)
    if kind in (str, Path) and isinstance(value, Path):
        return kind(value)
    raise ValueError

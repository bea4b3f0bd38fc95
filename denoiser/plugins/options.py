"""A plugin's settings: a dataclass that it declares, and text that is checked against it."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from denoiser.errors import PluginError, UsageError

PLAIN = (bool, int, float, str, Path)
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def defaults(declared: Any, plugin: str) -> Any:
    """Make the plugin's options with their defaults; PluginError if `declared` is not such a dataclass."""
    if not (isinstance(declared, type) and dataclasses.is_dataclass(declared)):
        raise PluginError(f"Plugin {plugin}: Options is not a dataclass.", "Decorate it with @dataclass.")
    try:
        for name, kind in _kinds(declared).items():
            _word(kind, f"Plugin {plugin}: the option {name}")
        return declared()
    except PluginError:
        raise
    except (Exception, SystemExit) as error:  # somebody else's code
        raise PluginError(
            f"Plugin {plugin}: its Options can't be made: {error}.",
            "Give each field a default that is right.",
        ) from error


def changed(options: Any, plugin: str, values: Mapping[str, Any]) -> Any:
    """Return the options with other values; text is read as the field's type.

    Raises:
        UsageError: an unknown option, or a value that is not of its type or that the plugin refuses.

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
        raise UsageError(f"{shown}: the plugin refuses it: {str(error).rstrip('.')}.") from error


def described(options: Any) -> list[dict[str, Any]]:
    """Name, type, value, default and help (of the field's metadata) of each option, as plain JSON."""
    if options is None:
        return []
    kinds, standard = _kinds(type(options)), type(options)()
    return [
        {
            "name": field.name,
            "type": _word(kinds[field.name], field.name),
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


def _parts(kind: Any) -> tuple[Any, ...]:
    is_union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    return typing.get_args(kind) if is_union else (kind,)


def _word(kind: Any, name: str) -> str:
    """A type as text; PluginError if text can't be read as it."""
    words = []
    for part in _parts(kind):
        if part is type(None):
            words.append("none")
        elif typing.get_origin(part) is Literal:
            words.extend(str(value) for value in typing.get_args(part))
        elif part in PLAIN:
            words.append(part.__name__.lower())
        else:
            raise PluginError(
                f"{name} is of type {part}.", "It may be bool, int, float, str, Path, a Literal, or None."
            )
    return "|".join(words)


def _value(kind: Any, value: Any, shown: str) -> Any:
    for part in _parts(kind):
        try:
            return _as(part, value)
        except (ValueError, TypeError):
            continue
    raise UsageError(f"{shown}: it must be {_word(kind, shown)}.")


def _as(kind: Any, value: Any) -> Any:
    """Read one value as one type; ValueError if it is not of it."""
    if kind is type(None):
        if value is None or value == "none":
            return None
    elif typing.get_origin(kind) is Literal:
        for allowed in typing.get_args(kind):
            if value == allowed or value == str(allowed):
                return allowed
    elif kind is bool:
        if isinstance(value, bool):
            return value
        if str(value).lower() in (*_TRUE, *_FALSE):
            return str(value).lower() in _TRUE
    elif kind in (int, float):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if isinstance(value, str) or (is_number and (kind is float or value == int(value))):
            return kind(value)
    elif isinstance(value, str | Path):
        return kind(value)
    raise ValueError

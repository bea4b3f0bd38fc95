"""Checks of values that callers from Python give; the command line has checked its own."""

from __future__ import annotations

import numbers

from denoiser.errors import UsageError


def require_number(name: str, value: object, *, whole: bool = False) -> None:
    """Raise UsageError unless the value is a number, with `whole` a whole one; NumPy's count too."""
    kind = numbers.Integral if whole else numbers.Real
    if not isinstance(value, kind) or isinstance(value, bool):
        raise UsageError(f"{name} is {value!r}; it must be a {'whole ' if whole else ''}number.")

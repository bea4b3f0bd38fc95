"""Noises with their parameters, and the table of all noises, to which plugins add with `register`."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from denoiser._types import Floats
from denoiser.errors import UsageError

#: The value of a parameter: one number, or an array (N, 1, 1) with one number per image.
Value = float | Floats
Function = Callable[..., npt.NDArray[Any]]


class Register(Protocol):
    """The function that a plugin's `register_noise` receives: see `register`."""

    def __call__(
        self,
        name: str,
        function: Function,
        help: str = "",  # noqa: A002 - as in `register`
        parameters: Mapping[str, Parameter] | None = None,
    ) -> None:
        """Add a noise."""
        ...


@dataclass(frozen=True)
class Parameter:
    """A parameter of a noise: its default, its range, and a line of help."""

    default: float
    low: float
    high: float
    help: str


STRENGTH = Parameter(1.0, 0.0, 1.0, "how much of the noise is kept: 0 is the clean image")


@dataclass(frozen=True)
class Noise:
    """A named noise. `function(clean, rng, **parameters)` gets float32 (N, H, W) and returns that shape."""

    name: str
    function: Function
    parameters: Mapping[str, Parameter]
    help: str

    def __call__(
        self, clean: Floats, rng: np.random.Generator, *, strength: Value = 1.0, **values: Value
    ) -> Floats:
        """Return noisy copies of a batch, a new float32 (N, H, W), clipped to 0..1.

        clean: float32 (N, H, W), 0..1. strength: 0..1, a number or (N, 1, 1); 0 returns equal images.
        values: parameters of the noise.
        """
        settings: dict[str, Value] = {key: parameter.default for key, parameter in self.parameters.items()}
        result = np.asarray(self.function(clean, rng, **(settings | values)), dtype=np.float32)
        if result.shape != clean.shape:
            raise UsageError(
                f"The noise {self.name!r} returned an array of shape {result.shape} for {clean.shape}."
            )
        if not (np.isscalar(strength) and strength == 1.0):
            result = clean + np.asarray(strength, dtype=np.float32) * (result - clean)
        clipped: Floats = np.clip(result, np.float32(0.0), np.float32(1.0))
        return clipped


_NOISES: dict[str, Noise] = {}


def register(
    name: str,
    function: Function,
    help: str = "",  # noqa: A002 - plugins call it by this name
    parameters: Mapping[str, Parameter] | None = None,
) -> None:
    """Add a noise, or replace the one of that name.

    function: `function(clean, rng, **parameters)` gets float32 (N, H, W) in 0..1, which it must not change,
    and returns the same shape, which is then clipped to 0..1. A parameter is one number, or an array
    (N, 1, 1) if the user gave a range. parameters: the parameters by name; None takes the numeric defaults
    of the function, without bounds. None can be called `strength`, which every noise has.
    Raises UsageError if the name can't be used on a command line, or a parameter can't be set.
    """
    if not name.isidentifier():
        raise UsageError(f"A noise can't be called {name!r}.", "Use letters, digits and underscores.")
    if parameters is None:
        parameters = {
            key: Parameter(float(argument.default), -math.inf, math.inf, "")
            for key, argument in inspect.signature(function).parameters.items()
            if isinstance(argument.default, int | float)
        }
    _check_parameters(name, function, parameters)
    _NOISES[name] = Noise(name, function, dict(parameters), help)


def _check_parameters(name: str, function: Function, parameters: Mapping[str, Parameter]) -> None:
    """Raise UsageError for a parameter that a user could not set, or the function does not take."""
    if "strength" in parameters:
        raise UsageError(
            f"The noise {name!r} has a parameter called strength, which every noise has already.",
            "Give it another name.",
        )
    for key, each in parameters.items():
        if not each.low <= each.default <= each.high:
            raise UsageError(
                f"The noise {name!r}: {key} is {each.default:g} by default,"
                f" and may be {each.low:g} to {each.high:g}."
            )
    try:
        signature = inspect.signature(function)
    except ValueError:
        return  # some functions in C have none
    try:
        signature.bind(None, None, **parameters)
    except TypeError as error:
        raise UsageError(
            f"The function of the noise {name!r} can't be called with (clean, rng, **parameters): {error}."
        ) from None


def unregister(name: str) -> None:
    """Remove a noise, if there is one of this name."""
    _NOISES.pop(name, None)


def names() -> list[str]:
    """Return the names of all noises, in alphabetical order."""
    return sorted(_NOISES)


def get(name: str) -> Noise:
    """Return the noise of this name. Raises UsageError, which suggests the nearest name, if there is none."""
    if name in _NOISES:
        return _NOISES[name]
    near = difflib.get_close_matches(name, names(), 1)
    hint = f"Did you mean {near[0]!r}?" if near else f"Known noises: {', '.join(names())}."
    raise UsageError(f"There is no noise called {name!r}.", hint)

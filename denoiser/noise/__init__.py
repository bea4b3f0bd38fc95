"""The named noises of the command line, recipes and plugins.

A noise is a function of clean images and a NumPy generator, vectorised over a batch. In text,
`gaussian:sigma=0..0.6+speckle:sigma=0.1` applies noises one after another, each with its parameters. A
parameter that is a range is sampled for every image. Pixels are 0..1. Plugins add noises with `register`.

This package needs only NumPy and Pillow, and imports fast.
"""

from __future__ import annotations

import warnings
from typing import Any

from denoiser._types import Floats as Array
from denoiser.noise import paper, pixels
from denoiser.noise.chain import Chain, Corruption, Mixture, NoCorruption, Step, parse
from denoiser.noise.registry import (
    STRENGTH,
    Function,
    Noise,
    Parameter,
    Register,
    Value,
    get,
    names,
    register,
    unregister,
)

__all__ = [
    "STRENGTH",
    "Array",
    "Chain",
    "Corruption",
    "Function",
    "Mixture",
    "NoCorruption",
    "Noise",
    "Parameter",
    "Register",
    "Step",
    "Value",
    "get",
    "names",
    "paper",
    "parse",
    "pixels",
    "register",
    "unregister",
]

_RENAMED = {"Spoiler": Corruption, "Nothing": NoCorruption}


def __getattr__(name: str) -> Any:
    """Resolve a name of an earlier version, with a DeprecationWarning."""
    if name not in _RENAMED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    renamed = _RENAMED[name]
    warnings.warn(
        f"denoiser.noise.{name} is now denoiser.noise.{renamed.__name__}.", DeprecationWarning, stacklevel=2
    )
    return renamed

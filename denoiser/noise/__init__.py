"""The named noises, which the command line, recipes and plugins share.

Every noise is a function of clean images and a NumPy generator, vectorised over a batch. A noise is
written as text, `gaussian:sigma=0..0.6+speckle:sigma=0.1`: noises applied one after another, each with
its parameters, and a parameter given as a range is drawn anew for every image. All values are on the
0..1 scale of pixels. Plugins add noises with `register`.

Only NumPy and Pillow are needed here: the command reads this package without paying for Keras.
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

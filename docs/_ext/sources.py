"""What the generated parts of these pages are made from: the one place that names the package's modules."""

from __future__ import annotations

import importlib
from typing import Any


def _find(*places: str) -> Any:
    """Return the first "module:name" that exists."""
    for place in places:
        module, name = place.split(":")
        try:
            return getattr(importlib.import_module(module), name)
        except (ModuleNotFoundError, AttributeError):
            continue
    raise ImportError(f"none of {', '.join(places)} exists")


cli = _find("denoiser.commands.cli:cli", "denoiser.commands:cli")
Hooks = _find("denoiser.hookspecs:Hooks")
SUFFIXES = _find("denoiser.imaging.formats:SUFFIXES", "denoiser.files:SUFFIXES")
SIXTEEN_BIT = _find("denoiser.imaging.formats:SIXTEEN_BIT", "denoiser.images:_SIXTEEN_BIT")
ALPHA = _find("denoiser.imaging.formats:ALPHA", "denoiser.images:_ALPHA")
SAME_AS = _find("denoiser.imaging.formats:SAME_AS", "denoiser.images:_SAME_AS")
PARAMETERS = _find("denoiser.weights.architectures:PARAMETERS", "denoiser.networks:PARAMETERS")
NETWORKS = _find("denoiser.weights.store:NETWORKS", "denoiser.store:NETWORKS")
layout = _find("denoiser.weights.architectures:layout", "denoiser.networks:layout")
validate = _find("denoiser.weights.architectures:validate", "denoiser.networks:validate")

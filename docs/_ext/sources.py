"""What the generated parts of these pages are made from: the one place that names the package's modules."""

from __future__ import annotations

from denoiser.commands.cli import cli
from denoiser.hookspecs import Hooks
from denoiser.imaging.formats import ALPHA, SAME_AS, SIXTEEN_BIT, SUFFIXES
from denoiser.noise import get, names
from denoiser.weights.architectures import PARAMETERS, layout, validate
from denoiser.weights.store import NETWORKS

__all__ = [
    "ALPHA",
    "NETWORKS",
    "PARAMETERS",
    "SAME_AS",
    "SIXTEEN_BIT",
    "SUFFIXES",
    "Hooks",
    "cli",
    "get",
    "layout",
    "names",
    "validate",
]

"""What the generated parts of these pages are made from: the one place that names the package's modules."""

from __future__ import annotations

from denoiser import hookspecs
from denoiser.commands.cli import cli
from denoiser.imaging.formats import ALPHA, SAME_AS, SIXTEEN_BIT, SUFFIXES
from denoiser.noise import get, names
from denoiser.weights.architectures import CONFIGS, make_config, parameters_of
from denoiser.weights.store import NETWORKS

__all__ = [
    "ALPHA",
    "CONFIGS",
    "NETWORKS",
    "SAME_AS",
    "SIXTEEN_BIT",
    "SUFFIXES",
    "cli",
    "get",
    "hookspecs",
    "make_config",
    "names",
    "parameters_of",
]

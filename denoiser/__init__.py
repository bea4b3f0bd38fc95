"""denoiser: clean folders of grayscale images with dense autoencoders.

    import denoiser

    clean = denoiser.denoise(array)                  # one (H, W) image, or a stack
    with denoiser.Denoiser(model="general") as d:    # load once, use often
        results = d.reconstruct(list_of_arrays)

The public names load what they need when they are first used, so importing this costs nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as of typing, whose import takes longer than all that is here
if TYPE_CHECKING:
    from typing import Any

    from denoiser.hookspecs import hookimpl as hookimpl
    from denoiser.inference.denoiser import Denoiser as Denoiser
    from denoiser.inference.denoiser import denoise as denoise
    from denoiser.page import Page as Page
    from denoiser.training.api import train as train

__version__ = "0.1.0"
__all__ = ["Denoiser", "Page", "__version__", "denoise", "hookimpl", "train"]

_HOMES = {
    "Denoiser": "inference.denoiser",
    "Page": "page",
    "denoise": "inference.denoiser",
    "hookimpl": "hookspecs",
    "train": "training.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)

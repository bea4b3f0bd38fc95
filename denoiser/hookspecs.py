"""The hooks: where other people's steps go in.

`image` is always a float32 array of shape (H, W), 0 black and 1 white, and read-only: return a new array to
change it, or None to leave it as it is. What a hook returns is checked (2-D, floating point, finite) and
clipped to 0..1; a fault names the plugin, fails that file alone and leaves no output. A plugin declares only
the arguments it wants. Hooks run in the process that cleans the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pluggy

if TYPE_CHECKING:
    from denoiser.page import Page
    from denoiser.patches import Floats

PROJECT = "denoiser"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class Hooks(Protocol):
    """Every hook, with its contract."""

    @staticmethod
    @hookspec
    def preprocess(image: Floats, page: Page) -> Floats | None:
        """Change a page before it is denoised.

        Plugins run in load order, each on what the one before it returned. The size may change.
        With colour kept, it is called for each channel.
        """

    @staticmethod
    @hookspec
    def postprocess(image: Floats, original: Floats, page: Page) -> Floats | None:
        """Change a page after it was denoised.

        Plugins run in reverse load order, so that a plugin's two halves nest. `original` is the page as it
        was read, before any `preprocess`; its size may differ from the image's.
        """

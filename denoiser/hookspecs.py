"""The hooks: where other people's steps go in.

A plugin is a module (or any object) whose functions are marked with `@denoiser.hookimpl`. A function declares
only the arguments it wants. Beside its functions, a plugin may have two attributes:

    Options    a dataclass of settings, each with a default: bool, int, float, str, Path or a Literal, or one
               of these or None. `--plugin-option NAME.KEY=VALUE` sets them; a ValueError from
               `__post_init__` says what is wrong with them. A hook gets them by declaring `options`.
    SUFFIXES   the endings, such as (".pdf",), of the files that its `read_pages` and `write_pages` are for.

`image` is always a float32 array of shape (H, W), 0 black and 1 white, and read-only: return a new array to
change it, or None to leave it as it is. What a hook returns is checked (2-D, floating point, finite) and
clipped to 0..1. A fault names the plugin, fails that file alone and leaves no output.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pluggy

if TYPE_CHECKING:
    from denoiser._types import Floats
    from denoiser.noise import Register
    from denoiser.page import Page

PROJECT = "denoiser"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class Hooks(Protocol):
    """Every hook, with its contract."""

    @staticmethod
    @hookspec
    def preprocess(image: Floats, page: Page, options: Any) -> Floats | None:
        """Change a page before it is denoised.

        Plugins run in load order, each on what the one before it returned. The size may change, and
        transparency is then left out; everything else about the page stays as it was read.
        None leaves the image as it is. With colour kept, it is called for each channel.
        Called in the process that cleans the file, in its main thread, whatever `--jobs` and the engine;
        `denoise train` calls it for each of the user's own images before noise is added, so that training
        and use agree. A fault stops the training.
        """

    @staticmethod
    @hookspec
    def postprocess(image: Floats, original: Floats, page: Page, options: Any) -> Floats | None:
        """Change a page after it was denoised.

        Plugins run in reverse load order, so that a plugin's two halves nest. `original` is the page as it
        was read, before any `preprocess`; its size may differ from the image's, and it is read-only too.
        The size may change. None leaves the image as it is. With colour kept, it is called for each channel.
        Called in the process that cleans the file; not in training.
        """

    @staticmethod
    @hookspec
    def register_noise(register: Register, options: Any) -> None:
        """Add noises to those that `denoise train --noise` and `denoise noises` know.

        Call `register(name, function, help, parameters=None)` for each. `function(clean, rng, **parameters)`
        gets float32 (N, H, W), 0..1 and read-only, of any H and W, and a numpy Generator, its only
        source of chance. It returns floats of the same shape, finite, which are clipped to 0..1. A parameter
        arrives as one number, or as an array (N, 1, 1) where a range was asked for. `parameters` maps names
        to `denoiser.noise.Parameter(default, low, high, help)`; None takes the function's numeric defaults,
        unbounded. Names already taken are refused.
        Plugins are asked in load order; what the hook itself returns is not used. Called in the process of
        `denoise train` and `denoise noises`; the functions run in the thread that makes patches. A fault
        stops the training and names the plugin.
        """

    @staticmethod
    @hookspec(firstresult=True)
    def read_pages(path: Path, options: Any) -> Iterator[tuple[Floats, Page]] | None:
        """Read a file whose ending is among the plugin's SUFFIXES, page by page.

        Return an iterator of (image, page); a generator is best, as then one page at a time is in memory.
        An image is floating point, finite, (H, W), or (H, W, 3) for colour, and clipped to 0..1. Of the page,
        `count` must be the number of pages, `depth` decides how built-in formats write it (8 or 16; 32 is
        floating point), and `dpi`, `icc` and `exif` are kept; `path` and `index` are filled in.
        None: not mine, the next plugin in load order is asked, and at last the built-in formats. Folder
        walks find files with these endings too. Called in the process that cleans the file, and for the
        user's images in `denoise train`; never for stdin, which has no path.
        """

    @staticmethod
    @hookspec(firstresult=True)
    def write_pages(path: Path, pages: Iterator[tuple[Floats, Page]], options: Any) -> bool | None:
        """Write a file whose ending is among the plugin's SUFFIXES.

        `path` is a temporary file with that ending, empty, which is renamed to the output when all is well:
        write to no other. `pages` gives (image, page) for each page in order, computing it only then; images
        are float32 (H, W), or (H, W, 3) where colour is kept, 0..1 and read-only. All must be taken.
        Return True. None: not mine, no page was taken; the next plugin in load order is asked, and at last
        the built-in formats. Called in the process that cleans the file.
        A file that a plugin reads and none writes becomes a TIFF.
        """

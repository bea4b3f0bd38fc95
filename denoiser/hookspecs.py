"""The hooks of plugins.

A plugin is a module (or any object) whose functions are marked with `@denoiser.hookimpl`. A function declares
only the arguments it wants. Beside its functions, a plugin may have two attributes:

    Options    a dataclass of settings, each with a default: bool, int, float, str, Path or a Literal, or one
               of these or None. `--plugin-option NAME.KEY=VALUE` sets them; a ValueError from
               `__post_init__` refuses them. A hook gets them by declaring `options`.
    SUFFIXES   the last endings of the names, such as (".pdf",), of the files that its `read_pages` and
               `write_pages` handle.

`image` is always a float32 array of shape (H, W), 0 black and 1 white, and read-only: return a new array to
change it, or None to keep it. The array that a hook returns must be 2-D, floating point and finite, and is
clipped to 0..1; values far outside, as those of 0..255, are a fault. If a hook fails, the message names the
plugin, only that file fails, and it has no output.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from denoiser._types import Floats
    from denoiser.noise import Register
    from denoiser.page import Page
    from denoiser.storage.base import Storage

PROJECT = "denoiser"
HOOKS = ("preprocess", "postprocess", "register_noise", "read_pages", "write_pages", "open_storage")
IMAGE_HOOKS = frozenset(HOOKS) - {"register_noise", "open_storage"}
"""The hooks that see images: should one crash its process, another must be left."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def preprocess(image: Floats, page: Page, options: Any) -> Floats | None:
    """Change a page before it is denoised.

    Plugins run in load order, each on the image that the previous one returned. The size may change, and
    transparency is then left out; everything else about the page stays as it was read. None keeps the image.
    With colour kept, the hook is called for each channel.
    Called in the process that cleans the file, one image at a time, in its main thread whatever `--jobs` and
    the engine, but in another thread of a cluster's workers.
    `denoise train` calls it for each of the user's images before noise is added, so that training and use
    agree; a fault stops the training.
    """


@hookspec
def postprocess(image: Floats, original: Floats, page: Page, options: Any) -> Floats | None:
    """Change a page after it was denoised.

    Plugins run in reverse load order, so that a plugin's two hooks nest. `original` is the page as it was
    read, before any `preprocess`; it is read-only too, and its size may differ from the image's. The size may
    change. None keeps the image. With colour kept, the hook is called for each channel.
    Called in the process that cleans the file; not in training.
    """


@hookspec
def register_noise(register: Register, options: Any) -> None:
    """Add noises for `denoise train --noise` and `denoise noises`.

    Call `register(name, function, help, parameters=None)` for each. `function(clean, rng, **parameters)`
    gets float32 (N, H, W), 0..1 and read-only, of any H and W, and a NumPy Generator, its only source of
    randomness. It returns finite floats of the same shape, which are clipped to 0..1. A parameter is one
    number, or an array (N, 1, 1) if the user gave a range. `parameters` maps names to
    `denoiser.noise.Parameter(default, low, high, help)`; None takes the function's numeric defaults, without
    bounds. A name that another noise has is refused, and so are a parameter called `strength`, which every
    noise has, one that the function does not take, and a default outside of its range.
    Plugins are called in load order; the return value is not used. Called in the process of `denoise train`
    and `denoise noises`; the functions run in the thread that makes patches. A fault stops the training, and
    the message names the plugin.
    """


@hookspec(firstresult=True)
def read_pages(path: Path, options: Any) -> Iterator[tuple[Floats, Page]] | None:
    """Read a file whose ending is among the plugin's SUFFIXES, page by page.

    Return an iterator of (image, page); a generator keeps only one page in memory, or some small ones. An
    image is floating point, finite, (H, W), or (H, W, 3) for colour, and is clipped to 0..1. Of the page,
    `count` must be the number of pages, `depth` decides how built-in formats write it (1, 8, 16, or 32 for
    floating point: give 16 for 12 bits), and `dpi`, `icc` and `exif` are kept; `path` and `index` are
    filled in.
    None declines the file: the next plugin in load order is asked, then the built-in formats. Folder walks
    find files with these endings too. Called in the process that cleans the file, and for the user's images
    in `denoise train`; never for stdin, which has no path.
    """


@hookspec(firstresult=True)
def write_pages(path: Path, pages: Iterator[tuple[Floats, Page]], options: Any) -> bool | None:
    """Write a file whose ending is among the plugin's SUFFIXES.

    `path` is an empty temporary file with that ending, which is renamed to the output on success: write to no
    other file. `pages` yields (image, page) for each page in order, and computes each one, or some small
    ones, only then; images are float32 (H, W), or (H, W, 3) where colour is kept, 0..1 and read-only. Take
    all of them, and return True. None declines the file before any page is taken: the next plugin in load
    order is asked, then the built-in formats. Called in the process that cleans the file.
    If a plugin reads a file and none writes files with its ending, the output is a TIFF, called so; where all
    that do decline it, the file fails.
    """


@hookspec(firstresult=True)
def open_storage(url: str, options: Any) -> Storage | None:
    """Open a storage for URLs that are named as inputs or with `--out`, such as "sftp://host/scans".

    Return an object with the attribute `url` and the methods `list`, `read`, `download`, `write`, `stat` and
    `delete` of `denoiser.storage.base.Storage`, which says what each must do; they are called from several
    threads at once, and raise `denoiser.storage.base.StorageError`. Credentials are for the plugin to find,
    never in the URL.
    None declines the URL: the next plugin in load order is asked, then the built-in forms (S3, Google Cloud
    Storage, Azure). Called in the process that the user started, once for each URL.
    """


def __getattr__(name: str) -> Any:
    """Resolve `Hooks`, the class that had these functions, with a DeprecationWarning."""
    if name != "Hooks":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn("denoiser.hookspecs.Hooks is now the module itself.", DeprecationWarning, stacklevel=2)
    import denoiser.hookspecs

    return denoiser.hookspecs

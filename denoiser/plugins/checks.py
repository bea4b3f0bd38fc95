"""Check the results of plugins, and name the plugin in their errors."""

from __future__ import annotations

import contextlib
import logging
import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np

from denoiser._types import Floats
from denoiser.errors import FileError
from denoiser.plugins.endings import exit_raises

log = logging.getLogger(__name__)


_FAR = 1.0
"""How far values may lie outside of 0..1 and be cut off. Beyond it, another scale was meant, as 0..255."""


class Trace:
    """Memory that a process shares with its workers, in which a worker says which plugin's code it runs.

    What crashes in C ends the worker without a word; its parent reads here whose code it was.
    """

    _BYTES = 256

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, self._BYTES)

    def read(self) -> str:
        """Return which plugin's code runs, or ran when the worker ended, such as "plugin x"; else ""."""
        return self._memory[:].rstrip(b"\0").decode(errors="replace")

    def write(self, text: str) -> None:
        """Say which plugin's code begins to run; "" for none."""
        self._memory[:] = text.encode()[: self._BYTES].ljust(self._BYTES, b"\0")


_trace: Trace | None = None


def trace_to(trace: Trace) -> None:
    """Have this process say in `trace` which plugin's code it runs, from now on."""
    global _trace
    _trace = trace


@contextlib.contextmanager
def blamed(plugin: str, where: str) -> Iterator[None]:
    """Turn any exception of a plugin's code into a FileError that names the plugin."""
    before = "" if _trace is None else _trace.read()
    if _trace is not None:
        _trace.write(f"{where} of plugin {plugin}")
    try:
        # A worker may end: its parent sees that, and goes on without this file.
        with contextlib.nullcontext() if _trace is not None else exit_raises():
            yield
    except KeyboardInterrupt:
        # Ctrl-C, or raised by the plugin: if it ends a worker, the trace says whose code it came from.
        before = "" if _trace is None else _trace.read()
        raise
    except BaseException as error:  # only this file fails, whatever the plugin raises
        log.debug("plugin %s", plugin, exc_info=True)
        raise FileError(
            f"plugin {plugin} failed in {where}: {type(error).__name__}: {first_line(error)}."
        ) from error
    finally:
        if _trace is not None:
            _trace.write(before)


def read_only(image: Floats) -> Floats:
    """Return a view that can't be written to."""
    view = image.view()
    view.flags.writeable = False
    return view


def let_interruptions_pass(error: BaseException) -> None:
    """Raise a KeyboardInterrupt (Ctrl-C or SIGTERM) again: the user, not the plugin, caused it."""
    if isinstance(error, KeyboardInterrupt):
        raise error


def first_line(error: BaseException) -> str:
    """Return an error's message on one line, without a full stop; its type if it has no message."""
    try:
        text = str(error)
    except KeyboardInterrupt:
        raise
    except BaseException:  # __str__ is the plugin's code, too
        text = ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[0] if len(lines) < 2 else " ".join(lines)).rstrip(".") if lines else type(error).__name__


def checked(
    result: Any, plugin: str, hook: str, *, shape: tuple[int, ...] | None = None, channels: bool = False
) -> Floats:
    """Return a plugin's result as float32 in 0..1. Raises FileError, which names the plugin, for no image.

    shape: the required shape; None allows any 2-D shape. channels: whether (H, W, 3) is allowed, too.
    """
    kind = "a 2-D array" if shape is None else f"an array of shape {shape}"

    def fault(description: str) -> FileError:
        return FileError(
            f"plugin {plugin} returned {description} from {hook}; it must be {kind} of finite floats."
        )

    # What a mask hides would be written: NumPy's own checks pass over it.
    if not isinstance(result, np.ndarray) or isinstance(result, np.ma.MaskedArray):
        raise fault(f"a {type(result).__name__}")
    fits = result.ndim == 2 or (channels and result.ndim == 3 and result.shape[2] == 3)
    if not result.size or not (fits if shape is None else result.shape == shape):
        raise fault(f"an array of shape {result.shape}")
    if not np.issubdtype(result.dtype, np.floating):
        raise fault(f"an array of {result.dtype}")
    if not np.isfinite(result).all():
        raise fault("NaN or infinite values")
    low, high = float(result.min()), float(result.max())
    if low < -_FAR or high > 1.0 + _FAR:
        raise FileError(
            f"plugin {plugin} returned values of {low:.4g} to {high:.4g} from {hook}; "
            "black is 0 and white is 1.",
            "Scale them to 0..1 in the plugin.",
        )
    return np.clip(np.ascontiguousarray(result, np.float32), 0.0, 1.0)

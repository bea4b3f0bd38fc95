"""Limit NumPy's BLAS to one thread while the engine's own threads compute.

OpenBLAS starts threads below each of our threads, and they wait for one another: two of our threads on two
cores were thirty times slower. The command sets OPENBLAS_NUM_THREADS=1 before it imports NumPy. Another
program has imported NumPy before, and its own computations should stay as fast as they were: there, the limit
holds only while the engine computes.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np

GetAndSet = tuple[Callable[[], int], Callable[[int], None]]

_EXTENSION = "numpy._core._multiarray_umath" if np.__version__[:2] != "1." else "numpy.core._multiarray_umath"
_NAMES = ("scipy_openblas_{}64_", "scipy_openblas_{}", "openblas_{}64_", "openblas_{}")
"""What OpenBLAS's functions are called, by how it was built."""

_lock = threading.Lock()
_inside = 0
_before = 1


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit BLAS to one thread until the last of all such contexts is left.

    Does nothing if OPENBLAS_NUM_THREADS is 1 already, or if NumPy's BLAS is not OpenBLAS.
    """
    global _inside, _before
    functions = None if os.environ.get("OPENBLAS_NUM_THREADS") == "1" else _openblas()
    if functions is None:
        yield
        return
    get, put = functions
    with _lock:
        if _inside == 0:
            _before = get()
            if _before > 1:
                put(1)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0 and _before > 1:
                put(_before)


def _functions(first: str, second: str) -> tuple[Any, Any] | None:
    """Find two functions of OpenBLAS, under any of their names; None if NumPy's BLAS is another."""
    import ctypes

    try:
        # A library also finds the symbols of the libraries it was linked with.
        library = ctypes.CDLL(str(sys.modules[_EXTENSION].__file__))
    except (KeyError, OSError):
        return None
    for name in _NAMES:
        found = tuple(getattr(library, name.format(each), None) for each in (first, second))
        if None not in found:
            return found[0], found[1]
    return None


@cache
def _openblas() -> GetAndSet | None:
    """Find the functions that read and set OpenBLAS's number of threads."""
    import ctypes

    functions = _functions("get_num_threads", "set_num_threads")
    if functions is not None:
        get, put = functions
        get.restype, get.argtypes = ctypes.c_int, ()
        put.restype, put.argtypes = None, (ctypes.c_int,)
    return functions


def described() -> str | None:
    """Return what NumPy's OpenBLAS says of itself: version, options, kernel; None for another BLAS."""
    import ctypes

    functions = _functions("get_config", "get_corename")
    if functions is None:
        return None
    for function in functions:
        function.restype = ctypes.c_char_p
    config, kernel = (function().decode("ascii", "replace") for function in functions)
    return f"{' '.join(config.split()[:2])}, kernel {kernel}"

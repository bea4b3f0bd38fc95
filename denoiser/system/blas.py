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

import numpy as np

GetAndSet = tuple[Callable[[], int], Callable[[int], None]]

_EXTENSION = "numpy._core._multiarray_umath" if np.__version__[:2] != "1." else "numpy.core._multiarray_umath"
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


@cache
def _openblas() -> GetAndSet | None:
    """Find the functions that read and set OpenBLAS's number of threads, under any of their names."""
    import ctypes

    try:
        # A library also finds the symbols of the libraries it was linked with.
        library = ctypes.CDLL(str(sys.modules[_EXTENSION].__file__))
    except (KeyError, OSError):
        return None
    for name in ("scipy_openblas_{}64_", "scipy_openblas_{}", "openblas_{}64_", "openblas_{}"):
        get = getattr(library, name.format("get_num_threads"), None)
        put = getattr(library, name.format("set_num_threads"), None)
        if get is not None and put is not None:
            get.restype, get.argtypes = ctypes.c_int, ()
            put.restype, put.argtypes = None, (ctypes.c_int,)
            return get, put
    return None

"""Tell what ends the process while a plugin's code runs in it.

What that code raises is caught. `os._exit` and crashes in C are not raised: a run would end without a word,
and after `os._exit(0)` as if all had been cleaned.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from typing import NoReturn

from denoiser.errors import on_one_line

_SHELL = "/bin/sh"
_TELL = 'trap "" HUP INT TERM; read -r line || printf "%s\\n" "$1"'
"""Prints its argument, unless a line comes before its stdin ends."""


@contextlib.contextmanager
def told(plugin: str) -> Iterator[None]:
    """Import a plugin's module within this context.

    `os._exit` raises SystemExit. Where the process ends all the same, a line on stderr names the plugin; the
    exit code is then what ended it.

    Args:
        plugin: its name, or where it comes from.

    """
    with _watched(plugin), exit_raises():
        yield


@contextlib.contextmanager
def _watched(plugin: str) -> Iterator[None]:
    """Have a shell say so if this process ends within the context."""
    if not hasattr(os, "posix_spawn"):  # Windows
        yield
        return
    text = f"Error: The process ended while the plugin {plugin} was loaded. Fix the plugin first."
    shells: list[int] = []
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError, ValueError, AttributeError):  # no stderr, shell or more processes
            stderr = sys.stderr.fileno()  # not 2, where what libraries write is discarded
            read, write = os.pipe()
            # First, as an interruption may come before the shell's number is known.
            stack.callback(_forgo, write, shells)
            try:
                shell = os.posix_spawn(
                    _SHELL,
                    (_SHELL, "-c", _TELL, "denoise", on_one_line(text)),
                    os.environ,
                    file_actions=((os.POSIX_SPAWN_DUP2, read, 0), (os.POSIX_SPAWN_DUP2, stderr, 1)),
                )
                shells.append(shell)
            finally:
                os.close(read)
        yield


def _forgo(pipe: int, shells: list[int]) -> None:
    """Have the shell say nothing, and wait for its end."""
    with contextlib.suppress(OSError):  # it is gone
        os.write(pipe, b"\n")
    os.close(pipe)
    for shell in shells:
        with contextlib.suppress(OSError):
            os.waitpid(shell, 0)


_exit = os._exit
_within = threading.local()
"""Its `process` is the one that this thread runs a plugin's code in, if it does."""


def _raise_or_exit(status: int) -> NoReturn:
    """Take the place of `os._exit`, which it calls but where a plugin's code is run."""
    if getattr(_within, "process", None) == os.getpid():  # a process that a plugin has forked may exit
        raise SystemExit(f"os._exit({status}) ends the process")
    _exit(status)


@contextlib.contextmanager
def exit_raises() -> Iterator[None]:
    """Have `os._exit` raise SystemExit in this thread; other threads and processes exit as ever."""
    setattr(os, "_exit", _raise_or_exit)  # noqa: B010 - it stays: another thread may be here, too
    before, _within.process = getattr(_within, "process", None), os.getpid()
    try:
        yield
    finally:
        _within.process = before

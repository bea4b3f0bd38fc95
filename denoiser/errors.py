"""Exceptions, each with its exit code.

Library code raises these exceptions and never exits; only `denoiser.__main__` turns them into exit codes.
Every message names the file or argument, and says what is wrong. The hint says what to do.
"""

from __future__ import annotations

import errno
from enum import IntEnum

_CONTROLS = (*range(32), *range(127, 160))
# These change the direction of text or end a line: with U+202E, a terminal shows "gnp.exe" for "exe.png".
_INVISIBLE = (0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xFEFF)
UNSAFE = (*_CONTROLS, *_INVISIBLE)
"""Code points that text from files must not bring to a terminal."""

_ESCAPES = {code: repr(chr(code))[1:-1] for code in UNSAFE}


def on_one_line(text: str) -> str:
    r"""Escape control characters, as in "\n": a file's name must not forge a line or control a terminal."""
    return text.translate(_ESCAPES)


_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


def reason(error: OSError) -> str:
    """Return the system's reason as the end of a sentence, without a full stop."""
    return "the disk is full" if error.errno in _FULL else error.strerror or str(error)


class ExitCode(IntEnum):
    """Exit codes of the process; scripts may rely on them."""

    OK = 0
    SOME_FAILED = 1
    USAGE = 2
    CANNOT_START = 3
    INTERRUPTED = 130


class DenoiserError(Exception):
    """Base class of errors that the user can fix: a message of one line, and a hint."""

    exit_code = ExitCode.CANNOT_START

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


class UsageError(DenoiserError):
    """An option, argument or path is wrong."""

    exit_code = ExitCode.USAGE


class FileError(DenoiserError):
    """One file can't be read or written; the run goes on with the others."""

    exit_code = ExitCode.SOME_FAILED


class ModelError(DenoiserError):
    """A model is unknown, missing, damaged or of another kind."""


class DeviceError(DenoiserError):
    """The requested device or engine is not available."""


class PluginError(DenoiserError):
    """A plugin can't be loaded or breaks a hook's contract."""


class ClusterError(DenoiserError):
    """A cluster can't be reached, its workers would compute otherwise, or it is gone."""


class TrainingError(DenoiserError):
    """Training can't start, or its result is not worth keeping."""


class NotKeptError(TrainingError):
    """A training without clean images ended with a network that is worse than its start."""

    exit_code = ExitCode.SOME_FAILED


class ImagesError(TrainingError):
    """The training images are missing, don't fit together, or contain nothing to learn."""

    exit_code = ExitCode.USAGE

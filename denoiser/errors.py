"""What can go wrong, and what it means for the exit code.

Library code raises these and never exits; `denoiser.__main__` is the one place that turns them into
exit codes. Every message names the file or argument, says what is wrong and, as `hint`, what to do.
"""

from __future__ import annotations

import errno
from enum import IntEnum

_CONTROLS = (*range(32), *range(127, 160))
# What turns the direction of text or ends a line: U+202E shows "gnp.exe" where the name is "exe.png".
_INVISIBLE = (0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xFEFF)
UNSAFE = (*_CONTROLS, *_INVISIBLE)
"""Code points that no text of other people's may bring to a terminal."""

_ESCAPES = {code: repr(chr(code))[1:-1] for code in UNSAFE}


def on_one_line(text: str) -> str:
    r"""Escape control characters, as in "\n": a file's name must not forge a line, nor drive a terminal."""
    return text.translate(_ESCAPES)


_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


def reason(error: OSError) -> str:
    """Say what the system refused, as the end of a sentence without its full stop."""
    return "the disk is full" if error.errno in _FULL else error.strerror or str(error)


class ExitCode(IntEnum):
    """The process's exit codes, which scripts may rely on."""

    OK = 0
    SOME_FAILED = 1
    USAGE = 2
    CANNOT_START = 3
    INTERRUPTED = 130


class DenoiserError(Exception):
    """Base class of errors that the user can fix: one clear line, and what to do about it."""

    exit_code = ExitCode.CANNOT_START

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


class UsageError(DenoiserError):
    """A flag, argument or path that can't be what was meant."""

    exit_code = ExitCode.USAGE


class FileError(DenoiserError):
    """One input file can't be read or written; the others go on."""

    exit_code = ExitCode.SOME_FAILED


class ModelError(DenoiserError):
    """A model is unknown, missing, damaged or of another kind."""


class DeviceError(DenoiserError):
    """The requested device or engine is not available."""


class PluginError(DenoiserError):
    """A plugin can't be loaded or breaks a hook's contract."""


class TrainingError(DenoiserError):
    """Training can't start, or its result is not worth keeping."""


class ImagesError(TrainingError):
    """The images to learn from are missing, don't go together, or have nothing to teach."""

    exit_code = ExitCode.USAGE

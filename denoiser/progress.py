"""How far a long piece of work is, told on a terminal or not at all; never on stdout."""

from __future__ import annotations

import sys
from typing import Any, Protocol


class Progress(Protocol):
    """Where a long piece of work tells how far it is. Workers never touch the terminal themselves."""

    def start(self, total: float, unit: str, text: str) -> None:
        """Begin: `total` units of work called `unit`, described by `text`."""

    def update(self, done: float, text: str = "") -> None:
        """Tell that `done` units are finished by now, and anything worth a few words."""

    def finish(self) -> None:
        """End, whether or not all is done."""


class NullProgress:
    """Says nothing."""

    def start(self, total: float, unit: str, text: str) -> None:
        """Ignore it."""

    def update(self, done: float, text: str = "") -> None:
        """Ignore it."""

    def finish(self) -> None:
        """Ignore it."""


class TerminalProgress:
    """A tqdm bar on stderr."""

    def __init__(self) -> None:
        self._bar: Any = None

    def start(self, total: float, unit: str, text: str) -> None:
        """Draw the empty bar."""
        from tqdm import tqdm

        tqdm.monitor_interval = 0  # its thread would keep us from starting processes, and bars from nothing
        layout = (
            "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} {unit} [{elapsed}<{remaining}{postfix}]"
        )
        self._bar = tqdm(
            total=total,
            unit=unit,
            desc=text,
            bar_format=layout,
            file=sys.stderr,
            leave=False,
            dynamic_ncols=True,
        )

    def update(self, done: float, text: str = "") -> None:
        """Move the bar to `done`."""
        if text:
            self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(min(done, self._bar.total) - self._bar.n)

    def finish(self) -> None:
        """Clear the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def progress_for(*, quiet: bool) -> Progress:
    """A bar where a person watches stderr, silence in a log file or when asked for."""
    return TerminalProgress() if not quiet and sys.stderr.isatty() else NullProgress()


def write_above(text: str) -> None:
    """Write a line to stderr, above the bar where there is one."""
    if "tqdm" in sys.modules:
        from tqdm import tqdm

        tqdm.write(text, file=sys.stderr)
    else:
        print(text, file=sys.stderr)  # noqa: T201 - the terminal's side of this module

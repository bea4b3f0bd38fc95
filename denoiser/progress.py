"""Progress of long work, on a terminal or nowhere, and never on stdout."""

from __future__ import annotations

import sys
from typing import Any, Protocol


class Progress(Protocol):
    """Receives the progress of long work; worker processes never write to the terminal themselves."""

    def start(self, total: float, unit: str, text: str) -> None:
        """Start `total` units of work, described by `text`; again, if the total is another.

        They are named `unit`, or are of no interest in themselves where that is empty: then what there is to
        count stands in the texts that follow.
        """

    def update(self, done: float, text: str = "") -> None:
        """Report that `done` units are finished in all, with a short text."""

    def finish(self) -> None:
        """End, whether or not all units are done."""


class NullProgress:
    """Shows nothing."""

    def start(self, total: float, unit: str, text: str) -> None:
        """Do nothing."""

    def update(self, done: float, text: str = "") -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""


class TerminalProgress:
    """A tqdm bar on stderr."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._name = ""

    def start(self, total: float, unit: str, text: str) -> None:
        """Draw the empty bar, or tell the one that is there of another total."""
        if self._bar is not None:
            self._bar.total, self._bar.unit = total, unit
            return
        from tqdm import tqdm

        tqdm.monitor_interval = 0  # its thread would prevent forking processes
        self._name = "" if unit else text
        count = "{n:.0f}/{total:.0f} {unit} " if unit else ""
        self._bar = tqdm(
            total=total,
            unit=unit,
            desc=text,
            bar_format="{desc}: {percentage:3.0f}%|{bar}| " + count + "[{elapsed}<{remaining}{postfix}]",
            file=sys.stderr,
            leave=False,
            dynamic_ncols=True,
            miniters=0,  # or tqdm waits for steps as large as the last one
            smoothing=0.3 if unit else 0.0,  # steps of any size tell little one by one
        )

    def update(self, done: float, text: str = "") -> None:
        """Move the bar to `done`."""
        if self._name:
            self._bar.set_description_str(f"{self._name} {text}".rstrip(), refresh=False)
        elif text:
            self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(min(done, self._bar.total) - self._bar.n)

    def finish(self) -> None:
        """Clear the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def progress_for(*, quiet: bool) -> Progress:
    """Return a bar if stderr is a terminal and `quiet` is false, else no progress."""
    return TerminalProgress() if not quiet and sys.stderr.isatty() else NullProgress()


def write_above(text: str) -> None:
    """Write a line to stderr, above the bar if there is one."""
    if "tqdm" in sys.modules:
        from tqdm import tqdm

        tqdm.write(text, file=sys.stderr)
    else:
        print(text, file=sys.stderr)  # noqa: T201 - this module writes to the terminal

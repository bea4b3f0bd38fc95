"""What is said about each result of a run, on stderr and as JSON."""

from __future__ import annotations

import json
from typing import IO, Any

from denoiser.commands.run_options import Request
from denoiser.errors import on_one_line
from denoiser.inference.document import CONCERNS
from denoiser.pipeline.outcomes import Report, Result, Status
from denoiser.progress import write_above


class Telling:
    """Counts results, and tells of them.

    Args:
        request: the options.
        data: where JSON goes, if it was asked for.
        report: counts them.

    """

    def __init__(self, request: Request, data: IO[bytes] | None, report: Report) -> None:
        self._request, self._data, self._report = request, data, report

    def print(self, row: dict[str, Any]) -> None:
        """Write a JSON line, where JSON was asked for."""
        if self._data is not None:
            self._data.write((json.dumps(row) + "\n").encode("ascii"))
            self._data.flush()

    def tell(self, result: Result) -> None:
        """Count a result, and say what a person should hear about it."""
        request, outcome = self._request, result.outcome
        fresh = self._report.add(result)
        if self._data is not None:
            self.print(result.as_dict())
        lines = []
        if result.status is Status.FAILED:
            # A sentence with a subject of its own does not go on from the file's name.
            colon = ":" if (outcome.error or "").startswith(("plugin ", "page ")) else ""
            lines.append(f"Error: {result.source}{colon} {outcome.error}")
        elif request.verbose and result.status is not Status.PLANNED:
            used = ", ".join(outcome.models)
            by = f" by {used}" if used else ""
            noise = "" if outcome.noise is None else f", noise about {_level(outcome.noise)} of 255"
            lines.append(
                f"{result.source} -> {result.output}: {result.status}{by}{noise}, {outcome.seconds:.2f} s"
            )
        if not request.quiet:
            for note in fresh:
                named = (
                    f"{result.source}: {note}" if note in CONCERNS else f"{note}, first in {result.source}"
                )
                lines.append(f"Note: {named}.")
        if lines:
            write_above("\n".join(map(on_one_line, lines)))


def _level(noise: float) -> str:
    """Return a level of noise on the scale of 255: deep images have noise of less than 1."""
    level = 255.0 * noise
    return (
        f"{level:.0f}" if level >= 10 else f"{level:.1f}" if level >= 1 or level < 0.005 else f"{level:.2g}"
    )

"""What happened to each file, and the counter whose value is the exit code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from denoiser.errors import ExitCode


class Status(StrEnum):
    """How a file fared."""

    DONE = "done"
    UP_TO_DATE = "up to date"
    FAILED = "failed"
    PLANNED = "planned"
    KEPT = "kept"


@dataclass(frozen=True)
class Result:
    """One input file's outcome.

    Attributes:
        source: the input.
        output: where its result is, or would be.
        status: how it fared.
        pages: pages written.
        models: pages by the name of the model that cleaned them.
        notes: what changed that was not asked for, one sentence a kind ("colour became gray").
        error: why it failed, without the file's name.
        noise: estimate of the input's noise, 0..1 (see `denoiser.inference.noise_level`), where asked for.
        seconds: time spent on it; files that shared a batch share its time.
        why: in a dry run, why it is not up to date.

    """

    source: Path
    output: Path
    status: Status
    pages: int = 0
    models: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    error: str | None = None
    noise: float | None = None
    seconds: float = 0.0
    why: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The result as the JSON object that `--json` prints."""
        return {
            "source": str(self.source),
            "output": str(self.output),
            "status": str(self.status),
            "pages": self.pages,
            "models": dict(self.models),
            "notes": list(self.notes),
            "error": self.error,
            "noise": None if self.noise is None else round(self.noise, 4),
            "seconds": round(self.seconds, 4),
            "why": self.why,
        }


@dataclass
class Report:
    """Counts results; its `exit_code` is the process's, its text the summary line."""

    counts: Counter[Status] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    pages: int = 0
    interrupted: bool = False

    def add(self, result: Result) -> list[str]:
        """Count a result; returns those of its notes that are the first of their kind."""
        self.counts[result.status] += 1
        self.models.update(result.models)
        self.pages += result.pages
        fresh = [note for note in result.notes if note not in self.notes]
        self.notes.update(result.notes)
        return fresh

    @property
    def exit_code(self) -> ExitCode:
        """0 when everything is done or up to date, 1 when files failed, 130 when interrupted."""
        if self.interrupted:
            return ExitCode.INTERRUPTED
        return ExitCode.SOME_FAILED if self.counts[Status.FAILED] else ExitCode.OK

    def as_dict(self) -> dict[str, Any]:
        """The summary as the last JSON object that `--json` prints."""
        return {
            "summary": {
                **{status.name.lower(): self.counts[status] for status in Status},
                "pages": self.pages,
                "models": dict(self.models),
                "notes": dict(self.notes),
                "interrupted": self.interrupted,
                "exit_code": int(self.exit_code),
            }
        }

    def __str__(self) -> str:
        verbs = {
            Status.DONE: "cleaned",
            Status.PLANNED: "would be cleaned",
            Status.UP_TO_DATE: "up to date",
            Status.KEPT: "left alone as not written by denoise",
            Status.FAILED: "failed",
        }
        parts = [f"{self.counts[status]} {verb}" for status, verb in verbs.items() if self.counts[status]]
        text = ", ".join(parts) or "nothing to do"
        if self.counts[Status.DONE] and self.pages > self.counts[Status.DONE]:
            text += f" ({self.pages} pages)"
        if self.models:
            text += "; " + ", ".join(f"{name}: {count}" for name, count in sorted(self.models.items()))
        return text

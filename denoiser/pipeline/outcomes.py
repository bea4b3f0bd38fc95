"""The outcome of each file, and the counter that decides the exit code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from denoiser.errors import ExitCode
from denoiser.imaging.source import Fingerprint
from denoiser.inference.document import CONCERNS
from denoiser.storage.base import Entry
from denoiser.system.atomic import Written

_NAMED = 5
"""Files that are named for each concern; the record, `--json` and the report have all of them."""


class Status(StrEnum):
    """How a file fared."""

    DONE = "done"
    UP_TO_DATE = "up to date"
    FAILED = "failed"
    PLANNED = "planned"
    KEPT = "kept"


@dataclass(frozen=True)
class Outcome:
    """How a file fared: numbers and words without paths, cheap to send between processes and machines.

    Attributes:
        pages: pages written.
        models: pages by the name of the model that cleaned them.
        notes: what changed that was not asked for, one sentence a kind ("colour became gray").
        error: why it failed, without the file's name; None if it did not.
        noise: estimate of the input's noise, 0..1 (see `denoiser.inference.noise_level`), where asked for.
        seconds: time spent on it; files that shared a batch share its time.
        fingerprint: state of the input that was cleaned.
        written: size and time of the output, where a file was written.
        seen: what an `Examiner` makes of its pages.
        stored: an object as it was read, and the one that was put.
        compared: name, size and time of each picture that `--compare` made of it.

    """

    pages: int = 0
    models: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    error: str | None = None
    noise: float | None = None
    seconds: float = 0.0
    fingerprint: Fingerprint | None = None
    written: Written | None = None
    seen: Any = None
    stored: tuple[Entry, Entry] | None = None
    compared: tuple[tuple[str, Written], ...] = ()


@dataclass(frozen=True)
class Result:
    """An input file, where its result is or would be, and how it fared.

    Attributes:
        source: the input, a path or a URL.
        output: where its result is, or would be.
        status: how it fared.
        outcome: the numbers.
        why: in a dry run, why it is not up to date.

    """

    source: Path | str
    output: Path | str
    status: Status
    outcome: Outcome = field(default_factory=Outcome)
    why: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The result as the JSON object that `--json` prints."""
        outcome = self.outcome
        return {
            "source": str(self.source),
            "output": str(self.output),
            "status": str(self.status),
            "pages": outcome.pages,
            "models": dict(outcome.models),
            "notes": list(outcome.notes),
            "error": outcome.error,
            "noise": None if outcome.noise is None else round(outcome.noise, 4),
            "seconds": round(outcome.seconds, 4),
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
    refused: bool = False
    """Whether a folder was refused after others were cleaned."""

    untried: int | None = None
    """How many files are left to be cleaned, where that is known."""

    def end(self, *, fail_fast: bool) -> None:
        """Say that no file is left, unless something ended the run before."""
        stopped = self.interrupted or self.refused or (fail_fast and self.counts[Status.FAILED])
        if not stopped:
            self.untried = 0

    def add(self, result: Result) -> list[str]:
        """Count a result; returns those of its notes that are the first of their kind.

        Of concerns about single files, the first few of each kind are returned.
        """
        outcome = result.outcome
        self.counts[result.status] += 1
        self.models.update(outcome.models)
        self.pages += outcome.pages
        fresh = [note for note in outcome.notes if self.notes[note] < (_NAMED if note in CONCERNS else 1)]
        self.notes.update(outcome.notes)
        return fresh

    @property
    def exit_code(self) -> ExitCode:
        """0 when all is done or up to date, 1 when files failed, 2 when refused, 130 when interrupted."""
        if self.interrupted:
            return ExitCode.INTERRUPTED
        if self.refused:
            return ExitCode.USAGE
        return ExitCode.SOME_FAILED if self.counts[Status.FAILED] else ExitCode.OK

    def as_dict(self) -> dict[str, Any]:
        """The summary as the last JSON object that `--json` prints."""
        return {
            "summary": {
                **{status.name.lower(): self.counts[status] for status in Status},
                "not_tried": self.untried,
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
        if self.pages > self.counts[Status.DONE]:
            verbs[Status.DONE] += f" ({self.pages} pages)"
        parts = [f"{self.counts[status]} {verb}" for status, verb in verbs.items() if self.counts[status]]
        if self.untried:
            parts = [*(parts or ["0 cleaned"]), f"{self.untried} not tried"]
        text = ", ".join(parts) or "nothing to do"
        if self.models:
            text += "; " + ", ".join(f"{name}: {count}" for name, count in sorted(self.models.items()))
        return text

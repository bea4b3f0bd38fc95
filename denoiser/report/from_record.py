"""A report of an output folder: what its record tells, and the files that it names."""

from __future__ import annotations

import os
import time
from pathlib import Path

from denoiser.errors import UsageError
from denoiser.pipeline.record import FOLDER, Record
from denoiser.pipeline.record_lines import Recorded
from denoiser.report.examine import Pair
from denoiser.storage.base import scheme_of


def recorded(out: Path) -> list[Recorded]:
    """Return what the record of an output folder tells, by name.

    Raises:
        UsageError: there is no such folder, or no record in it.

    """
    if not out.is_dir():
        raise UsageError(f"{out}: no such folder.", "Name the folder that was given with --out.")
    found = sorted(Record(out).outputs(), key=lambda each: each.output)
    if not found:
        raise UsageError(
            f"{out} holds no results of denoise: there is no record in {out / FOLDER}.",
            "Name the folder that was given with --out.",
        )
    return found


def pairs(out: Path, found: list[Recorded]) -> list[Pair]:
    """Return inputs and outputs."""
    return [_pair(out, each) for each in found]


def facts(out: Path, found: list[Recorded]) -> dict[str, str]:
    """Return what the record tells of the whole."""
    times = [each.finished_ns for each in found if each.finished_ns]
    settings = {each.made_with for each in found if each.made_with}
    result = {"Output folder": str(out)}
    if times:
        first, last = (
            time.strftime("%Y-%m-%d %H:%M", time.localtime(at / 1e9)) for at in (min(times), max(times))
        )
        result["Cleaned"] = first if first == last else f"{first} to {last}"
    if len(settings) > 1:
        result["Settings"] = f"{len(settings)} different ones"
    return result


def _pair(out: Path, each: Recorded) -> Pair:
    in_storage = each.source is not None and scheme_of(each.source) is not None
    source = None if each.source is None or in_storage else Path(each.source)
    changed = each.is_of_another(source)
    # Where a file was cleaned, and failed later: the input failed that is there now, or other settings did.
    failed = each.failed or (changed and each.error is not None)
    notes = each.notes if failed or each.error is None else (*each.notes, f"a later try failed: {each.error}")
    gone = source is not None and not os.path.exists(source)  # noqa: PTH110 - which never raises
    if failed and gone:  # what could not be cleaned was removed
        failed, notes = False, (*notes, "it failed")
    return Pair(
        each.output,
        source,
        out / each.output,
        failed=failed,
        error=(each.error or "it failed") if failed else None,
        changed=changed,
        notes=notes,
        url=each.source if in_storage else None,
    )

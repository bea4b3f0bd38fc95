"""One of several parts of a job, each for a machine of its own: who does which files, without asking anybody.

Files are dealt out in blocks of their order in the plan, so that a part has neighbouring files, which share
batches and folders, and all parts about as many.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from denoiser.errors import UsageError

BLOCK = 64
"""Files that are dealt out together."""

_COUNTED = (
    ("JOB_COMPLETION_INDEX", ""),  # of Kubernetes, which doesn't say how many there are
    ("AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_SIZE"),
)
_EXAMPLE = "Write --shard I/N with I from 0 to N - 1, such as 0/8, or auto, or auto/N."


@dataclass(frozen=True)
class Shard:
    """Part number `index`, from 0, of `count` parts."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def writer(self) -> str:
        """Name of its file of the record."""
        return f"shard-{self.index}-of-{self.count}"

    def indices(self, first: int, length: int) -> list[range]:
        """Return which of `length` files, numbered from `first`, are in this part, counted from 0."""
        end = first + length
        block = first // BLOCK
        block += (self.index - block) % self.count
        found = []
        while block * BLOCK < end:
            start, stop = max(first, block * BLOCK), min(end, (block + 1) * BLOCK)
            if start < stop:
                found.append(range(start - first, stop - first))
            block += self.count
        return found

    def has(self, number: int) -> bool:
        """Return True if this part has the file of this number, from 0, in the plan."""
        return number // BLOCK % self.count == self.index

    def share(self, files: int) -> int:
        """Return how many of so many files are in this part."""
        whole, rest = divmod(files, BLOCK * self.count)
        return whole * BLOCK + min(BLOCK, max(0, rest - self.index * BLOCK))


def parse(text: str, environment: Mapping[str, str]) -> Shard:
    """Return the part that a text I/N, auto or auto/N stands for.

    Args:
        text: the text.
        environment: the variables by which a scheduler tells an array's tasks apart.

    Raises:
        UsageError: it is none, or the environment doesn't say which.

    """
    match = re.fullmatch(r"(auto|[0-9]{1,9})(?:/([0-9]{1,9}))?", text.strip(), re.ASCII)
    if match is None or (match[1] != "auto" and match[2] is None):
        raise UsageError(f"--shard {text} is no part of a whole.", _EXAMPLE)
    count = None if match[2] is None else int(match[2])
    index, count = _from(environment, count) if match[1] == "auto" else (int(match[1]), count)
    if count is None:
        raise UsageError("--shard auto: the environment doesn't say how many parts there are.", _EXAMPLE)
    if not 0 <= index < count:
        raise UsageError(
            f"--shard: there is no part {index} of {count}; the first of {count} is 0."
            if count
            else "--shard: there must be at least one part.",
            _EXAMPLE,
        )
    return Shard(index, count)


def _from(environment: Mapping[str, str], count: int | None) -> tuple[int, int | None]:
    """Return which task of an array this is, and of how many."""
    if "SLURM_ARRAY_TASK_ID" in environment:
        index = _number(environment, "SLURM_ARRAY_TASK_ID")
        if count is not None:
            return index, count  # an array from 0, of which some tasks may be repeated
        first, size = (_number(environment, f"SLURM_ARRAY_TASK_{name}") for name in ("MIN", "COUNT"))
        if _number(environment, "SLURM_ARRAY_TASK_MAX", first + size - 1) - first != size - 1:
            raise UsageError(
                "--shard auto: the numbers of the Slurm array have gaps.",
                "Number its tasks from 0 and write --shard auto/N.",
            )
        return index - first, size
    for name, of in _COUNTED:
        if name in environment:
            return _number(environment, name), count or (
                _number(environment, of) if of in environment else None
            )
    raise UsageError(
        "--shard auto: this is no task of an array: none of SLURM_ARRAY_TASK_ID, JOB_COMPLETION_INDEX and"
        " AWS_BATCH_JOB_ARRAY_INDEX is set.",
        _EXAMPLE,
    )


def _number(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environment.get(name, "")
    if not text and default is not None:
        return default
    if not text.isascii() or not text.isdecimal():
        raise UsageError(f"--shard auto: {name} is {text!r}, which is no number.", _EXAMPLE)
    return int(text)

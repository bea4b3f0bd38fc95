"""The free memory, so that a page that can't fit is refused instead of ending the run."""

from __future__ import annotations

from pathlib import Path

_GROUP = Path("/sys/fs/cgroup")


def available() -> int | None:
    """Bytes that this process could still get without swapping; None where the system doesn't tell."""
    known = [size for size in (_system(), _group()) if size is not None]
    return min(known, default=None)


def _system() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return None


def _group() -> int | None:
    """What a container's limit leaves; what is cached of files can be had, too."""
    try:
        limit, used = (int((_GROUP / f"memory.{name}").read_text("ascii")) for name in ("max", "current"))
        lines = (_GROUP / "memory.stat").read_text("ascii").splitlines()
        cached = sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
    except (OSError, ValueError, IndexError):  # no such limit: it says "max"
        return None
    return max(0, limit - used + cached)

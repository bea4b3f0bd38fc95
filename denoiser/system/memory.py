"""The free memory, so that a page that does not fit is an error and does not end the run."""

from __future__ import annotations

from pathlib import Path

_GROUP = Path("/sys/fs/cgroup")


def available() -> int | None:
    """Return the bytes that this process can get without swapping; None if they are not known."""
    return min((size for size in (_system(), _group()) if size is not None), default=None)


def _system() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return None


def _group() -> int | None:
    """Return the bytes left below a container's limit, file caches included."""
    try:
        limit, used = (int((_GROUP / f"memory.{name}").read_text("ascii")) for name in ("max", "current"))
        lines = (_GROUP / "memory.stat").read_text("ascii").splitlines()
        cached = sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
    except (OSError, ValueError, IndexError):  # no limit: the file contains "max"
        return None
    return max(0, limit - used + cached)

"""What a benchmark ran on, in two lines."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# Commands that are timed find their modules compiled, as they do on every run of a user's but the first.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return None


def describe(*packages: str) -> str:
    """Describe the machine, then the versions of Python and of the packages that matter."""
    names = ("denoiser", "numpy", "pillow", "h5py", *packages)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    python = f"Python {sys.version.split()[0]}"
    versions = ", ".join([python, *filter(None, map(_version, names))])
    return f"{_processor()}, {cores} cores, {platform.system()}\n{versions}"

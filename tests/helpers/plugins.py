"""Plugins written for a test, and those of the repository."""

from __future__ import annotations

import textwrap
from pathlib import Path

PLUGINS = Path(__file__).parents[2] / "plugins"


def plugin(folder: Path, name: str, body: str) -> Path:
    path = folder / f"{name}.py"
    path.write_text("import numpy as np\nfrom denoiser import hookimpl\n" + textwrap.dedent(body))
    return path

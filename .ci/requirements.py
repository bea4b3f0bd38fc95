"""Print requirements from pyproject.toml, one a line, for an environment without TensorFlow.

    python .ci/requirements.py EXTRA [NAME...]

The dependencies but TensorFlow, with h5py, which TensorFlow would bring, and those of EXTRA but NAMEs.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path


def main(extra: str, *left_out: str) -> None:
    """Print them."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], "h5py>=3.11", *project["optional-dependencies"][extra]]
    for requirement in wanted:
        if re.match(r"[\w.-]+", requirement)[0] not in ("tensorflow", *left_out):  # type: ignore[index]
            print(requirement)


if __name__ == "__main__":
    main(*sys.argv[1:])

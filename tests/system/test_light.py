"""Where TensorFlow is not installed: all but training, the keras engine and GPUs works.

Each command runs in a process in which neither TensorFlow nor Keras can be found or imported.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.helpers.files import tree

ROOT = Path(__file__).parents[2]

BLOCKED = """
import importlib.util, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "keras"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name in ("tensorflow", "keras") else find(name, *more)
sys.meta_path.insert(0, Missing())
"""


def light(folder: Path, *arguments: object, code: str = "") -> subprocess.CompletedProcess[str]:
    """Call the command, or run other code, without TensorFlow."""
    code = code or "from denoiser.__main__ import main\nmain()"
    return subprocess.run(
        [sys.executable, "-c", BLOCKED + code, *map(str, arguments)],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "DENOISER_HOME": str(folder / "home"),
            "CUDA_VISIBLE_DEVICES": "",
        },
        capture_output=True,
        text=True,
        check=False,
    )


WORKS: tuple[tuple[object, ...], ...] = (
    ("scans", "--out", "new", "--quality", "fast", "--compare", "look"),
    ("scans", "--out", "new", "--dry-run"),
    ("scans", "--out", "new", "--report", "page"),
    ("scans", "--out", "new", "--model", "digits"),
    ("scans", "--out", "new", "--no-plugins", "--plugin", ROOT / "plugins" / "invert.py"),
    ("plugins", "--plugin", ROOT / "plugins" / "invert.py"),
    ("models",),
    ("models", "show", "general"),
    ("noises",),
    ("doctor", "new"),
    ("train", "--help"),
)


@pytest.mark.parametrize("arguments", WORKS, ids=lambda arguments: " ".join(map(str, arguments))[:40])
def test_what_works_without_tensorflow(scans: Path, arguments: tuple[object, ...]) -> None:
    done = light(scans.parent, *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout or len(tree(scans.parent / "new")) == 3


def test_the_python_api_works(tmp_path: Path) -> None:
    code = (
        "import denoiser, numpy\n"
        "image = numpy.random.default_rng(0).random((60, 70), numpy.float32)\n"
        "assert denoiser.denoise(image).shape == image.shape\n"
    )
    assert light(tmp_path, code=code).returncode == 0


NEEDS: tuple[tuple[object, ...], ...] = (
    ("train", "scans", "--noise", "gaussian:sigma=0.1", "--name", "mine"),
    ("scans", "--out", "new", "--engine", "keras"),
    ("scans", "--out", "new", "--model", "digits", "--weights", "missing.keras"),
)


@pytest.mark.parametrize("arguments", NEEDS, ids=lambda arguments: " ".join(map(str, arguments))[:40])
def test_what_needs_it_says_so_in_one_line(scans: Path, arguments: tuple[object, ...]) -> None:
    done = light(scans.parent, *arguments)
    assert done.returncode == 3
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error")]
    assert len(errors) == 1
    assert errors[0].endswith("Install TensorFlow, which brings it: python -m pip install tensorflow")
    assert "Traceback" not in done.stderr
    assert not (scans.parent / "new").exists()


def test_the_page_installs_what_the_project_depends_on_but_tensorflow() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    names = {re.match(r"[\w-]+", each)[0] for each in declared}  # type: ignore[index]
    page = (ROOT / "docs/guide/light.md").read_text("utf-8")
    line = next(each for each in page.splitlines() if each.startswith("python -m pip install click"))
    assert set(line.split()[4:]) == (names - {"tensorflow"}) | {"h5py"}  # which comes with Keras

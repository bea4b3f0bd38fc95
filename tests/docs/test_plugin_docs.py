"""The documents about plugins are true: every hook and example is there, and the tutorial works."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from denoiser import hookspecs

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/guide/plugins.md").read_text("utf-8")
REFERENCE = (ROOT / "docs/reference/hooks.md").read_text("utf-8")
HOOKS = list(hookspecs.HOOKS)
TUTORIAL = GUIDE[: GUIDE.index("## Rules")]


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_documented_with_its_signature(name: str) -> None:
    function = getattr(hookspecs, name)
    assert f"def {name}{str(inspect.signature(function)).replace(chr(39), '')}: ..." in REFERENCE
    assert inspect.cleandoc(function.__doc__) in REFERENCE
    assert re.search(rf"`{name}[`(]", GUIDE)
    assert "None" in function.__doc__
    assert "Called in" in function.__doc__


def test_the_list_of_hooks_is_complete() -> None:
    marked = [name for name, value in vars(hookspecs).items() if hasattr(value, "denoiser_spec")]
    assert marked == HOOKS


def test_the_former_class_of_hooks_still_has_them() -> None:
    with pytest.warns(DeprecationWarning, match="the module itself"):
        former = hookspecs.Hooks
    assert former.preprocess is hookspecs.preprocess


def test_every_example_is_in_the_guide() -> None:
    for path in (ROOT / "plugins").iterdir():
        name = f"{path.name}/" if path.is_dir() else path.name
        assert path.name.startswith((".", "_")) or f"| `{name}` |" in GUIDE


@pytest.mark.slow
def test_the_tutorial_works_to_the_letter_in_an_empty_folder(tmp_path: Path) -> None:
    """Save its files and run its commands one after the other, as a reader would."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, start in (("denoise", "-P -m denoiser"), ("python", "")):
        (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {start} "$@"\n')
        (tools / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    folder = tmp_path / "empty"
    folder.mkdir()
    said = ""
    blocks = re.findall(r"(?:Save this as `([\w.]+)`:\n\n)?```(\w+)\n(.*?)```", TUTORIAL, re.DOTALL)
    assert len(blocks) >= 7
    for saved, language, text in blocks:
        if language == "python":
            assert saved, "a file without a name"
            (folder / saved).write_text(text)
            continue
        command = ["bash", "-euo", "pipefail", "-c", text]
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        said += done.stdout + done.stderr
    assert "postprocess" in said
    assert "brighten.paper=0.8" in said
    assert said.count("2 cleaned") == 2
    assert "1 passed" in said
    for name in ("one", "two"):
        with (
            Image.open(folder / "clean" / f"{name}.png") as clean,
            Image.open(folder / "scans" / f"{name}.png") as scan,
        ):
            assert np.median(np.asarray(clean)) > np.median(np.asarray(scan)) + 20

"""What bash, zsh and fish complete."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import fakes

SHELLS = ("bash", "zsh", "fish")
COMMAND = "from denoiser.__main__ import main; main()"


def completed(shell: str, store: Path, words: str) -> list[tuple[str, str]]:
    """Kind and value of each completion of the last word, which may be empty."""
    given = words.split(" ")
    environment = {**os.environ, "_DENOISE_COMPLETE": f"{shell}_complete", "DENOISER_HOME": str(store)}
    environment |= {"COMP_WORDS": words, "COMP_CWORD": str(len(given) - 1)}
    if shell == "fish":
        environment["COMP_CWORD"] = given[-1]
    done = subprocess.run(
        [sys.executable, "-c", COMMAND], env=environment, capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    if shell == "zsh":
        return list(zip(lines[::3], lines[1::3], strict=False))
    if shell == "fish" and "," not in done.stdout:
        return list(zip(lines[::3], lines[1::3], strict=False))
    return [(kind, value.split("\t")[0]) for kind, _, value in (line.partition(",") for line in lines)]


@pytest.mark.parametrize("shell", SHELLS)
def test_paths_models_and_noises(shell: str, store: Path) -> None:
    fakes.identity(store / "models" / "grain.keras")
    assert completed(shell, store, "denoise ./sc") == [("file", "./sc")]
    assert completed(shell, store, "denoise a.png ./sc") == [("file", "./sc")]
    assert completed(shell, store, "denoise run --out ./cl") == [("file", "./cl")]
    assert completed(shell, store, "denoise a.png --model g") == [("plain", "general"), ("plain", "grain")]
    assert completed(shell, store, "denoise a.png --model ./m") == [("file", "./m")]
    assert completed(shell, store, "denoise models show gr") == [("plain", "grain")]
    assert completed(shell, store, "denoise train --noise gau") == [("plain", "gaussian")]
    assert completed(shell, store, "denoise train --noise gaussian+po") == [("plain", "gaussian+poisson")]
    assert completed(shell, store, "denoise a.png --quality be") == [("plain", "best")]
    assert ("plain", "train") in completed(shell, store, "denoise tr")


@pytest.mark.parametrize("shell", SHELLS)
def test_the_documented_line_gives_a_script(shell: str) -> None:
    page = (Path(__file__).parents[2] / "docs/guide/completion.md").read_text("utf-8")
    assert f"_DENOISE_COMPLETE={shell}_source denoise" in page
    if shell == "bash" and shutil.which("bash") is None:
        pytest.skip("no bash")
    done = subprocess.run(
        [sys.executable, "-c", COMMAND],
        env={**os.environ, "_DENOISE_COMPLETE": f"{shell}_source"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "_denoise_completion" in done.stdout


def test_bash_itself_completes(store: Path, tmp_path: Path) -> None:
    if shutil.which("bash") is None:
        pytest.skip("no bash")
    (tmp_path / "denoise").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m denoiser "$@"\n')
    (tmp_path / "denoise").chmod(0o755)
    script = (
        'eval "$(_DENOISE_COMPLETE=bash_source denoise)"\n'
        "COMP_WORDS=(denoise a.png --model gene); COMP_CWORD=3\n"
        '_denoise_completion denoise; echo "${COMPREPLY[@]}"'
    )
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "DENOISER_HOME": str(store)}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "general\n"

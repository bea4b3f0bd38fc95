"""What bash, zsh and fish complete."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
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
    (store / "models" / "gray.training").touch()  # unfinished
    assert completed(shell, store, "denoise ./sc") == [("file", "./sc")]
    assert completed(shell, store, "denoise a.png ./sc") == [("file", "./sc")]
    assert completed(shell, store, "denoise run --out ./cl") == [("file", "./cl")]
    assert completed(shell, store, "denoise a.png --model g") == [("plain", "general"), ("plain", "grain")]
    assert completed(shell, store, "denoise a.png --model ./m") == [("file", "./m")]
    assert completed(shell, store, "denoise models show gr") == [("plain", "grain")]
    assert completed(shell, store, "denoise models remove g") == [("plain", "grain"), ("plain", "gray")]
    assert completed(shell, store, "denoise train --from s") == [("plain", "scratch")]
    assert completed(shell, store, "denoise train --from au") == [("file", "au")]
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


ON_A_TERMINAL = (
    "import fcntl, os, sys, termios\n"
    "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
    "os.execv(sys.argv[1], sys.argv[1:])"
)
"""Has stdin control the session, without which fish is not interactive."""

INTERACTIVE = {
    "bash": (["--norc", "-i"], 'eval "$(_DENOISE_COMPLETE=bash_source denoise)"'),
    "zsh": (
        ["-f", "-i"],
        'autoload -Uz compinit; compinit -u; eval "$(_DENOISE_COMPLETE=zsh_source denoise)"',
    ),
    "fish": (["--no-config", "-i"], "_DENOISE_COMPLETE=fish_source denoise | source"),
}
TYPED = {
    "denoise ./sc": r"denoise \./scans\\ of\\ mine/",
    "denoise ./scans --out ./sc": r"--out \./scans\\ of\\ mine/",
    "denoise a.png --model gene": "--model general",
    "denoise train --noise gaus": "--noise gaussian",
    "denoise a.png --qual": "--quality",
    "denoise docto": "denoise doctor",
}
"""What is typed before the tab, and what the shell makes of it."""


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_itself_completes_at_its_prompt(shell: str, store: Path, tmp_path: Path) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"no {shell}")
    (tmp_path / "here" / "scans of mine").mkdir(parents=True)
    (tmp_path / "denoise").write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m denoiser "$@"\n')
    (tmp_path / "denoise").chmod(0o755)
    arguments, setup = INTERACTIVE[shell]
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "DENOISER_HOME": str(store),
        "HOME": str(tmp_path),
        "TERM": "xterm",
    }
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", ON_A_TERMINAL, program, *arguments],
        env=environment,
        cwd=tmp_path / "here",
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        try:
            os.write(ours, f"{setup}; echo rea''dy\n".encode())
            assert shown(ours, r"ready\r?\n"), "the shell did not start"
            for typed, wanted in TYPED.items():
                os.write(ours, f"{typed}\t".encode())
                assert shown(ours, wanted), typed
                os.write(ours, b"\x15")  # Ctrl-U empties the line
        finally:
            process.kill()
            os.close(ours)


def shown(terminal: int, wanted: str) -> bool:
    """Read what a terminal shows until a pattern is in it; returns whether it came."""
    text, until = "", time.monotonic() + 60.0
    while time.monotonic() < until:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                text += os.read(terminal, 65536).decode("utf-8", "replace")
            except OSError:  # the shell has ended
                return False
        if re.search(wanted, re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\x07", "", text)):
            return True
    return False

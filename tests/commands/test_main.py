"""The entry point itself: how the process ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FROM_ATEXIT = """
import atexit, os, signal, sys
atexit.register(lambda: os.kill(os.getpid(), signal.{name}))
from denoiser.__main__ import main
sys.argv = ["denoise", "--version"]
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_after_all_is_done_changes_nothing(name: str) -> None:
    """Python still runs its exit handlers then, and would report an interruption with a traceback."""
    command = [sys.executable, "-c", FROM_ATEXIT.format(name=name)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert ended.returncode == 0
    assert ended.stdout.startswith("denoise")
    assert ended.stderr == ""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_in_the_middle_of_a_clean_up_is_not_lost(name: str) -> None:
    """Python ignores what is raised in a weak reference's callback, with a traceback on stderr."""
    code = f"""
import os, signal, time, weakref
from denoiser import __main__ as command

class Held:
    pass

def interrupted(_):
    os.kill(os.getpid(), signal.{name})
    for _ in range(1000):
        pass

def run(arguments=None):
    held = Held()
    watching = weakref.ref(held, interrupted)
    del held
    time.sleep(20)
    return 0

command.run = run
command.main()
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (130, "Interrupted.\n")

"""No second thread or process to be had: the work goes on with those there are, and says so once."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.files import tree
from tests.helpers.processes import Commands
from tests.helpers.rights import no_more

KINDS = {"many small": (300, 28), "several large": (3, 600), "one large": (1, 600)}


@pytest.mark.skipif(sys.platform != "linux", reason="takes rights from root as Linux does")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_a_run_goes_on_with_what_the_system_gives(
    command: Commands, flattener: Path, tmp_path: Path, kind: str, limit: int
) -> None:
    count, side = KINDS[kind]
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(9)
    for index in range(count):
        Image.fromarray(rng.integers(0, 256, (side, side), np.uint8)).save(tmp_path / f"in/{index}.png")
    common = (tmp_path / "in", "--model", flattener, "--mode", "tile", "--jobs", 4, "--out")
    assert command(*common, tmp_path / "wanted").code == 0
    ended = command(*common, tmp_path / "o", patches=[no_more(limit)])
    assert ended.code == 0, ended.err
    assert not ended.hung
    lines = ended.err.splitlines()
    assert len(lines) == 3, ended.err
    assert lines[1].startswith("The system starts no more threads or processes (")
    assert f"{count} cleaned" in lines[2]
    for name in tree(tmp_path / "wanted"):
        assert (tmp_path / "o" / name).read_bytes() == (tmp_path / "wanted" / name).read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="takes rights from root as Linux does")
def test_a_file_that_ends_its_process_is_not_tried_in_the_last_one(
    command: Commands, identity: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for index in range(300):
        Image.new("L", (28, 28), index % 250).save(tmp_path / f"in/{index}.png")
    Image.new("L", (28, 28), 251).save(tmp_path / "in/150.png")
    plugin = tmp_path / "crashing.py"
    plugin.write_text(
        "import os, signal, resource\nfrom denoiser import hookimpl\n@hookimpl\ndef preprocess(image):\n"
        "    if image.max() == image.dtype.type(251 / 255): os.kill(os.getpid(), signal.SIGSEGV)\n"
    )
    # The first worker is had; after its end, none.
    once = """
import os
fork, calls = os.fork, []
def once():
    calls.append(0)
    if len(calls) > 1:
        raise BlockingIOError(11, "Resource temporarily unavailable")
    return fork()
os.fork = once
"""
    common = (tmp_path / "in", "--out", tmp_path / "o", "--model", identity, "--plugin", plugin, "--jobs", 2)
    ended = command(*common, patches=[once])
    assert ended.code == 1, ended.err
    assert not ended.hung
    assert any("150.png can't be done" in line for line in ended.errors), ended.err
    assert (tmp_path / "o/99.png").is_file()
    assert len(ended.errors) <= 64

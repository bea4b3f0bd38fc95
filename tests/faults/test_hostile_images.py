"""Images made to do harm."""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image

from tests.faults.conftest import Commands

POSTSCRIPT = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 40 40
%%EndComments
0 0 moveto 40 40 lineto stroke
showpage
%%EOF
"""


def test_no_program_is_started_for_a_file_that_is_not_what_it_is_called(
    command: Commands, identity: Path, tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/gs"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    program.chmod(0o755)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/scan.png").write_bytes(POSTSCRIPT)
    search = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    ended = command(tmp_path / "in", "--out", tmp_path / "o", "--model", identity, env={"PATH": search})
    assert not (tmp_path / "started").exists()
    assert ended.code == 1
    assert "scan.png is not an image that can be read" in ended.err


def test_photographs_of_several_views_are_read(command: Commands, identity: Path, tmp_path: Path) -> None:
    views = [Image.new("L", (60, 40), 40 * index) for index in (1, 2)]
    views[0].save(tmp_path / "x.jpg", "MPO", save_all=True, append_images=views[1:])
    with Image.open(tmp_path / "x.jpg") as image:
        assert image.format == "MPO"
    assert command(tmp_path / "x.jpg", "--out", tmp_path / "o", "--model", identity).code == 0
    with Image.open(tmp_path / "o/x.jpg") as image:
        assert image.format == "JPEG"

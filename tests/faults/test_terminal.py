"""Where messages go: closed, full, or other people's words."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.files import recorded, tree
from tests.helpers.processes import ROOT, Commands


def shell(script: str, *, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHON": sys.executable}
    return subprocess.run(["sh", "-c", script], env=environment, cwd=cwd, capture_output=True, timeout=60)


@pytest.mark.parametrize("where", ["2>&-", "2>/dev/full", "0<&- 1>&- 2>&-"])
@pytest.mark.parametrize("option", ["", "-q"])
def test_a_run_without_stderr_is_a_run(
    scans: Path, identity: Path, tmp_path: Path, where: str, option: str
) -> None:
    (scans / "broken.tif").write_bytes((scans / "box/c.tif").read_bytes()[:-3000])
    Image.new("1", (64, 64)).save(scans / "fax.tif", compression="group4")
    content = bytearray((scans / "fax.tif").read_bytes())
    content[8:16] = b"\x12\x34\x56\x78\x12\x34\x56\x78"
    (scans / "fax.tif").write_bytes(content)
    ended = shell(f"$PYTHON -m denoiser {scans} --out o --model {identity} {option} {where}", cwd=tmp_path)
    assert ended.returncode == 1
    assert set(tree(tmp_path / "o")) >= {"a.png", "b.png", "box/c.tif"}
    for line in recorded(tmp_path / "o"):
        json.loads(line)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
@pytest.mark.parametrize("arguments", ["--version", "noises", "models", "{scans} --out o --json"])
def test_a_full_stdout_says_that_it_is_stdout(
    scans: Path, identity: Path, tmp_path: Path, arguments: str
) -> None:
    """The disk of the results may have room."""
    more = f"--model {identity}" if "scans" in arguments else ""
    ended = shell(f"$PYTHON -m denoiser {arguments.format(scans=scans)} {more} >/dev/full", cwd=tmp_path)
    errors = [line for line in ended.stderr.decode().splitlines() if not line.startswith("Cleaning")]
    assert errors == ["Error: stdout: the disk is full."]
    assert ended.returncode == 3


def test_nobody_but_us_writes_to_stderr(command: Commands, identity: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.effect_noise((60, 60), 90).save(tmp_path / "in/lzw.tif", compression="tiff_lzw")
    content = bytearray((tmp_path / "in/lzw.tif").read_bytes())
    content[60:80] = bytes(range(20))
    (tmp_path / "in/lzw.tif").write_bytes(content)
    ended = command(tmp_path / "in", "--out", tmp_path / "o", "--model", identity, "-q")
    assert ended.err.splitlines() == ended.errors
    assert "lzw.tif" in ended.err


def test_what_pillow_logs_is_not_on_stderr(command: Commands, identity: Path, tmp_path: Path) -> None:
    """It says so by `logging` where a TIFF has more samples a pixel than it decodes."""
    (tmp_path / "in").mkdir()
    path = tmp_path / "in/x.tif"
    Image.effect_noise((60, 60), 90).convert("RGB").save(path)
    content = bytearray(path.read_bytes())
    place = content.index(struct.pack("<HHIH", 277, 3, 1, 3))
    content[place + 8 : place + 10] = struct.pack("<H", 122)
    path.write_bytes(content)
    for more in ((), ("-q",)):
        ended = command(tmp_path / "in", "--out", tmp_path / "o", "--model", identity, *more)
        assert ended.code == 1
        assert len(ended.errors) == 1
        assert "x.tif" in ended.errors[0]
        assert "More samples per pixel" not in ended.err


@pytest.mark.parametrize("name", ["x\nError: y\x1b[2J.png", "\u202egnp.exe.png"])
def test_no_log_line_is_forged_by_a_name(
    command: Commands, identity: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "in").mkdir()
    Image.new("L", (20, 20)).save(tmp_path / "in" / name, "PNG")
    plugin = tmp_path / "broken.py"
    plugin.write_text(
        "from denoiser.pipeline import cleaner\ndef fail(*_): raise ValueError('odd')\n"
        "cleaner.Cleaner._complete = fail\nfrom denoiser import hookimpl\n"
        "@hookimpl\ndef preprocess(image): pass\n"
    )
    ended = command(
        tmp_path / "in", "--out", tmp_path / "o", "--model", identity, "--verbose", "--plugin", plugin
    )
    assert "ValueError: odd" in ended.err
    assert len(ended.errors) == 1
    assert not set(ended.err) & {"\x1b", "\u202e"}


def test_nothing_is_imported_from_the_current_folder(scans: Path, identity: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    for name in ("click", "typing_extensions", "signal", "numpy", "struct", "PIL"):
        (here / f"{name}.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'a').write({name!r})\n")
    ended = shell(f"$PYTHON -m denoiser {scans} --out o --model {identity}", cwd=here)
    assert not (tmp_path / "imported").exists()
    assert ended.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "module", ["click", "denoiser.commands", "denoiser.commands.run_batch", "numpy", "h5py"]
)
def test_a_signal_during_the_imports_is_an_interruption(
    scans: Path, identity: Path, tmp_path: Path, number: int, module: str
) -> None:
    code = f"""
import os, sys
from denoiser.__main__ import main
class Interrupting:
    def find_spec(self, name, *_):
        if name == {module!r}:
            os.kill(os.getpid(), {int(number)})
sys.meta_path.insert(0, Interrupting())
sys.argv = ["denoise", {str(scans)!r}, "--out", {str(tmp_path / "o")!r}, "--model", {str(identity)!r}]
main()
"""
    ended = shell(f"exec $PYTHON -c '{code.replace(chr(39), chr(34))}'", cwd=tmp_path)
    assert ended.stderr.strip() == b"Interrupted."
    assert ended.returncode == 130


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("place", [1, 2, 3, 5, 10, 20, 40])
def test_a_signal_from_the_first_import_on_is_an_interruption(
    tmp_path: Path, number: int, place: int
) -> None:
    (tmp_path / "usercustomize.py").write_text("")
    (tmp_path / "sitecustomize.py").write_text(f"""
import os, sys
class Interrupting:
    begun, count = False, 0
    def find_spec(self, name, *_):
        self.begun = self.begun or name == "denoiser.__main__"
        self.count += self.begun
        if self.count == {place + 1}:
            os.kill(os.getpid(), {int(number)})
sys.meta_path.insert(0, Interrupting())
""")
    ended = shell(f"export PYTHONPATH={tmp_path}:$PYTHONPATH; exec $PYTHON -m denoiser models", cwd=tmp_path)
    assert ended.returncode == 130
    assert ended.stderr.strip() == b"Interrupted."


def test_before_the_command_begins_nothing_is_imported(tmp_path: Path) -> None:
    """Whatever is imported there, a signal meets without our answer."""
    code = (
        "import sys; before = set(sys.modules); import denoiser.__main__; print(*set(sys.modules) - before)"
    )
    ended = shell(f"$PYTHON -c '{code}'", cwd=tmp_path)
    assert set(ended.stdout.decode().split()) <= {"__future__", "denoiser", "denoiser.__main__"}

"""Plugins that do what no plugin should: each fails its files in one line that names it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.helpers.files import tree
from tests.helpers.processes import Commands

HEAD = "from denoiser import hookimpl\n"
BAD = {
    "base": "class Odd(BaseException): pass\n@hookimpl\ndef preprocess(image): raise Odd('odd')\n",
    "generator": "@hookimpl\ndef preprocess(image): raise GeneratorExit\n",
    "silent": (
        "class Odd(Exception):\n    def __str__(self): raise ValueError\n    __repr__ = __str__\n"
        "@hookimpl\ndef preprocess(image): raise Odd\n"
    ),
    "exits": "@hookimpl\ndef postprocess(image): raise SystemExit(0)\n",
}


@pytest.mark.parametrize("name", BAD)
def test_whatever_a_plugin_raises_is_its_own(
    command: Commands, scans: Path, identity: Path, tmp_path: Path, name: str
) -> None:
    plugin = tmp_path / f"{name}.py"
    plugin.write_text(HEAD + BAD[name])
    ended = command(scans, "--out", tmp_path / "o", "--model", identity, "--plugin", plugin)
    assert ended.code == 1, ended.err
    assert len(ended.errors) == 3
    assert all(f"plugin {name} failed in" in line for line in ended.errors)
    assert "Traceback" not in ended.err


CRASHES = {
    "reads": ("import ctypes; ctypes.string_at(0)", "signal 11"),
    "kills": ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "signal 11"),
    "aborts": ("import os; os.abort()", "signal 6"),
    "leaves": ("import os; os._exit(0)", "exit code 0"),
}


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")
@pytest.mark.parametrize("name", CRASHES)
@pytest.mark.parametrize("hook", ["preprocess", "postprocess"])
def test_a_plugin_that_crashes_ends_one_file_and_is_named(
    command: Commands, scans: Path, identity: Path, tmp_path: Path, name: str, hook: str
) -> None:
    code, fate = CRASHES[name]
    plugin = tmp_path / f"{name}.py"
    plugin.write_text(f"{HEAD}@hookimpl\ndef {hook}(image):\n    if image.shape == (33, 70): {code}\n")
    ended = command(scans, "--out", tmp_path / "o", "--model", identity, "--plugin", plugin)
    assert ended.code == 1, ended.err
    told = "b.png can't be done: twice, the process at it "
    assert len(ended.errors) == 1
    assert told in ended.errors[0]
    assert f"({fate}) in {hook} of plugin {name}." in ended.errors[0]
    assert "2 cleaned, 1 failed" in ended.err
    assert tree(tmp_path / "o") == ["a.png", "box/c.tif"]


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")
@pytest.mark.parametrize("hook", ["read_pages", "write_pages"])
@pytest.mark.parametrize("body", ["raise SystemExit(0)", "import os; os.abort()"])
def test_a_plugin_that_ends_while_it_reads_or_writes_is_named(
    command: Commands, scans: Path, identity: Path, tmp_path: Path, hook: str, body: str
) -> None:
    argument = "path" if hook == "read_pages" else "path, pages"
    plugin = tmp_path / "odd.py"
    plugin.write_text(f"{HEAD}SUFFIXES = ('.tif',)\n@hookimpl\ndef {hook}({argument}):\n    {body}\n")
    ended = command(scans, "--out", tmp_path / "o", "--model", identity, "--plugin", plugin)
    assert ended.code == 1, ended.err
    assert len(ended.errors) == 1
    assert "c.tif" in ended.errors[0]
    assert "plugin odd" in ended.errors[0]
    assert hook in ended.errors[0]
    assert tree(tmp_path / "o") == ["a.png", "b.png"]


@pytest.mark.parametrize("body", ["class Odd(BaseException): pass\nraise Odd\n", "raise GeneratorExit\n"])
def test_whatever_a_plugin_raises_at_loading_is_its_own(
    command: Commands, scans: Path, identity: Path, tmp_path: Path, body: str
) -> None:
    plugin = tmp_path / "bad.py"
    plugin.write_text(body)
    ended = command(scans, "--out", tmp_path / "o", "--model", identity, "--plugin", plugin)
    assert ended.code == 3, ended.err
    assert len(ended.errors) == 1
    assert "bad.py fails on loading" in ended.errors[0]

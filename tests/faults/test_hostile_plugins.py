"""Plugins that do what no plugin should: each fails its files in one line that names it."""

from __future__ import annotations

from pathlib import Path

import pytest

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

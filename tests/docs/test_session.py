"""The session that the guide shows runs, and prints what it shows; and the JSON schema holds."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.command import Denoise

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def steps() -> list[tuple[str, list[str]]]:
    """The commands of the session, each with the lines that it prints."""
    text = re.findall(r"```console\n(.*?)```", (DOCS / "guide/cleaning.md").read_text("utf-8"), re.DOTALL)[0]
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def without_figures(text: str) -> str:
    """The text with every number replaced, as models, versions and times change."""
    return re.sub(r"\d+(\.\d+)*", "N", text)


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_the_session_prints_what_the_guide_shows(tmp_path: Path) -> None:
    home, tools, here = tmp_path / "home", tmp_path / "tools", tmp_path / "empty"
    for folder in (home, tools, here):
        folder.mkdir()
    (home / "denoiser").symlink_to(ROOT)
    (tools / "denoise").write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m denoiser "$@"\n')
    (tools / "denoise").chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "HOME": str(home),
        "DENOISER_HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "CUDA_VISIBLE_DEVICES": "",
    }
    assert len(steps()) >= 7
    for command, shown in steps():
        done = subprocess.run(
            ["bash", "-c", f"{command} 2>&1"],
            env=environment,
            cwd=here,
            capture_output=True,
            text=True,
            timeout=300,
        )
        printed = without_figures(done.stdout).splitlines()
        assert printed == without_figures("\n".join(shown)).splitlines(), command
        assert done.returncode == (2 if "Error" in "".join(shown) else 0), command


TYPES = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float)}


def agrees(value: Any, schema: dict[str, Any]) -> bool:
    """Return True if a value agrees with a schema of the few words that ours uses."""
    known = {"oneOf", "type", "enum", "required", "properties", "additionalProperties", "items"}
    assert set(schema) <= known
    if "oneOf" in schema:
        return sum(agrees(value, each) for each in schema["oneOf"]) == 1
    if "enum" in schema:
        return value in schema["enum"]
    kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    if not any(is_of(value, kind) for kind in kinds):
        return False
    if isinstance(value, list):
        return all(agrees(each, schema["items"]) for each in value)
    if not isinstance(value, dict):
        return True
    named, other = schema.get("properties", {}), schema["additionalProperties"]
    return set(schema.get("required", ())) <= set(value) and all(
        agrees(each, named[key]) if key in named else bool(other) and agrees(each, other)
        for key, each in value.items()
    )


def is_of(value: Any, kind: str) -> bool:
    if kind == "null":
        return value is None
    if kind == "boolean" or isinstance(value, bool):
        return kind == "boolean" and isinstance(value, bool)
    return isinstance(value, TYPES[kind])  # type: ignore[arg-type]


def test_every_line_of_json_agrees_with_the_schema(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path
) -> None:
    schema = json.loads(
        re.findall(r"```json\n(.*?)```", (DOCS / "reference/json.md").read_text("utf-8"), re.DOTALL)[0]
    )
    (scans / "bad.png").write_text("no image")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b.png").write_text("mine")
    common = (scans, "--out", tmp_path / "out", "--model", identity, "--json", "--keep")
    lines: list[str] = []
    for more in (("--dry-run",), (), ()):
        lines += denoise(*common, *more).out.splitlines()
    rows = [json.loads(line) for line in lines]
    statuses = {row["status"] for row in rows if "status" in row}
    assert statuses == {"done", "up to date", "failed", "planned", "kept"}
    for row in rows:
        assert agrees(row, schema), row
    wrong: Any
    for wrong in ({**rows[0], "pages": "1"}, {**rows[0], "more": 1}, {"summary": {}}, {}, []):
        assert not agrees(wrong, schema), wrong

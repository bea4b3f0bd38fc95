"""Imports run one way: from commands down to what asks nothing of the rest."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "denoiser"
ROOMS = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}


def rooms_imported(path: Path) -> set[str]:
    """Imports for type checking count too: none is needed against the direction, and so none is allowed."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name.split(".")[1] for name in found if name.startswith("denoiser.")} & ROOMS


ARROWS = {
    room: {other for path in (PACKAGE / room).rglob("*.py") for other in rooms_imported(path)} - {room}
    for room in ROOMS
}


def test_there_is_no_circle() -> None:
    TopologicalSorter(ARROWS).prepare()  # raises CycleError, which shows the circle


def test_what_serves_both_ways_knows_neither() -> None:
    for room in ("imaging", "inference", "weights", "plugins", "system"):
        assert not ARROWS[room] & {"pipeline", "training", "commands"}, room
    assert not ARROWS["pipeline"] & {"training", "commands"}
    assert "inference" in ARROWS["pipeline"]  # or nothing was read here


def test_no_test_imports_another() -> None:
    for path in Path(__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tests"):
                assert node.module.startswith("tests.helpers"), path

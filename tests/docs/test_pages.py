"""The documents are true: generated parts match the code, lists are complete, and commands work."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import numpy as np
import pytest
from PIL import Image

import denoiser
from denoiser import generator
from denoiser.commands.cli import cli
from denoiser.errors import ExitCode
from denoiser.pipeline.outcomes import Report, Result, Status
from tests.helpers import fakes
from tests.helpers.command import Denoise

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text("utf-8")
GUIDES = "".join(path.read_text("utf-8") for path in sorted((DOCS / "guide").glob("*.md")))
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]


def page(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


@pytest.fixture(scope="module")
def tables() -> Iterator[ModuleType]:
    before = list(sys.path)
    spec = importlib.util.spec_from_file_location("tables", DOCS / "_ext" / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path[:] = before


@pytest.mark.parametrize("name", ["hooks", "noises", "endings", "parameters", "weights"])
def test_generated_parts_are_what_the_code_gives(tables: ModuleType, name: str) -> None:
    _, written, generated = tables.updated(name)
    assert written == generated, "run: python docs/_ext/tables.py"


def test_no_generated_part_goes_unchecked(tables: ModuleType) -> None:
    found = {
        name for path in PAGES for name in re.findall(r"<!-- generated: (\w+) -->", path.read_text("utf-8"))
    }
    assert (
        found == set(tables.GENERATED) == {"options", "hooks", "noises", "endings", "parameters", "weights"}
    )


def test_a_difference_is_noticed(
    tables: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("guide", "reference"):
        (tmp_path / folder).mkdir()
    for name, _ in tables.GENERATED.values():
        (tmp_path / name).write_text(page(name), "utf-8")
    monkeypatch.setattr(tables, "DOCS", tmp_path)
    assert tables.main(["--check"]) == 0
    noises = tmp_path / "reference/noises.md"
    noises.write_text(noises.read_text("utf-8").replace("`sigma`", "`sgima`", 1), "utf-8")
    assert tables.main(["--check"]) == 1
    assert "noises differs" in capsys.readouterr().err
    assert tables.main([]) == 0
    assert noises.read_text("utf-8") == page("reference/noises.md")


def commands(
    group: click.Command, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, group
    if isinstance(group, click.Group):
        for name, command in group.commands.items():
            yield from commands(command, (*path, name))


def test_every_option_of_the_main_job_is_in_a_guide() -> None:
    for parameter in cli.commands["run"].params:
        for name in parameter.opts:
            if name.startswith("--"):
                assert re.search(rf"{name}\b", GUIDES), name


def test_every_command_is_in_a_guide_and_on_the_generated_page() -> None:
    for path, _ in commands(cli):
        if path and path != ("run",):
            assert f"denoise {' '.join(path)}" in GUIDES + README + page("reference/json.md"), path
    directive = page("reference/cli.md")
    assert ".. click:: sources:cli" in directive
    assert ":nested: full" in directive


def test_help_names_the_documents(denoise: Denoise) -> None:
    named = re.search(
        r"Documents: README.md and docs/ .*?(docs/[\w/]+\.md)", denoise("--help").out, re.DOTALL
    )
    assert named is not None
    assert (ROOT / named[1]).is_file()


def test_every_exit_code_is_listed() -> None:
    for code in ExitCode:
        assert f"| {code.value} | `{code.name}` |" in page("reference/exit-codes.md")


def test_every_field_of_the_json_output_is_listed() -> None:
    text = page("reference/json.md")
    result = Result(Path("a"), Path("b"), Status.DONE)
    summary = Report().as_dict()
    assert set(summary) == {"summary"}
    for name in (*result.as_dict(), *summary["summary"]):
        assert f"`{name}`" in text, name
    for status in Status:
        assert f"`{status}`" in text


def test_every_field_of_the_record_is_listed(
    denoise: Denoise, identity: Path, scans: Path, tmp_path: Path
) -> None:
    (scans / "broken.png").write_bytes(b"nothing")
    assert denoise(scans, "--out", tmp_path / "o", "--model", identity).code == 1
    records = [path for path in (tmp_path / "o").rglob("*.jsonl") if path.is_file()]
    lines = [json.loads(line) for path in records for line in path.read_text("ascii").splitlines()]
    fields = {name for line in lines for name in line}
    assert {"output", "begun", "failed", "sha256"} <= fields
    for name in fields:
        assert f"`{name}`" in page("reference/record-file.md"), name


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[\w-]+)?\)", path.read_text("utf-8")):
        if "://" not in target:
            assert (path.parent / target).resolve().exists(), target


def test_every_page_is_in_the_contents() -> None:
    contents = page("index.md")
    for path in DOCS.rglob("*.md"):
        name = path.relative_to(DOCS).with_suffix("").as_posix()
        assert name == "index" or f"\n{name}\n" in contents, name


def test_the_readme_is_short_and_has_the_two_set_up_commands() -> None:
    assert len(README.encode()) < 7_000
    assert re.search(r"^python -m pip install \. && denoise sample_images --out clean$", README, re.MULTILINE)
    assert re.search(r"^python -m pip install -e '\.\[test\]' && .*pytest.*$", README, re.MULTILINE)


def lines_of(text: str) -> list[str]:
    """The lines of all shell blocks of a page that call the command."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith("denoise ")]


def images(folder: Path, rng: np.random.Generator, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (30, 40), np.uint8)).save(path)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: Path) -> Path:
    """A folder with everything that the pages' commands name."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "desk"
    for name in (
        "scans",
        "incoming",
        "good_scans",
        "bad_scans",
        "blank_scans",
        "archive",
        "mnist",
        "bsds400",
    ):
        images(folder / name, rng, "one.png", "two_raw.tif")
    images(
        folder,
        rng,
        "page1.tif",
        "page2.tif",
        "noisy.png",
        "noisyoffice/clean/a.png",
        "noisyoffice/noisy/a.png",
    )
    for name in ("grain", "by-noise"):
        fakes.identity(store / "models" / f"{name}.keras")
    fakes.identity(folder / "mine.keras")
    (folder / "brighten.py").write_text(re.findall(r"```python\n(.*?)```", README, re.DOTALL)[1], "utf-8")
    monkeypatch.chdir(folder)
    return folder


CLEANING = {
    line: name
    for name in ("README.md", "docs/guide/cleaning.md", "docs/guide/models.md")
    for line in lines_of((ROOT / name).read_text("utf-8"))
    if not line.startswith("denoise train")
}


@pytest.mark.slow
@pytest.mark.parametrize("line", CLEANING)
def test_every_command_that_cleans_works(desk: Path, line: str) -> None:
    tools = desk.parent / "tools"
    tools.mkdir()
    (tools / "denoise").write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m denoiser "$@"\n')
    (tools / "denoise").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", re.sub("--device gpu|--watch 10", "", line)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    if "--out ./clean" in line and "--dry-run" not in line:
        assert [path for path in Path("clean").rglob("*") if path.suffix in {".png", ".tif"}]


@pytest.mark.parametrize("name", ["README.md", "docs/guide/training.md"])
def test_every_training_command_is_understood_and_has_a_name_of_its_own(desk: Path, name: str) -> None:
    lines = [line for line in lines_of((ROOT / name).read_text("utf-8")) if line.startswith("denoise train ")]
    assert len(lines) >= 3
    names = []
    for line in lines:
        _, command, *words = shlex.split(line, comments=True)
        parent = cli.make_context("denoise", [command, *words])
        given = cli.commands[command].make_context(command, words, parent=parent).params
        assert given["images"] is not None or given["only_noisy"] is not None
        names.append(given["name"] or given["recipe"])
    assert len(set(names)) == len(names)


def test_python_examples_work() -> None:
    rng = np.random.default_rng(0)
    image = np.rint(255 * generator.scene(rng, (40, 50))).astype(np.uint8)
    for text in (README, page("guide/cleaning.md")):
        names: dict[str, Any] = {"noisy": image, "list_of_images": [image, image]}
        exec(re.findall(r"```python\n(import denoiser\n.*?)```", text, re.DOTALL)[0], names)
        np.testing.assert_array_equal(names["clean"], denoiser.denoise(image))
    assert len(names["results"]) == 2

"""Help, and the commands beside the main one."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from denoiser import __version__, noise
from denoiser.commands.cli import cli
from denoiser.weights import store as models
from tests.helpers import fakes
from tests.helpers.command import Denoise


def test_help_imports_neither_numpy_nor_tensorflow() -> None:
    code = (
        "import sys\nfrom denoiser.__main__ import run\nassert run(['--help']) == 0\n"
        "heavy = {'numpy', 'PIL', 'h5py', 'tensorflow', 'keras', 'pluggy', 'tqdm'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_run_imports_no_tensorflow(scans: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom denoiser.__main__ import run\n"
        f"assert run([{str(scans)!r}, '--out', {str(tmp_path / 'o')!r}, '--no-plugins']) == 0\n"
        "heavy = {'tensorflow', 'keras', 'pluggy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def commands(group: click.Command, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    found = [(path, group)]
    if isinstance(group, click.Group):
        for name, command in group.commands.items():
            found += commands(command, (*path, name))
    return found


@pytest.mark.parametrize("path", [path for path, _ in commands(cli)], ids=" ".join)
def test_help_reads_well(denoise: Denoise, path: tuple[str, ...]) -> None:
    outcome = denoise(*path, "--help")
    assert outcome.code == 0
    assert outcome.out.startswith("Usage: denoise")
    assert max(map(len, outcome.out.splitlines())) <= 100
    if len(path) < 2:
        assert outcome.out.index("Examples:") < outcome.out.index("  -h, --help")


def given_in(path: Path) -> set[str]:
    """What a test module gives to a call, or lists to be given: not what it merely compares or mentions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        values: list[ast.expr] = []
        if isinstance(node, ast.Call):
            values = node.args
        elif isinstance(node, (ast.List, ast.Tuple)):
            values = node.elts
        found |= {
            each.value for each in values if isinstance(each, ast.Constant) and isinstance(each.value, str)
        }
    return found


def test_every_option_has_a_test_that_gives_it() -> None:
    given = set().union(*(given_in(path) for path in Path(__file__).parents[1].rglob("test_*.py")))
    for path, command in commands(cli):
        for parameter in command.params:
            for name in parameter.opts:
                if name.startswith("--") and name != "--help":
                    assert name in given, f"{' '.join(path)} {name} has no test"


def test_version(denoise: Denoise) -> None:
    assert denoise("--version").out.strip() == f"denoise, version {__version__}"


def test_models_are_listed(denoise: Denoise, store: Path) -> None:
    fakes.identity(store / "models" / "mine.keras")
    fakes.identity(store / "models" / "general.keras")
    (store / "models" / "broken.keras").write_text("no model")
    rows = {(row["name"], row["source"]): row for row in json.loads(denoise("models", "list", "--json").out)}
    assert rows["mine", "store"]["network"] == "PatchAutoencoder"
    assert rows["digits", "bundled"]["mode"] == "whole"
    assert rows["general", "bundled"]["shadowed"]
    assert not rows["general", "store"]["shadowed"]
    assert "broken.keras" in rows["broken", "store"]["error"]
    assert json.loads(denoise("models", "--json").out) == json.loads(denoise("models", "list", "--json").out)
    assert "--json is for list and show" in denoise("models", "--json", "path", "mine").err
    text = denoise("models").out
    for name in ("mine", "digits", "general", "broken"):
        assert name in text


def test_a_model_is_shown_with_its_card(denoise: Denoise) -> None:
    shown = json.loads(denoise("models", "show", "general", "--json").out)
    assert shown["network"] == "PatchAutoencoder"
    assert shown["card"]["summary"]
    assert Path(shown["file"]) == Path(denoise("models", "path", "general").out.strip())
    assert json.loads(denoise("models", "--json", "show", "general").out) == shown
    lines = denoise("models", "show", "general").out.splitlines()
    assert lines[0] == f"general: PatchAutoencoder, {shown['parameters'] / 1e6:.2f} M weights, mode tile"
    assert f"  SHA-256: {shown['sha256']}" in lines
    assert f"  Terms: {shown['card']['terms']}" in lines
    assert f"  Trained on: {shown['card']['trained_on']}" in lines
    figure = shown["card"]["figures"][0]
    [row] = [line.split() for line in lines if line.strip().startswith(figure["noise"])]
    assert row[1:3] == [f"{figure['input_db']:.2f}", f"{figure['output_db']:.2f}"]
    assert len(lines[-1]) < 110


@pytest.mark.parametrize("name", ["digits", "document"])
def test_every_bundled_card_is_shown(denoise: Denoise, name: str) -> None:
    outcome = denoise("models", "show", name)
    assert (outcome.code, outcome.err) == (0, "")
    for word in ("Trained on: ", "Terms: ", "Noise: ", "Length: ", "as it was learnt", "none: clean images"):
        assert outcome.out.count(f"\n  {word}") == 1, word


def test_a_card_that_is_not_as_it_should_be_is_shown_as_far_as_it_is(denoise: Denoise, store: Path) -> None:
    card = {"noise": 7, "figures": [{"noise": "x"}, 3], "validation": {"noise": "y", "input_db": "a"}}
    path = store / "models" / "odd.keras"
    fakes.write_model(path, "PatchAutoencoder", {**fakes.SMALL, "residual": True}, lambda *_: 0.0, card)
    outcome = denoise("models", "show", "odd")
    assert outcome.code == 0
    assert len(outcome.out.splitlines()) == 3


def test_models_are_removed_but_bundled_ones_stay(denoise: Denoise, store: Path) -> None:
    path = fakes.identity(store / "models" / "mine.keras")
    assert denoise("models", "remove", "mine").code == 0
    assert not path.exists()
    outcome = denoise("models", "remove", "digits")
    assert outcome.code == 3
    assert (models.BUNDLED / "digits.keras").exists()
    assert denoise("models", "show", "nothing").code == 3


def test_noises_are_listed(denoise: Denoise) -> None:
    text = denoise("noises").out
    listed = {row["name"]: row for row in json.loads(denoise("noises", "--json").out)}
    assert sorted(listed) == noise.names()
    for name, row in listed.items():
        assert f"{name}: {row['help']}" in text
        for parameter in row["parameters"]:
            assert f"{parameter}=" in text

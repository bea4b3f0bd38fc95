"""`denoise doctor`: what it finds, and what it says is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from denoiser.system import hardware
from denoiser.weights import modelfile
from denoiser.weights import store as models
from tests.helpers import fakes
from tests.helpers.command import Denoise


def test_it_tells_what_is_there(denoise: Denoise, store: Path, tmp_path: Path) -> None:
    fakes.identity(store / "models" / "mine.keras")
    outcome = denoise("doctor", "--json", tmp_path / "new" / "out")
    assert outcome.code == 0, outcome.err
    facts = json.loads(outcome.out)
    assert facts["problems"] == []
    assert facts["packages"]["numpy"] == version("numpy")
    assert facts["cores"] == hardware.cores()
    assert facts["home"] == str(store)
    assert facts["out"]["writable"]
    assert facts["megapixels_per_second"] > 0
    rows = {row["name"]: row for row in facts["models"]}
    assert set(rows) == {"mine", *models.NETWORKS}
    for row in rows.values():
        assert row["sha256"] == modelfile.read(Path(row["path"])).digest
    built_with = np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]
    assert ("openblas" in built_with) == (facts["blas"] is not None and "OpenBLAS" in facts["blas"])
    assert not (tmp_path / "new").exists()
    text = denoise("doctor").out
    for part in (facts["blas"] or "not OpenBLAS", rows["mine"]["sha256"], str(store), "megapixels a second"):
        assert part in text


def test_problems_are_said_and_are_the_exit_code(denoise: Denoise, store: Path, tmp_path: Path) -> None:
    (store / "models").mkdir()
    (store / "models" / "broken.keras").write_text("no model")
    (tmp_path / "file").write_text("no folder")
    outcome = denoise("doctor", tmp_path / "file" / "out")
    assert outcome.code == 3
    assert len(outcome.err.splitlines()) == 2
    (store / "denoise.toml").write_text("strength = 'much'")
    assert "denoise.toml: strength must be a number, without quotes." in denoise("doctor").err
    assert "broken.keras" in outcome.err
    assert "can't be written to" in outcome.err


def test_a_stripped_installation_is_told(
    denoise: Denoise, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "BUNDLED", tmp_path)
    outcome = denoise("doctor", "--json")
    assert outcome.code == 3
    assert json.loads(outcome.out)["megapixels_per_second"] is None
    assert "No weights for digits, general, document" in outcome.err


def test_it_imports_no_tensorflow(store: Path) -> None:
    code = (
        "import sys\nfrom denoiser.__main__ import run\nassert run(['doctor']) == 0\n"
        "heavy = {'tensorflow', 'keras'} & set(sys.modules)\nassert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("name", ["doctor", "train", "models", "noises", "plugins"])
def test_a_folder_called_like_a_command_is_written_with_a_path(
    denoise: Denoise, scans: Path, identity: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (scans.parent / "here").mkdir()
    scans.rename(scans.parent / "here" / name)
    monkeypatch.chdir(scans.parent / "here")
    outcome = denoise(name, "--out", "c")
    assert outcome.code == 2
    assert f"{name} is a command. To clean a folder of that name, write ./{name}" in outcome.err
    assert denoise(f"./{name}", "--out", "c", "--model", identity).code == 0

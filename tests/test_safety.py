"""What a user would least forgive: files lost, lines forged, work that nobody is told of."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from denoiser import atomic
from denoiser.comparison import compare
from denoiser.errors import on_one_line
from denoiser.record import Record, Stamp
from tests.conftest import Outcome

Denoise = Callable[..., Outcome]


@pytest.mark.parametrize("content", [b"a picture of the user's own", b""])
def test_a_file_put_in_place_of_an_output_is_not_overwritten(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path, content: bytes
) -> None:
    command = (scans, "--out", tmp_path / "o", "--model", identity)
    assert denoise(*command).code == 0
    (tmp_path / "o" / "a.png").write_bytes(content)
    outcome = denoise(*command)
    if content:
        assert outcome.code == 2
        assert "a.png exists and was not written by denoise" in outcome.err
        assert (tmp_path / "o" / "a.png").read_bytes() == content
        outcome = denoise(*command, "--force")
    assert outcome.code == 0
    assert (tmp_path / "o" / "a.png").stat().st_size > len(content)


def test_a_record_that_cant_be_written_stops_nothing(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def full(number: int, content: bytes) -> int:
        if b'"output"' in bytes(content):
            raise OSError(28, "No space left on device")
        return write(number, content)

    monkeypatch.setattr(os, "write", full)
    outcome = denoise(scans, "--out", tmp_path / "o", "--model", identity, "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out.splitlines()[-1])["summary"]["done"] == 3


def test_a_record_written_in_pieces_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, left = os.write, [7, 20]

    def short(number: int, content: bytes) -> int:
        if not left:
            raise OSError(28, "No space left on device")
        return write(number, content[: left.pop()])

    monkeypatch.setattr(os, "write", short)
    record = Record(tmp_path)
    record.begin(["a.png"])
    monkeypatch.setattr(os, "write", write)
    (tmp_path / "b.png").write_bytes(b"b")
    record.begin(["b.png"])
    record.done("b.png", tmp_path / "b.png", Stamp(1, 1), "m", output_size=1)
    record.close()
    again = Record(tmp_path)
    assert not again.knows("a.png")
    assert again.ours("b.png", tmp_path / "b.png")


def test_a_name_cant_forge_a_line_or_drive_the_terminal(
    denoise: Denoise, identity: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "x\nError: y\x1b[2J.png").write_bytes(b"no image")
    outcome = denoise(folder, "--out", tmp_path / "o", "--model", identity)
    assert outcome.code == 1
    assert "\x1b" not in outcome.err
    assert sum(line.startswith("Error:") for line in outcome.err.splitlines()) == 1
    assert "x\\nError: y\\x1b[2J.png is not an image" in outcome.err
    dry = denoise(folder, "--out", tmp_path / "o2", "--model", identity, "--dry-run")
    assert len(dry.out.splitlines()) == 1
    assert on_one_line("plain ü text") == "plain ü text"


def test_what_a_killed_run_left_beside_comparisons_goes(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path
) -> None:
    (tmp_path / "look" / "box").mkdir(parents=True)
    left = tmp_path / "look" / "box" / f".c.tif.png.0123456789ab{atomic.SUFFIX}"
    left.write_bytes(b"half")
    outcome = denoise(scans, "--out", tmp_path / "o", "--model", identity, "--compare", tmp_path / "look")
    assert outcome.code == 0
    assert not left.exists()
    assert (tmp_path / "look" / "box" / "c.tif.png").exists()


def test_a_colour_comparison_of_whole_mode_has_three_parts() -> None:
    before = np.random.default_rng(1).random((40, 40, 3), dtype=np.float32)
    assert compare(before, before[:28, :28]).size == (3 * 28 + 2 * 2, 28)
    assert compare(before[..., 0], before[:28, :28, 0]).size == (3 * 28 + 2 * 2, 28)


def test_a_misspelt_command_is_noticed_before_a_missing_option(denoise: Denoise, scans: Path) -> None:
    outcome = denoise("trian", scans)
    assert outcome.code == 2
    assert "Did you mean the command: denoise train" in outcome.err


def test_an_empty_pattern_is_a_variable_not_set(denoise: Denoise, scans: Path, tmp_path: Path) -> None:
    outcome = denoise(scans, "--out", tmp_path / "o", "--glob", "")
    assert outcome.code == 2
    assert "--glob is empty" in outcome.err


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_weights_that_cant_be_made_are_named_at_once(
    denoise: Denoise, scans: Path, tmp_path: Path, more: tuple[str, ...]
) -> None:
    command = (scans, "--out", tmp_path / "o", "--model", "general", *more)
    outcome = denoise(*command, "--weights", tmp_path / "mine.txt")
    assert outcome.code == 2
    assert (
        "mine.txt doesn't exist, and a model's file can't be called so. Let it end in .keras" in outcome.err
    )
    outcome = denoise(*command, "--weights", tmp_path / "mine.keras", "--no-train")
    assert outcome.code == 3
    assert "mine.keras doesn't exist, and --no-train forbids making it" in outcome.err


def test_the_work_told_to_the_engine_goes_by_the_stride(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from denoiser import reconstruct

    told: list[int] = []
    make = reconstruct.Denoiser.__init__

    def watched(self: reconstruct.Denoiser, *args: object, **options: object) -> None:
        told.append(options["work"])  # type: ignore[arg-type]
        make(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(reconstruct.Denoiser, "__init__", watched)
    size = sum(path.stat().st_size for path in scans.rglob("*") if path.is_file())
    for options in (("--stride", 2), ("--quality", "fast"), ()):
        shutil.rmtree(tmp_path / "o", ignore_errors=True)
        assert denoise(scans, "--out", tmp_path / "o", "--model", identity, *options).code == 0
    assert told == [size // 4, size // 21**2, size // 11**2]


def test_verbose_tells_of_stdin_too(scans: Path, identity: Path) -> None:
    command = [sys.executable, "-m", "denoiser", "-", "--model", str(identity), "--verbose"]
    outcome = subprocess.run(command, input=(scans / "a.png").read_bytes(), capture_output=True, check=True)
    assert outcome.stdout[:4] == b"\x89PNG"
    assert b"stdin -> stdout: done by" in outcome.stderr

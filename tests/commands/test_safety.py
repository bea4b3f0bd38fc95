"""What a user would least forgive: files lost, lines forged, work that nobody is told of."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from denoiser.errors import on_one_line
from denoiser.imaging.source import Fingerprint
from denoiser.pipeline import comparison, record
from denoiser.pipeline.record import Record
from denoiser.system import atomic
from denoiser.system.atomic import Written
from tests.helpers import fakes
from tests.helpers.command import Denoise
from tests.helpers.files import pixels, tree


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
    record.done("b.png", tmp_path / "b.png", Fingerprint(1, 1), "m", Written(1, 1))
    os.utime(tmp_path / "b.png", ns=(1, 1))
    record.close()
    again = Record(tmp_path)
    assert not again.is_recorded("a.png")
    assert again.is_ours("b.png", tmp_path / "b.png")


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
    assert comparison.compare(before, before[:28, :28]).size == (3 * 28 + 2 * 2, 28)
    assert comparison.compare(before[..., 0], before[:28, :28, 0]).size == (3 * 28 + 2 * 2, 28)


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
        "mine.txt doesn't exist, and a new model can't have this name. Choose a name that ends in .keras"
        in outcome.err
    )
    outcome = denoise(*command, "--weights", tmp_path / "mine.keras", "--no-train")
    assert outcome.code == 3
    assert "mine.keras doesn't exist, and --no-train forbids making it" in outcome.err


def test_the_work_told_to_the_engine_goes_by_the_stride(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from denoiser.inference import denoiser

    told: list[int] = []
    make = denoiser.Denoiser.__init__

    def watched(self: denoiser.Denoiser, *args: object, **options: object) -> None:
        told.append(options["work"])  # type: ignore[arg-type]
        make(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(denoiser.Denoiser, "__init__", watched)
    size = sum(path.stat().st_size for path in scans.rglob("*") if path.is_file())
    for options in (("--stride", 2), ("--quality", "fast"), ()):
        shutil.rmtree(tmp_path / "o", ignore_errors=True)
        assert denoise(scans, "--out", tmp_path / "o", "--model", identity, *options).code == 0
    strides = (2, denoiser.QUALITIES["fast"], denoiser.QUALITIES["balanced"])
    assert told == [size // stride**2 for stride in strides]


def test_verbose_tells_of_stdin_too(scans: Path, identity: Path) -> None:
    command = [sys.executable, "-m", "denoiser", "-", "--model", str(identity), "--verbose"]
    outcome = subprocess.run(command, input=(scans / "a.png").read_bytes(), capture_output=True, check=True)
    assert outcome.stdout[:4] == b"\x89PNG"
    assert b"stdin -> stdout: done by" in outcome.stderr


SLOW_PLUGIN = """
import time
from denoiser import hookimpl

@hookimpl
def preprocess(image):
    time.sleep(0.4)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_loses_nothing_and_goes_on(tmp_path: Path, identity: Path, how: int) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for index in range(8):
        Image.new("L", (200, 200), 20 * index).save(folder / f"{index}.png")
    (tmp_path / "slow.py").write_text(SLOW_PLUGIN)
    command = [sys.executable, "-m", "denoiser", str(folder), "--out", str(out), "--model", str(identity)]
    command += ["--plugin", str(tmp_path / "slow.py"), "--report", str(tmp_path / "look.html")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (out / "1.png").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(how)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "The same command goes on from here, and writes the report." in errors
    assert not (tmp_path / "look.html").exists()
    finished = tree(out)
    assert 2 <= len(finished) < 8
    assert not list(out.rglob(f"*{atomic.SUFFIX}"))
    for name in finished:
        assert pixels(out / name).shape == (200, 200)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (tmp_path / "look.html").exists()
    # The process that has just finished a file may end before it can tell: that one file is cleaned again.
    known = (len(finished), len(finished) - 1)
    assert any(f"{8 - count} cleaned, {count} up to date" in done.stderr for count in known)


def test_a_killed_run_leaves_no_half_file_that_counts(tmp_path: Path, identity: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for index in range(6):
        Image.new("L", (200, 200), 20 * index).save(folder / f"{index}.png")
    (tmp_path / "slow.py").write_text(SLOW_PLUGIN)
    command = [sys.executable, "-m", "denoiser", str(folder), "--out", str(out), "--model", str(identity)]
    command += ["--plugin", str(tmp_path / "slow.py")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (out / "1.png").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "failed" not in done.stderr
    assert tree(out) == [f"{index}.png" for index in range(6)]


# --- what must not be lost, or taken for success -----------------------------------------------------------


def test_comparisons_never_meet_inputs_outputs_or_strangers(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path
) -> None:
    out = tmp_path / "clean"
    for compare in (scans, tmp_path, out / "look", tmp_path / "clean"):
        outcome = denoise(scans, "--out", out, "--model", identity, "--compare", compare)
        assert outcome.code == 2, compare
        assert "--compare" in outcome.err
    for report in (tmp_path / "r.html", tmp_path / "r.html" / "in"):
        both = ("--compare", tmp_path / "r.html", "--report", report)
        outcome = denoise(scans, "--out", out, "--model", identity, *both)
        assert outcome.code == 2
        assert "--compare and --report must not lie in one another" in outcome.err
    look = tmp_path / "look"
    look.mkdir()
    (look / "a.png.png").write_text("precious")
    outcome = denoise(scans, "--out", out, "--model", identity, "--compare", look)
    assert outcome.code == 1
    assert "a.png.png exists and was not written by denoise" in outcome.err
    assert (look / "a.png.png").read_text() == "precious"
    assert denoise(scans, "--out", out, "--model", identity, "--compare", look, "--force").code == 0
    assert pixels(look / "a.png.png").ndim == 2


def test_pages_with_comparisons_are_up_to_date_too(denoise: Denoise, identity: Path, tmp_path: Path) -> None:
    pages = [Image.new("L", (40, 40), 50 * index) for index in range(3)]
    pages[0].save(tmp_path / "book.tif", save_all=True, append_images=pages[1:])
    common = (
        tmp_path / "book.tif",
        "--out",
        tmp_path / "o",
        "--model",
        identity,
        "--compare",
        tmp_path / "l",
    )
    assert denoise(*common).code == 0
    assert tree(tmp_path / "l") == [f"book.tif.page{index}.png" for index in (1, 2, 3)]
    assert "1 up to date" in denoise(*common).err


def test_a_strangers_file_is_not_ours_because_a_run_failed(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path
) -> None:
    good = (scans / "a.png").read_bytes()
    (scans / "a.png").write_bytes(good[:-100])
    common = (scans, "--out", tmp_path / "o", "--model", identity)
    assert denoise(*common).code == 1
    (tmp_path / "o/a.png").write_text("precious")
    (scans / "a.png").write_bytes(good)
    assert denoise(*common).code == 2
    assert (tmp_path / "o/a.png").read_text() == "precious"


def test_an_emptied_output_is_made_again(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path
) -> None:
    common = (scans, "--out", tmp_path / "o", "--model", identity)
    assert denoise(*common).code == 0
    (tmp_path / "o/a.png").write_bytes(b"")
    assert "1 cleaned, 2 up to date" in denoise(*common).err


def test_an_unset_variable_is_not_the_current_folder(
    denoise: Denoise, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(scans)
    assert denoise("", "--out", tmp_path / "o").code == 2
    assert denoise(scans, "--out", "").code == 2
    assert not (scans / record.FOLDER).exists()


def test_names_that_are_no_text(denoise: Denoise, identity: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    name = os.fsdecode(b"bad\xff\xfe.png")
    try:
        Image.new("L", (30, 30), 9).save(folder / name)
    except OSError:
        pytest.skip("this file system takes no such name")
    common = (folder, "--out", tmp_path / "o", "--model", identity)
    assert denoise(*common, "--dry-run").code == 0
    outcome = denoise(*common, "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out.splitlines()[0])["source"] == str(folder / name)
    assert "1 up to date" in denoise(*common).err


@pytest.mark.parametrize("where", ["file in the way", "loop", "record", "records"])
def test_folders_that_can_not_be_are_one_line(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path, where: str
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "odd" / record.NAME).mkdir(parents=True)
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / record.FOLDER).write_text("")
    out = {
        "file in the way": tmp_path / "file/sub",
        "loop": tmp_path / "loop",
        "record": tmp_path / "odd",
        "records": tmp_path / "strange",
    }[where]
    outcome = denoise(scans, "--out", out, "--model", identity)
    assert outcome.code in (2, 3)
    assert "Traceback" not in outcome.err
    assert str(out) in outcome.err
    assert len(outcome.err.strip().splitlines()) <= 2


def test_odd_things_in_a_folder_fail_alone(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path
) -> None:
    (scans / "self.png").symlink_to("self.png")
    os.mkfifo(scans / "pipe.png")
    outcome = denoise(scans, "--out", tmp_path / "o", "--model", identity)
    assert outcome.code == 1
    assert "pipe.png is not a regular file" in outcome.err
    assert "self.png can't be read" in outcome.err
    assert "3 cleaned, 2 failed" in outcome.err


def test_a_model_of_the_wrong_kind_under_a_networks_name(
    denoise: Denoise, store: Path, scans: Path, tmp_path: Path
) -> None:
    fakes.ink(store / "models" / "general.keras")
    outcome = denoise(scans, "--out", tmp_path / "o")
    assert outcome.code == 3
    assert "is of kind Autoencoder, and general of kind PatchAutoencoder" in outcome.err


def test_results_come_in_order(denoise: Denoise, identity: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for index in range(6):
        side = 200 if index % 2 else 40
        Image.new("L", (side, side), 9).save(folder / f"{index}.png")
    outcome = denoise(folder, "--out", tmp_path / "o", "--model", identity, "--json")
    names = [Path(json.loads(line)["source"]).name for line in outcome.out.splitlines()[:-1]]
    assert names == sorted(names)


@pytest.mark.parametrize("options", [("--max-megapixels", "nan"), ("--engine", "numpy", "--batch-size", "4")])
def test_values_that_can_not_be_meant(
    denoise: Denoise, scans: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    assert denoise(scans, "--out", tmp_path / "o", *options).code == 2

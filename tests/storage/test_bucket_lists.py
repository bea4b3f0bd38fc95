"""`--files-from` with URLs of objects: a real server, whole, in parts and on a cluster."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from denoiser.pipeline import shard
from tests.helpers.buckets import (
    FILES,
    NEEDS_A_BUCKET,
    Seen,
    contents,
    results,
    wait_for_images,
)
from tests.helpers.command import Denoise
from tests.helpers.processes import command, run

obstore: Any = pytest.importorskip("obstore")
pytestmark = NEEDS_A_BUCKET

PARTS = 3


@pytest.fixture
def scans(digits: Path, place: str) -> str:
    seen = Seen(f"{place}/scans")
    seen.put_all(digits)
    seen.put("a b/not named.png", b"no image")
    seen.put("later/not named.png", b"no image")
    return f"{place}/scans"


@pytest.fixture
def named(scans: str, cleaned: dict[str, bytes], tmp_path: Path) -> Path:
    """A list of all the digits, with one named twice."""
    urls = [f"{scans}/{name}" for name in sorted(cleaned)]
    return listed(tmp_path / "list", [urls[0], *urls])


def listed(path: Path, names: list[str], end: str = "\n") -> Path:
    path.write_bytes("".join(name + end for name in names).encode())
    return path


def test_a_list_of_urls_is_mirrored_below_the_folder_common_to_all(
    denoise: Denoise,
    named: Path,
    scans: str,
    model: Path,
    cleaned: dict[str, bytes],
    place: str,
    tmp_path: Path,
) -> None:
    nul = listed(tmp_path / "nul", named.read_text().splitlines(), "\0")
    for out, options in (
        (f"{place}/clean", ("--files-from", named)),
        (f"{place}/clean2", ("--files-from", nul, "-0", "--root", f"{scans}/")),
        (tmp_path / "two", ("--files-from", named)),
    ):
        arguments = (*options, "--out", out, "--model", model)
        outcome = denoise(*arguments)
        assert (outcome.code, f"{FILES} cleaned" in outcome.err) == (0, True), outcome.err
        assert f"Cleaning {scans} into {out}" in outcome.err
        assert results(out) == cleaned
        assert f"{FILES} up to date" in denoise(*arguments).err
    # The same images, searched or listed from another root, are known by the record of the list.
    objects = Seen(scans)
    for name in ("a b/not named.png", "later/not named.png"):
        obstore.delete(objects.store, name)
    assert f"{FILES} up to date" in denoise(scans, "--out", f"{place}/clean", "--model", model).err
    above = ("--files-from", named, "--root", place, "--out", f"{place}/clean3", "--model", model)
    assert denoise(*above).code == 0
    assert Seen(f"{place}/clean3").images() == {f"scans/{name}": cleaned[name] for name in cleaned}
    # Only what changed is done again.
    changed = sorted(cleaned)[3]
    objects.put(changed, objects.images()[sorted(cleaned)[4]])
    outcome = denoise("--files-from", named, "--out", f"{place}/clean", "--model", model, "--dry-run")
    assert [line.partition(" -> ")[0] for line in outcome.out.splitlines()] == [f"{scans}/{changed}"]


def test_a_list_of_paths_goes_into_a_bucket(
    denoise: Denoise,
    digits: Path,
    model: Path,
    cleaned: dict[str, bytes],
    place: str,
    tmp_path: Path,
) -> None:
    file = listed(tmp_path / "list", [f"{digits}/{name}" for name in sorted(cleaned)])
    arguments = ("--files-from", file, "--out", f"{place}/clean", "--model", model)
    assert f"{FILES} cleaned" in denoise(*arguments).err
    assert Seen(f"{place}/clean").images() == cleaned
    assert f"{FILES} up to date" in denoise(*arguments).err


def test_an_output_among_the_inputs_is_refused(
    denoise: Denoise, named: Path, scans: str, model: Path
) -> None:
    outcome = denoise("--files-from", named, "--out", scans, "--model", model, "--force")
    assert outcome.code == 2
    assert outcome.err == f"Error: The output {scans} is the input. Choose another place with --out.\n"


def test_parts_and_a_cluster_do_what_one_run_does(
    denoise: Denoise,
    named: Path,
    model: Path,
    cleaned: dict[str, bytes],
    place: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shard, "BLOCK", 4)
    arguments = ("--files-from", named, "--model", model, "--json")
    done = []
    for index in range(PARTS):
        outcome = denoise(*arguments, "--out", f"{place}/parts", "--shard", f"{index}/{PARTS}")
        assert outcome.code == 0, outcome.err
        done.append(json.loads(outcome.out.splitlines()[-1])["summary"]["done"])
    assert (sum(done), min(done) > 0) == (FILES, True)
    assert Seen(f"{place}/parts").images() == cleaned
    pytest.importorskip("distributed")
    told = run(*arguments[:-1], "--out", f"{place}/cluster", "--cluster", "local:2")
    assert (told.returncode, f"{FILES} cleaned" in told.stderr) == (0, True), told.stderr
    assert Seen(f"{place}/cluster").images() == cleaned


def test_a_list_on_stdin_that_is_stopped_goes_on(
    denoise: Denoise,
    named: Path,
    model: Path,
    cleaned: dict[str, bytes],
    place: str,
    slow: Path,
) -> None:
    arguments = ("--out", f"{place}/clean", "--model", model, "--plugin", slow)
    seen = Seen(f"{place}/clean")
    process = subprocess.Popen(
        command("--files-from", "-", *arguments),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "SLOW": "0.3"},
    )
    assert process.stdin is not None
    process.stdin.write(named.read_text())
    process.stdin.close()
    process.stdin = None
    wait_for_images(seen, 5, process)
    process.terminate()
    told = process.communicate(timeout=90)[1]
    assert (process.returncode, "Interrupted" in told) == (130, True), told
    recorded = [line for line in seen.record() if "sha256" in line]
    assert 5 <= len(recorded) < FILES
    outcome = denoise("--files-from", named, *arguments)
    assert f"{FILES - len(recorded)} cleaned, {len(recorded)} up to date" in outcome.err
    assert seen.images() == cleaned


def test_an_object_that_is_not_there_fails_alone(
    denoise: Denoise, named: Path, scans: str, model: Path, place: str, tmp_path: Path
) -> None:
    urls = [*named.read_text().splitlines()[:20], f"{scans}/a b/gone.png"]
    file = listed(tmp_path / "gone", urls)
    outcome = denoise("--files-from", file, "--out", f"{place}/clean", "--model", model)
    assert outcome.code == 1
    assert outcome.err.splitlines().count(f"Error: {scans}/a b/gone.png doesn't exist.") == 1
    assert "19 cleaned, 1 failed" in outcome.err
    assert len(Seen(f"{place}/clean").images()) == 19


def test_names_mean_what_they_say(
    denoise: Denoise, digits: Path, model: Path, place: str, tmp_path: Path
) -> None:
    """# and ? and %20 are letters of a name, in a list, in an input and in --out."""
    image = next(iter(contents(digits).values()))
    inputs = Seen(f"{place}/odd")
    names = ["no. 1#2.png", "what?.png", "a%20b.png", "100%.png", "ü+&=~.png"]
    for name in names:
        inputs.put(f"x#1?/{name}", image)
    inputs.put("x/other.png", image)
    file = listed(tmp_path / "list", [f"{place}/odd/x#1?/{name}" for name in names])
    out = f"{place}/out#1?%20"
    for number, arguments in enumerate((("--files-from", file), (f"{place}/odd/x#1?",))):
        outcome = denoise(*arguments, "--out", f"{out}{number}", "--model", model)
        assert outcome.code == 0, outcome.err
        there = Seen(place).all()
        made = {name for name in there if name.startswith("out") and ".denoise" not in name}
        assert {f"out#1?%20{number}/{name}" for name in names} <= made
    assert {name.partition("/")[0] for name in made} == {"out#1?%200", "out#1?%201"}


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
def test_the_command_that_sorts_a_list_of_urls(
    denoise: Denoise, named: Path, model: Path, place: str, tmp_path: Path
) -> None:
    urls = named.read_text().splitlines()
    random.Random(1).shuffle(urls)
    shuffled = listed(tmp_path / "shuffled", urls)
    arguments = ("--out", f"{place}/clean", "--model", model)
    told = denoise("--files-from", shuffled, *arguments).err
    subprocess.run(["sh", "-c", told.strip().partition("Sort it: ")[2]], check=True, cwd=tmp_path)
    assert f"{FILES} cleaned" in denoise("--files-from", tmp_path / "SORTED", *arguments).err

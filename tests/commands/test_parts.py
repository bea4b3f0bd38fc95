"""`--files-from` and `--shard`: a job from a list, and in parts."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers import fakes
from tests.helpers.command import Denoise
from tests.helpers.files import recorded, tree


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Folders of small images, of which one part has several blocks."""
    rng = np.random.default_rng(3)
    for box, count in (("a", 70), ("a/deep", 5), ("b", 130), ("c", 3)):
        folder = tmp_path / "archive" / box
        folder.mkdir(parents=True)
        for index in range(count):
            Image.fromarray(rng.integers(0, 256, (12, 16), np.uint8)).save(folder / f"{index}.png")
    return tmp_path / "archive"


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in tree(folder)}


def listed(path: Path, files: Sequence[Path | str], end: bytes = b"\n") -> Path:
    path.write_bytes(b"".join(os.fsencode(file) + end for file in files))
    return path


def images(archive: Path) -> list[Path]:
    """All of them, folder by folder."""
    return sorted(archive.rglob("*.png"), key=lambda path: (path.parent, path.name))


def test_a_byte_order_mark_is_no_part_of_the_first_name(
    denoise: Denoise, scans: Path, flattener: Path, tmp_path: Path
) -> None:
    """And a name that is not UTF-8 stays what it is."""
    strange = Path(os.fsdecode(bytes(scans) + b"/\xe9.png"))
    (scans / "b.png").rename(strange)
    file = listed(tmp_path / "list", [scans / "a.png", strange], b"\r\n")
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    outcome = denoise("--files-from", file, "--out", tmp_path / "o", "--model", flattener)
    assert outcome.code == 0, outcome.err
    assert set(map(os.fsencode, tree(tmp_path / "o"))) == {b"a.png", b"\xe9.png"}


def test_parts_together_are_the_whole_and_each_has_its_record(
    denoise: Denoise, archive: Path, flattener: Path, tmp_path: Path
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert denoise(archive, "--out", whole, "--model", flattener).code == 0
    told = [
        denoise(archive, "--out", parts, "--model", flattener, "--shard", f"{index}/3") for index in range(3)
    ]
    assert [outcome.code for outcome in told] == [0, 0, 0]
    assert contents(parts) == contents(whole)
    assert "part 1/3" in told[1].err
    assert [outcome.err.count("80 cleaned") + outcome.err.count("64 cleaned") for outcome in told] == [
        1,
        1,
        1,
    ]
    names = sorted(path.name for path in (parts / ".denoise").iterdir())
    assert names == [f"shard-{index}-of-3.jsonl" for index in range(3)]
    assert "208 up to date" in denoise(archive, "--out", parts, "--model", flattener).err
    assert "Nothing to do" in denoise(archive, "--out", parts, "--model", flattener, "--shard", "7/8").err


def test_a_list_is_mirrored_below_the_folder_common_to_all(
    denoise: Denoise, archive: Path, flattener: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert denoise(archive, "--out", tmp_path / "whole", "--model", flattener).code == 0
    wanted = contents(tmp_path / "whole")
    for name, end in (("lines", b"\n"), ("windows", b"\r\n"), ("nul", b"\0")):
        file = listed(tmp_path / name, images(archive), end)
        zero = ("-0",) if end == b"\0" else ()
        outcome = denoise("--files-from", file, *zero, "--out", tmp_path / f"o-{name}", "--model", flattener)
        assert outcome.code == 0, outcome.err
        assert "Cleaning 208 images" in outcome.err
        assert contents(tmp_path / f"o-{name}") == wanted
    monkeypatch.chdir(archive)
    file = listed(tmp_path / "relative", [Path("b/1.png"), Path("./b/2.png"), Path("b/1.png")])
    common = ("--files-from", file, "--model", flattener)
    assert denoise(*common, "--out", tmp_path / "1").code == 0
    assert tree(tmp_path / "1") == ["1.png", "2.png"]
    assert denoise(*common, "--root", ".", "--out", tmp_path / "2").code == 0
    assert tree(tmp_path / "2") == ["b/1.png", "b/2.png"]
    assert "2 up to date" in denoise(*common, "--root", archive, "--out", tmp_path / "2").err


def test_a_list_on_stdin_in_parts(archive: Path, flattener: Path, tmp_path: Path) -> None:
    text = b"".join(os.fsencode(path) + b"\n" for path in images(archive))
    for index in range(2):
        command = [sys.executable, "-m", "denoiser", "--files-from", "-", "--shard", f"{index}/2"]
        command += ["--out", str(tmp_path / "o"), "--model", str(flattener), "--format", "tiff"]
        done = subprocess.run(command, input=text, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "o") == sorted(
        path.relative_to(archive).with_suffix(".tif").as_posix() for path in images(archive)
    )


@pytest.mark.skipif(os.name == "nt", reason="needs a shell")
@pytest.mark.parametrize("end", [b"\n", b"\0"])
def test_a_list_that_is_not_sorted_is_refused_with_a_command_that_sorts_it(
    denoise: Denoise, archive: Path, flattener: Path, tmp_path: Path, end: bytes
) -> None:
    files = images(archive)
    random.Random(1).shuffle(files)
    file = listed(tmp_path / "the list", files, end)
    zero = ("-0",) if end == b"\0" else ()
    out = tmp_path / "o"
    outcome = denoise("--files-from", file, *zero, "--out", out, "--model", flattener)
    assert outcome.code == 2
    assert "isn't sorted by folder" in outcome.err
    assert not out.exists()
    command = outcome.err.strip().partition("Sort it: ")[2]
    subprocess.run(["sh", "-c", command], check=True, cwd=tmp_path)
    lines = (tmp_path / "SORTED").read_bytes().split(end)
    assert sorted(lines[:-1]) == sorted(map(os.fsencode, files))
    outcome = denoise("--files-from", tmp_path / "SORTED", *zero, "--out", out, "--model", flattener)
    assert outcome.code == 0, outcome.err
    assert len(tree(out)) == 208


SLIPS = {
    "both": (("scans", "--files-from", "list"), "exclude each other"),
    "alone": (("scans", "--root", "scans"), "--root is for the list"),
    "no end": (("scans", "--null"), "--null is for the list"),
    "empty": (("--files-from", "empty"), "names no files"),
    "missing": (("--files-from", "missing"), "The list missing can't be read: No such file"),
    "a folder": (("--files-from", "scans"), "The list scans can't be read: Is a directory"),
    "not below": (("--files-from", "list", "--root", "scans/box"), "is not below"),
    "a folder in it": (("--files-from", "folders"), "scans/ in line 1 is no file"),
    "NUL": (("--files-from", "nul"), "Add -0"),
    "same": (("--files-from", "list", "--out", "scans"), "is the input folder"),
    "watched": (("--files-from", "list", "--watch", 1), "--watch goes without --files-from"),
    "watched part": (("scans", "--shard", "0/2", "--watch", 1), "--watch goes without --shard"),
    "page": (("scans", "--shard", "0/2", "--report", "r"), "--shard goes without --report"),
    "one image": (("scans/a.png", "--shard", "0/2", "--out", "x.png"), "has no parts"),
    "stdin": (("-", "--shard", "0/2"), "has no parts"),
}


@pytest.mark.skipif(os.name == "nt", reason="the system's words")
@pytest.mark.parametrize("case", SLIPS)
def test_a_slip_is_answered_by_one_line(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list").write_text("scans/a.png\nscans/b.png\n")
    (tmp_path / "empty").write_text("\n\n")
    (tmp_path / "folders").write_text("scans/\n")
    (tmp_path / "nul").write_bytes(b"scans/a.png\0scans/b.png\0")
    before = contents(scans)
    arguments, message = SLIPS[case]
    out = () if "--out" in arguments or arguments[0] == "-" else ("--out", "o")
    outcome = denoise(*arguments, *out, "--model", identity)
    assert outcome.code == 2, outcome.err
    assert message in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert contents(scans) == before


LISTS = {
    "mixed": (
        ["s3://arch/a/1.png", "scans/2.png"],
        (),
        "mixes paths and URLs: line 1 is a URL, and line 2 a path. Make two lists of them.",
    ),
    "mixed, a path first": (
        ["/a/1.png", "s3://arch/a/1.png"],
        (),
        "mixes paths and URLs: line 1 is a path, and line 2 a URL. Make two lists of them.",
    ),
    "two buckets": (
        ["s3://one/a/1.png", "s3://two/a/1.png"],
        (),
        "s3://one/a and s3://two/a have no folder in common. Make two lists of them.",
    ),
    "not sorted": (
        ["s3://arch/a/1.png", "s3://arch/b/1.png", "s3://arch/a/2.png"],
        (),
        "isn't sorted by folder: line 3 comes back to s3://arch/a. Sort it: ",
    ),
    "not below": (
        ["s3://arch/a/1.png", "s3://arch/ab/1.png"],
        ("--root", "s3://arch/a"),
        "s3://arch/ab/1.png is not below s3://arch/a, the --root folder.",
    ),
    "a root on the disk": (["s3://arch/a/1.png"], ("--root", "."), "--root . is a folder, and the list"),
    "a root in a bucket": (
        ["a/1.png"],
        ("--root", "s3://arch/a"),
        "--root s3://arch/a is a URL, and the list",
    ),
    "a bucket": (["s3://arch"], (), "s3://arch in line 1 is no file."),
    "a folder": (["s3://arch/a/"], (), "s3://arch/a/ in line 1 is no file."),
    "no such name": (
        ["s3://arch/a//b.png"],
        (),
        "s3://arch/a//b.png in line 1 has a part that is empty, . or ..",
    ),
    "compared": (
        ["s3://arch/a/1.png"],
        ("--compare", "c"),
        "--compare works with folders, and not with URLs.",
    ),
}


@pytest.mark.parametrize("case", LISTS)
def test_a_list_that_can_not_be_meant_is_answered_by_one_line(
    denoise: Denoise, identity: Path, tmp_path: Path, case: str
) -> None:
    names, options, message = LISTS[case]
    file = listed(tmp_path / "list", names)
    outcome = denoise("--files-from", file, "--out", tmp_path / "o", "--model", identity, *options)
    assert outcome.code == 2, outcome.err
    assert message in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert not (tmp_path / "o").exists()


def test_a_file_of_the_list_that_is_not_there_fails_alone(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path
) -> None:
    file = listed(tmp_path / "list", [scans / "a.png", scans / "gone.png", scans / "b.png"])
    outcome = denoise("--files-from", file, "--out", tmp_path / "o", "--model", identity, "--json")
    assert outcome.code == 1
    rows = [json.loads(line) for line in outcome.out.splitlines()]
    assert [row["status"] for row in rows[:-1]] == ["done", "failed", "done"]


def test_an_output_that_the_list_names_as_an_input_is_refused(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path
) -> None:
    (scans / "box/a.png").write_bytes((scans / "a.png").read_bytes())
    file = listed(tmp_path / "list", [scans / "a.png", scans / "box/a.png"])
    outcome = denoise("--files-from", file, "--out", scans / "box", "--model", identity, "--force")
    assert outcome.code == 2
    assert "box/a.png is an input; inputs are never written to" in outcome.err


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="kills groups of processes")
def test_parts_at_the_same_time_that_are_killed_and_repeated_do_what_is_left(
    archive: Path, tmp_path: Path
) -> None:
    model = fakes.flattener(tmp_path / "m.keras")
    slow = tmp_path / "slow.py"
    slow.write_text(
        "import os, time\nfrom denoiser import hookimpl\n@hookimpl\n"
        "def preprocess(image): time.sleep(float(os.environ.get('SLOW', '0')))\n"
    )
    common = [sys.executable, "-m", "denoiser", str(archive), "--model", str(model), "--plugin", str(slow)]

    def begin(out: Path, *more: str, seconds: float = 0.0) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*common, "--out", str(out), *more],
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "SLOW": str(seconds)},
        )

    whole, out = tmp_path / "whole", tmp_path / "parts"
    assert begin(whole).wait(120) == 0
    chance, parts = random.Random(5), ("0/3", "1/3", "2/3")
    for number in (signal.SIGKILL, signal.SIGTERM):
        # So slow that none is at its end when it is killed, however late this machine notices.
        # Nor equally slow: a part writes a group of files at once, and all of them could at one moment.
        running = [begin(out, "--shard", part, seconds=0.1 + 0.1 * index) for index, part in enumerate(parts)]
        until = time.monotonic() + 60
        wanted = len(tree(out)) + chance.randint(10, 30)
        while len(tree(out)) < wanted and time.monotonic() < until:
            time.sleep(0.01)
        for process in running:
            os.killpg(process.pid, number)
        for process in running:
            process.communicate(timeout=60)
        left = out / "a" / ".1.png.0123456789ab.denoise-tmp"
        left.parent.mkdir(parents=True, exist_ok=True)  # perhaps no part has come to this folder yet
        left.write_bytes(b"perhaps another machine's")
    done = {json.loads(line)["output"] for line in recorded(out) if "sha256" in line and line.endswith("}")}
    assert 0 < len(done) < 208
    running = [begin(out, "--shard", part) for part in parts]
    errors = [process.communicate(timeout=120)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], errors
    assert left.exists()
    last = begin(out).communicate(timeout=60)[
        1
    ]  # knows that no other is at work, and removes what is left over
    assert "208 up to date" in last
    assert contents(out) == contents(whole)
    told = [line for text in errors for line in text.splitlines() if "up to date" in line]
    assert sum(int(line.partition(" up to date")[0].split()[-1]) for line in told) >= len(done) - 6

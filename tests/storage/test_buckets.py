"""Runs from and to a bucket of a real server: the same bytes, whatever is there, whenever it is stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from denoiser.pipeline import segments, transfer
from tests.helpers.buckets import (
    FILES,
    NEEDS_A_BUCKET,
    Seen,
    contents,
    plugin,
    results,
    wait_for_images,
)
from tests.helpers.command import Denoise
from tests.helpers.processes import error_of, run

obstore: Any = pytest.importorskip("obstore")
pytestmark = NEEDS_A_BUCKET


def test_folders_and_buckets_mix_and_what_is_done_is_left(
    denoise: Denoise,
    digits: Path,
    model: Path,
    cleaned: dict[str, bytes],
    place: str,
    tmp_path: Path,
) -> None:
    scans = Seen(f"{place}/scans")
    scans.put_all(digits)
    scans.put(".hidden/x.png", b"no image")
    scans.put("notes.txt", b"no image")
    ways = {
        "bucket to bucket": (f"{place}/scans", f"{place}/clean"),
        "folder to bucket": (digits, f"{place}/clean2"),
        "bucket to folder": (f"{place}/scans", tmp_path / "two"),
    }
    for way, (source, out) in ways.items():
        outcome = denoise(source, "--out", out, "--model", model)
        assert (outcome.code, f"{FILES} cleaned" in outcome.err) == (0, True), (way, outcome.err)
        made = results(out)
        assert made == cleaned, way
        outcome = denoise(source, "--out", out, "--model", model, "--json")
        rows = [json.loads(line) for line in outcome.out.splitlines()]
        assert rows[-1]["summary"]["up_to_date"] == FILES, way
        assert rows[-1]["summary"]["not_tried"] == 0, way
        if not isinstance(source, Path):
            assert {row["source"] for row in rows[:-1]} == {f"{source}/{name}" for name in cleaned}
    assert denoise("report", tmp_path / "two", "--to", tmp_path / "look").code == 0
    lines = map(json.loads, (tmp_path / "look" / "results.jsonl").read_text().splitlines())
    told = {line["source"]: (line["status"], line["notes"]) for line in lines}
    urls = [f"{place}/scans/{name}" for name in cleaned]
    assert told == {url: ("done", [f"it is not compared, as its input is {url}"]) for url in urls}
    # A changed input, a changed setting, and an output that is gone, are done again; nothing else is.
    changed = next(iter(cleaned))
    scans.put(changed, contents(digits)[next(reversed(cleaned))])
    gone = sorted(cleaned)[5]
    obstore.delete(Seen(f"{place}/clean").store, gone)
    outcome = denoise(f"{place}/scans", "--out", f"{place}/clean", "--model", model, "--dry-run")
    assert sorted(line.partition(" -> ")[0] for line in outcome.out.splitlines()) == sorted(
        {f"{place}/scans/{changed}", f"{place}/scans/{gone}"}
    )
    outcome = denoise(f"{place}/scans", "--out", f"{place}/clean", "--model", model)
    assert f"2 cleaned, {FILES - 2} up to date" in outcome.err
    outcome = denoise(digits, "--out", f"{place}/clean2", "--model", model, "--strength", "0.5")
    assert f"{FILES} cleaned" in outcome.err


def test_a_run_that_is_killed_leaves_whole_objects_and_is_finished_later(
    digits: Path,
    model: Path,
    cleaned: dict[str, bytes],
    place: str,
    slow: Path,
    denoise: Denoise,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = [digits, "--out", f"{place}/clean", "--model", model, "--plugin", slow]
    code = (
        "import sys; from denoiser.pipeline import pipeline; pipeline.OBJECTS = 4;"
        f"sys.argv = {['denoise', *map(str, arguments)]!r}; from denoiser.__main__ import main; main()"
    )
    seen = Seen(f"{place}/clean")
    for how in (signal.SIGKILL, signal.SIGTERM):
        before = len(seen.images())
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "SLOW": "0.3"},
        )
        wait_for_images(seen, before + 5, process)
        process.send_signal(how)
        told = process.communicate(timeout=90)[1]
        assert "Traceback" not in told, told
        if how == signal.SIGTERM:
            assert process.returncode == 130, told
            assert "Interrupted" in told
        there = seen.images()
        assert 5 <= len(there) < FILES
        assert all(cleaned[name] == content for name, content in there.items())
        if how == signal.SIGKILL:
            for name in there:
                obstore.put(seen.store, name, there[name])  # and another time of the same content
    recorded = {line["output"] for line in seen.record() if "sha256" in line}
    assert recorded <= set(seen.images())
    assert recorded
    outcome = denoise(*arguments)
    assert outcome.code == 0, outcome.err
    assert f"{len(recorded)} up to date" in outcome.err
    assert seen.images() == cleaned
    assert denoise(*arguments, "--json").out.count('"up to date"') == FILES


def test_what_others_have_put_there_stays(
    denoise: Denoise, digits: Path, model: Path, cleaned: dict[str, bytes], place: str
) -> None:
    seen = Seen(f"{place}/clean")
    foreign = sorted(cleaned)[3]
    seen.put(foreign, b"of somebody else")
    arguments = (digits, "--out", f"{place}/clean", "--model", model)
    outcome = denoise(*arguments)
    assert outcome.code == 2
    assert f"{place}/clean/{foreign} exists and was not written by denoise. Use --force" in outcome.err
    assert seen.all() == {foreign: b"of somebody else"}
    outcome = denoise(*arguments, "--keep")
    assert f"{FILES - 1} cleaned, 1 left alone" in outcome.err
    assert seen.images() == {**cleaned, foreign: b"of somebody else"}
    outcome = denoise(*arguments, "--force")
    assert outcome.code == 0
    assert seen.images() == cleaned
    # One of ours that somebody has changed is theirs.
    seen.put(foreign, b"changed")
    assert denoise(*arguments).code == 2
    assert seen.images()[foreign] == b"changed"


def test_what_others_put_there_meanwhile_stays(
    digits: Path,
    model: Path,
    cleaned: dict[str, bytes],
    place: str,
    tmp_path: Path,
    denoise: Denoise,
) -> None:
    seen = Seen(f"{place}/clean")
    equal = sorted(cleaned)[4]
    foreign = sorted(cleaned)[3]
    (tmp_path / "equal").write_bytes(cleaned[equal])
    rival = plugin(
        tmp_path,
        "import obstore, os\n"
        "    from obstore.store import from_url\n"
        f"    store = from_url({place + '/clean'!r})\n"
        f"    if page.path.name == {Path(foreign).name!r}:\n"
        f"        obstore.put(store, {foreign!r}, b'first')\n"
        f"    if page.path.name == {Path(equal).name!r}:\n"
        f"        obstore.put(store, {equal!r}, (HERE / 'equal').read_bytes())",
    )
    arguments = (digits, "--out", f"{place}/clean", "--model", model, "--plugin", rival)
    outcome = denoise(*arguments)
    assert outcome.code == 1, outcome.err
    assert (
        f"Error: {digits}/{foreign} can't be put: {place}/clean/{foreign} exists and was not" in outcome.err
    )
    assert f"{FILES - 1} cleaned, 1 failed" in outcome.err  # the same content is as good as ours
    assert seen.images() == {**cleaned, foreign: b"first"}
    assert denoise(*arguments).code == 2


def test_one_line_for_each_thing_that_can_not_be(
    denoise: Denoise, digits: Path, model: Path, place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def told(*arguments: object) -> tuple[int, str]:
        outcome = denoise(*arguments, "--model", model)
        lines = [line for line in outcome.err.splitlines() if line]
        assert len(lines) == 1, outcome.err
        return outcome.code, lines[0]

    out = f"{place}/clean"
    assert told(digits, "--out", "s3://no-such-bucket/x") == (
        3,
        "Error: s3://no-such-bucket/x: there is no such bucket. Check its name.",
    )
    assert told(f"{place}/nothing", "--out", out) == (
        2,
        f"Error: {place}/nothing: there is nothing. Check the name.",
    )
    assert told(f"{place}/*.png", "--out", out) == (
        2,
        f"Error: {place}/*.png: there is nothing. Patterns go to --glob.",
    )
    assert told(place, "--out", tmp_path / "x.png") == (
        2,
        (
            f"Error: --out {tmp_path}/x.png names a file, and what URLs name goes into a folder."
            f" Name a folder: --out {tmp_path}/x"
        ),
    )
    assert told(digits, "--out", "sftp://host/x")[1].startswith("Error: Nothing here opens sftp:// URLs.")
    local = f"file://{tmp_path}/x"
    assert told(digits, "--out", local)[1].startswith(
        f"Error: {local} is a URL of a local file. Write the path"
    )
    for option in (("--compare", tmp_path / "c"), ("--report", tmp_path / "r")):
        code, text = told(digits, "--out", out, *option)
        assert (code, text.startswith(f"Error: {option[0]} works with folders, and not with URLs.")) == (
            2,
            True,
        )
    for name in ("--compare", "--report"):
        code, text = told(digits, "--out", tmp_path / "o", name, f"{place}/look")
        assert (code, f"{place}/look is a URL, and only a path of this machine will do." in text) == (2, True)
    outcome = denoise("report", out, "--to", tmp_path / "r")
    assert (outcome.code, f"Error: Invalid value for 'OUT': {out} is a URL" in outcome.err) == (2, True)
    outcome = denoise("report", digits, "--to", out)
    assert (outcome.code, f"{out} is a URL" in outcome.err) == (2, True)
    assert not Path("s3:").exists()
    code, text = told(place, "--out", place)
    assert (code, "is the input" in text) == (2, True)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    code, text = told(digits, "--out", out)
    assert (code, text.startswith(f"Error: {out}: the credentials are refused. They come from")) == (3, True)
    assert "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in text
    monkeypatch.setenv("AWS_ALLOW_HTTP", "false")
    code, text = told(digits, "--out", out)
    assert (code, "it is not encrypted, for which AWS_ALLOW_HTTP=true must be set." in text) == (3, True)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    for address, why in (
        ("http://127.0.0.1:9", "Connection refused"),
        ("http://nowhere.invalid:80", "there is no such host"),
    ):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        assert told(digits, "--out", out) == (
            3,
            f"Error: {out} can't be reached: {address}: {why}. The same command goes on from here.",
        )
    monkeypatch.setitem(sys.modules, "obstore", None)  # as without the extra
    code, text = told(digits, "--out", out)
    assert (code, "pip install 'denoiser[cloud]'" in text) == (3, True)


@pytest.mark.parametrize("profile", ["none", "AWS_PROFILE", "file"])
def test_no_credentials_at_all_say_what_to_set(
    denoise: Denoise, digits: Path, place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, profile: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    # Where a machine of Amazon's would be asked for its role, which is refused here.
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", os.environ["AWS_ENDPOINT_URL"])
    if profile == "AWS_PROFILE":
        monkeypatch.setenv(profile, "work")
    elif profile == "file":
        (tmp_path / ".aws").mkdir()
        (tmp_path / ".aws/credentials").write_text("[default]\n")
    for source, out in ((digits, f"{place}/clean"), (f"{place}/scans", tmp_path / "o")):
        outcome = denoise(source, "--out", out, "--model", "digits")
        url = next(str(each) for each in (source, out) if "://" in str(each))
        assert outcome.code == 3
        hint = "" if profile == "none" else f" {PROFILES}"
        assert outcome.err == (
            f"Error: {url}: there are no credentials. They come from the environment: AWS_ACCESS_KEY_ID and"
            f" AWS_SECRET_ACCESS_KEY.{hint}\n"
        )
    assert not (tmp_path / "o").exists()


PROFILES = (
    'Profiles are not read; this sets them from one: eval "$(aws configure export-credentials --format env)"'
)


def test_one_object_one_damaged_and_other_formats(
    denoise: Denoise, digits: Path, model: Path, place: str, tmp_path: Path
) -> None:
    scans, clean = Seen(f"{place}/scans"), Seen(f"{place}/clean")
    image = next(iter(contents(digits).values()))
    scans.put("a/x.png", image)
    outcome = denoise(f"{place}/scans/a/x.png", "--out", f"{place}/clean", "--model", model)
    assert outcome.code == 0, outcome.err
    assert list(clean.images()) == ["x.png"]
    scans.put("a/x.tif", b"no image")
    outcome = denoise(f"{place}/scans", "--out", f"{place}/tiffs", "--model", model, "--format", "tiff")
    assert outcome.code == 1
    assert f"{place}/scans/a/x.tif" in outcome.err
    assert "as another input is" in outcome.err
    assert "a/x.tif" in Seen(f"{place}/tiffs").images()
    # A folder that holds results is left out, and so is the output below the input.
    assert denoise(f"{place}/scans", "--out", f"{place}/scans/b", "--model", model).code == 1
    outcome = denoise(f"{place}/scans", "--out", f"{place}/other", "--model", model)
    assert f"Note: {place}/scans/b holds results of denoise and is left out." in outcome.err
    assert set(Seen(f"{place}/other").images()) == {"a/x.png"}


def test_many_segments_are_put_together(
    denoise: Denoise,
    digits: Path,
    model: Path,
    place: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transfer, "RECORD_FILES", 3)
    monkeypatch.setattr(segments, "MOST_SEGMENTS", 5)
    arguments = (digits, "--out", f"{place}/clean", "--model", model)
    assert denoise(*arguments).code == 0
    seen = Seen(f"{place}/clean")
    lines = seen.record()
    assert len(seen.all()) - FILES > 20
    before = seen.all()
    assert denoise(*arguments, "--dry-run").code == 0
    assert seen.all() == before
    assert f"{FILES} up to date" in denoise(*arguments).err
    assert len(seen.all()) - FILES == 1
    assert seen.record() == lines
    assert f"{FILES} up to date" in denoise(*arguments).err


def test_the_keras_engine_cleans_objects_as_it_cleans_files(
    digits: Path, model: Path, place: str, tmp_path: Path
) -> None:
    """Whole, with a plugin, beside an object that is no image, and then there is nothing left to do."""
    pytest.importorskip("tensorflow")
    told = plugin(tmp_path, "return 1 - image")
    scans, clean = Seen(f"{place}/scans"), Seen(f"{place}/clean")
    scans.put_all(digits)
    options = ("--model", model, "--plugin", told)
    one = run(digits, "--out", tmp_path / "one", *options)
    assert one.returncode == 0, one.stderr
    expected = contents(tmp_path / "one")
    scans.put("a b/bad.png", b"no image")
    outcome = run(f"{place}/scans", "--out", f"{place}/clean", *options, "--engine", "keras")
    assert outcome.returncode == 1, outcome.stderr
    assert f"{place}/scans/a b/bad.png" in error_of(outcome)
    assert f"{FILES} cleaned, 1 failed" in outcome.stderr
    assert "keras on " in outcome.stderr
    made = clean.images()
    assert made.keys() == expected.keys()
    for name, content in made.items():  # the engines differ by less than a level, before rounding
        theirs, ours = (np.asarray(Image.open(BytesIO(each)), np.int16) for each in (expected[name], content))
        assert np.abs(theirs - ours).max() <= 1, name
    again = run(f"{place}/scans", "--out", f"{place}/clean", *options, "--engine", "keras")
    assert f"{FILES} up to date, 1 failed" in again.stderr, again.stderr
    assert clean.images() == made


def test_the_keras_engine_interrupted_among_objects_leaves_them_whole(
    digits: Path, model: Path, place: str, tmp_path: Path
) -> None:
    pytest.importorskip("tensorflow")
    clean = Seen(f"{place}/clean")
    told = plugin(
        tmp_path,
        "import os, signal\n"
        "    if page.path.name == '22.png' and not (HERE / 'once').exists():\n"
        "        (HERE / 'once').touch()\n"
        "        os.kill(os.getpid(), signal.SIGINT)",
    )
    arguments = (digits, "--out", f"{place}/clean", "--model", model, "--plugin", told, "--engine", "keras")
    outcome = run(*arguments)
    assert outcome.returncode == 130, outcome.stderr
    again = run(*arguments)
    assert again.returncode == 0, again.stderr
    assert clean.images().keys() == contents(digits).keys()
    for content in clean.images().values():
        Image.open(BytesIO(content)).load()

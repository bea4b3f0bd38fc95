"""Plugins through the real `--plugin`, the pathological ones first of all."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from denoiser.errors import PluginError
from denoiser.plugins import loading, manager
from tests.helpers.command import Denoise
from tests.helpers.files import pixels
from tests.helpers.plugins import PLUGINS, plugin

log = logging.getLogger(__name__)


def test_both_halves_run(denoise: Denoise, scans: Path, identity: Path, tmp_path: Path) -> None:
    invert = PLUGINS / "invert.py"
    common = (scans / "a.png", "--model", identity, "--plugin", invert)
    outcome = denoise(*common, "--out", tmp_path / "o")
    assert outcome.code == 0
    assert "invert" in outcome.err.splitlines()[0]
    np.testing.assert_array_equal(pixels(tmp_path / "o/a.png"), pixels(scans / "a.png"))
    half = plugin(tmp_path, "half", "@hookimpl\ndef postprocess(image, original):\n    return original / 2\n")
    assert denoise(*common, "--plugin", half, "--out", tmp_path / "p").code == 0
    expected = 255 - np.rint(pixels(scans / "a.png") / 2)
    np.testing.assert_allclose(pixels(tmp_path / "p/a.png"), expected, atol=1)


def test_order_is_the_order_given_and_the_second_half_is_its_reverse(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    body = """
    def note(text):
        with open({log!r}, "a") as file:
            file.write(text + " ")

    @hookimpl
    def preprocess(page):
        note("{name}-before")

    @hookimpl({first})
    def postprocess(image, page):
        note("{name}-after")
    """
    options: list[object] = []
    for name, first in (("b", ""), ("a", "tryfirst=True"), ("c", "")):
        options += ["--plugin", plugin(tmp_path, name, body.format(log=str(log), name=name, first=first))]
    options += options[:2]  # twice is once
    assert denoise(scans / "a.png", "--out", tmp_path / "o", "--model", identity, *options).code == 0
    assert log.read_text().split() == ["b-before", "a-before", "c-before", "c-after", "a-after", "b-after"]


def test_a_page_tells_its_facts(denoise: Denoise, scans: Path, identity: Path, tmp_path: Path) -> None:
    spy = plugin(
        tmp_path,
        "spy",
        f"""
        @hookimpl
        def preprocess(image, page):
            assert image.dtype == np.float32 and image.ndim == 2
            with open({str(tmp_path / "seen")!r}, "a") as file:
                facts = page.path.name, f"{{page.index}}/{{page.count}}", str(page.depth), page.mode
                file.write(" ".join(facts) + "\\n")
        """,
    )
    outcome = denoise(scans, "--out", tmp_path / "o", "--model", identity, "--plugin", spy)
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "seen").read_text().splitlines() == ["a.png 0/1 8 L", "b.png 0/1 8 L", "c.tif 0/1 8 L"]


FAULTS = {
    "raises": ("    raise ValueError('no text found')", "failed in preprocess: ValueError: no text found"),
    "list": ("    return [1]", "returned a list"),
    "shape": ("    return image[None]", r"an array of shape \(1, "),
    "integers": ("    return (255 * image).astype(np.uint8)", "an array of uint8"),
    "nan": ("    return image * np.nan", "NaN or infinite"),
    "masked": ("    return np.ma.masked_less(image, 2)", "returned a MaskedArray"),
    "empty": ("    return image[:0]", r"an array of shape \(0, "),
    "in place": ("    image[:] = 0", "read-only"),
    "exits": ("    raise SystemExit(0)", "failed in preprocess: SystemExit"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_names_the_plugin_fails_the_file_and_leaves_no_output(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path, fault: str
) -> None:
    import re

    body, reason = FAULTS[fault]
    guarded = f"@hookimpl\ndef preprocess(image, page):\n    if page.path.name != 'b.png': return\n{body}\n"
    bad = plugin(tmp_path, "bad", guarded)
    outcome = denoise(scans, "--out", tmp_path / "o", "--model", identity, "--plugin", bad)
    assert outcome.code == 1
    errors = [line for line in outcome.err.splitlines() if line.startswith("Error")]
    assert len(errors) == 1
    assert re.search(rf"b\.png: plugin bad .*{reason}", errors[0])
    assert not (tmp_path / "o/b.png").exists()
    assert (tmp_path / "o/a.png").exists()


BROKEN = {
    "misspelt": (
        "@hookimpl\ndef preproces(image): ...\n",
        r"^Error: Plugin bad \(\S+/bad\.py\): there is no hook preproces\. Did you mean preprocess\?\n$",
    ),
    "unknown": (
        "@hookimpl\ndef preprocess(image): ...\n@hookimpl\ndef sharpen(image): ...\n",
        r"^Error: Plugin bad \(\S+/bad\.py\): there is no hook sharpen\. The hooks are: preprocess, ",
    ),
    "unmarked": ("def preprocess(image): ...\n", "has no hooks"),
    "argument": ("@hookimpl\ndef preprocess(picture): ...\n", "picture"),
    "default": (
        "@hookimpl\ndef preprocess(image, much=0.5): ...\n",
        r"preprocess has an argument much, which it never gets\. The arguments of preprocess are: image, ",
    ),
    "endings": (
        "SUFFIXES = ('.nii.gz',)\n@hookimpl\ndef read_pages(path): ...\n",
        r"SUFFIXES is \('\.nii\.gz',\)\. It needs the last endings of names",
    ),
    "wrapper": ("@hookimpl(wrapper=True)\ndef preprocess(image):\n    return (yield)\n", "wrapper"),
    "syntax": ("def preprocess(image:\n", r"SyntaxError: '\(' was never closed \(bad\.py, line 3\)\. Fix"),
    "import": ("import no_such_module\n", "No module named 'no_such_module'"),
    "exits": ("raise SystemExit(0)\n", "SystemExit"),
    "raises": ("raise RuntimeError('boom')\n", r"RuntimeError: boom \(line 3\)"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_plugin_that_can_not_be_stops_the_start(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path, case: str
) -> None:
    import re

    body, reason = BROKEN[case]
    bad = plugin(tmp_path, "bad", body)
    outcome = denoise(scans, "--out", tmp_path / "o", "--model", identity, "--plugin", bad)
    assert outcome.code == 3
    assert "bad" in outcome.err
    assert re.search(reason, outcome.err), outcome.err
    assert "Traceback" not in outcome.err
    assert not (tmp_path / "o").exists()


def test_what_is_not_there_is_named(denoise: Denoise, scans: Path, tmp_path: Path) -> None:
    for spec in ("nowhere.py", "no_such_module", ""):
        outcome = denoise(scans, "--out", tmp_path / "o", "--plugin", spec)
        assert outcome.code == 3
        assert spec in outcome.err


def test_printing_plugins_do_not_spoil_data(scans: Path, identity: Path, tmp_path: Path) -> None:
    noisy = plugin(
        tmp_path, "noisy", "print('hello')\n@hookimpl\ndef preprocess(image):\n    print('working')\n"
    )
    options = ["--model", str(identity), "--plugin", str(noisy)]
    command = [sys.executable, "-m", "denoiser"]
    content = (scans / "a.png").read_bytes()
    done = subprocess.run([*command, "-", *options], input=content, capture_output=True, check=True)
    assert done.stdout.startswith(b"\x89PNG")
    assert b"working" in done.stderr
    job = [*command, str(scans), "--out", str(tmp_path / "o"), "--json", *options]
    done = subprocess.run(job, capture_output=True, check=True)
    assert [json.loads(line) for line in done.stdout.splitlines()]
    for name in ("plugins", "noises"):
        listing = [*command, name, "--json", "--no-plugins", "--plugin", str(noisy)]
        done = subprocess.run(listing, capture_output=True, check=True)
        assert json.loads(done.stdout)
        assert b"hello" in done.stderr


def test_a_changed_plugin_makes_outputs_stale(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path
) -> None:
    step = plugin(tmp_path, "step", "@hookimpl\ndef preprocess(image):\n    return image / 2\n")
    common = (scans, "--out", tmp_path / "o", "--model", identity, "--plugin", step)
    assert "3 cleaned" in denoise(*common).err
    assert "3 up to date" in denoise(*common).err
    plugin(tmp_path, "step", "@hookimpl\ndef preprocess(image):\n    return image / 3\n")
    assert "3 cleaned" in denoise(*common).err


class Point:
    """An entry point of an installed package."""

    def __init__(self, name: str, load: Callable[[], object]) -> None:
        self.name, self.load, self.value, self.dist = name, load, f"package.{name}", None


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two installed plugins, one of which can't be loaded."""
    good = plugin(tmp_path, "good", "@hookimpl\ndef preprocess(image):\n    return 1 - image\n")

    def broken() -> object:
        raise ImportError("libfoo is missing")

    points = [Point("good", lambda: loading.load_file(good)[0]), Point("broken", broken)]
    monkeypatch.setattr("denoiser.plugins.loading.any_installed", lambda: True)
    monkeypatch.setattr(
        "importlib.metadata.entry_points", lambda group: points if group == "denoiser" else []
    )


@pytest.mark.usefixtures("installed")
def test_an_installed_plugin_that_fails_stops_a_run_and_only_warns_elsewhere(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path
) -> None:
    common = (scans, "--out", tmp_path / "o", "--model", identity)
    outcome = denoise(*common)
    assert outcome.code == 3
    assert "broken" in outcome.err
    assert "libfoo is missing" in outcome.err
    assert "--no-plugins" in outcome.err
    assert denoise(*common, "--no-plugins").code == 0
    np.testing.assert_array_equal(pixels(tmp_path / "o/a.png"), pixels(scans / "a.png"))
    listed = json.loads(denoise("plugins", "--json").out)
    assert [each["name"] for each in listed["loaded"]] == ["good"]
    assert listed["failed"][0]["name"] == "broken"
    assert denoise("--help").code == 0


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--jobs", 2), ("--engine", "keras", "--device", "cpu")])
def test_plugins_work_with_jobs_and_on_both_engines(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path, options: tuple[object, ...]
) -> None:
    half = plugin(tmp_path, "half", "@hookimpl\ndef preprocess(image):\n    return image / 2\n")
    outcome = denoise(scans, "--out", tmp_path / "o", "--model", identity, "--plugin", half, *options)
    assert outcome.code == 0, outcome.err
    for name in ("a.png", "b.png", "box/c.tif"):
        np.testing.assert_allclose(pixels(tmp_path / "o" / name), pixels(scans / name) / 2, atol=1)


def test_plugins_are_listed(denoise: Denoise) -> None:
    outcome = denoise("plugins", "--plugin", PLUGINS / "invert.py")
    assert outcome.code == 0
    assert "invert" in outcome.out
    assert "preprocess, postprocess" in outcome.out


def test_two_of_one_name_are_refused(tmp_path: Path) -> None:
    body = "@hookimpl\ndef preprocess(image): ...\n"
    (tmp_path / "x").mkdir()
    first, second = plugin(tmp_path, "same", body), plugin(tmp_path / "x", "same", body)
    with pytest.raises(PluginError, match="Two plugins are called same"):
        manager.load([str(first), str(second)], installed=False)


def test_only_a_declared_group_is_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "other-1.0.dist-info"
    info.mkdir()
    archive = tmp_path / "python.zip"  # on every interpreter's path, and hardly ever there
    monkeypatch.setattr(sys, "path", [str(archive), str(tmp_path), str(tmp_path / "nowhere")])
    (info / "entry_points.txt").write_text("[console_scripts]\nx = y:z\n")
    assert not loading.any_installed()
    (info / "entry_points.txt").write_text("[denoiser]\nx = y\n")
    assert loading.any_installed()
    (info / "entry_points.txt").unlink()
    archive.touch()
    assert loading.any_installed()

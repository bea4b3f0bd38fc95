"""The page beside a model."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from denoiser.training import artifacts
from denoiser.training.checkpoints import History, Point
from denoiser.training.evaluation import Seen
from tests.helpers import browser, fakes
from tests.helpers.command import Denoise
from tests.helpers.reports import Page

CARD = {
    "validated_on": "2 of 20 pairs",
    "warnings": ["Few images.", "Structure is lost."],
    "network": "digits",
    "noise": "gaussian:sigma=0.1 <b>",
    "figures": [
        {
            "noise": "gaussian:sigma=0.1",
            "input_db": 20.0,
            "output_db": 27.125,
            "input_ssim": 0.5,
            "output_ssim": 0.9,
        }
    ],
}


def found() -> Seen:
    """Forty patches whose errors rise with their number."""
    rng = np.random.default_rng(1)
    clean = rng.random((40, 28, 28), np.float32) * np.float32(0.8) + np.float32(0.1)
    rise = np.linspace(0.01, 0.1, 40, dtype=np.float32)[:, None, None]
    return Seen(clean + np.float32(0.1), clean + rise * np.float32(0.5), clean)


def history() -> History:
    points = [Point(0.5, 1000, 0.1, 20.0), Point(1.0, 2000, 0.05, 25.0)]
    return History(points=points, curve=points)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    made = artifacts.write(tmp_path / "mine.keras", found(), history(), CARD)
    assert made[-1] == tmp_path / "mine.html"
    return made[-1]


def test_it_shows_the_worst_and_typical_cases(page: Path) -> None:
    rows = Page(page).rows
    assert [row["status"] for row in rows] == ["worst"] * 12 + ["typical"] * 12
    assert [row["after"] for row in rows[:12]] == sorted(row["after"] for row in rows[:12])
    assert rows[0]["after"] == pytest.approx(-20 * np.log10(0.05), abs=0.01)
    assert rows[0]["before"] == pytest.approx(20.0, abs=0.01)
    noisy, clean = rows[0]["views"]
    assert (noisy[:3], clean[:3]) == (["noisy", 28, 28], ["clean", 28, 28])
    assert noisy[4] == clean[4]
    _, _, content = clean[3].partition("base64,")
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))), float) / 255
    assert np.abs(pixels - found().clean[39]).max() < 1 / 255


def test_it_has_the_figures_and_the_curve(page: Path) -> None:
    text = page.read_text("utf-8")
    assert "<dt>gaussian:sigma=0.1</dt><dd>20.00 to 27.12 dB, SSIM 0.500 to 0.900</dd>" in text
    assert "gaussian:sigma=0.1 &lt;b&gt;" in text
    assert "<dt>Judged on</dt><dd>2 of 20 pairs</dd>" in text
    assert "<dt>Warnings</dt><dd>Few images. Structure is lost.</dd>" in text
    assert "dB on images it has not seen, over patches: from 20.00 to 25.00" in text


def test_showing_a_model_says_where_its_page_is(store: Path, denoise: Denoise) -> None:
    model = fakes.identity(store / "models" / "mine.keras")
    assert "page" not in json.loads(denoise("models", "show", "mine", "--json").out)
    artifacts.write(model, found(), history())
    page = model.with_suffix(".html")
    assert json.loads(denoise("models", "show", "mine", "--json").out)["page"] == str(page)
    assert f"  Page of its training: {page} (--open opens it)\n" in denoise("models", "show", "mine").out


def test_a_models_page_is_opened(
    store: Path, denoise: Denoise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The browser is whatever BROWSER names: here, a script that notes what it is given."""
    program = tmp_path / "program"
    program.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    program.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{program} %s")
    model = fakes.identity(store / "models" / "mine.keras")
    outcome = denoise("models", "show", "mine", "--open")
    assert outcome.code == 3
    assert "mine has no page" in outcome.err
    artifacts.write(model, found(), history())
    page = model.with_suffix(".html")
    outcome = denoise("models", "show", "mine", "--open")
    assert outcome.code == 0
    assert f"Opened {page}." in outcome.err
    assert (tmp_path / "opened").read_text().strip() == page.as_uri()


@pytest.mark.browser
@pytest.mark.skipif(browser.missing() is not None, reason=str(browser.missing()))
def test_its_slider_names_both_images(page: Path, tmp_path: Path) -> None:
    with browser.started(tmp_path) as window:
        window.open(page)
        window.click("#rows tr:first-child td.name button")
        text = "return document.getElementById('slide').getAttribute('aria-valuetext')"
        assert window.run(text) == "50 % noisy, 50 % restored"
        window.press("v")
        assert window.run(text) == "50 % clean, 50 % restored"
        assert window.run("return document.getElementById('part').textContent") == "Noisy and restored"
        assert window.console() == []

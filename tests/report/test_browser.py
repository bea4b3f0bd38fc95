"""The page in a real browser without a window: skipped, with the reason, where there is none."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from denoiser.report.page import Column, Table, render
from tests.helpers import browser
from tests.helpers.browser import Browser
from tests.helpers.command import Denoise
from tests.helpers.reports import HOSTILE, cleaned, noisy_and_clean, striped

REASON = browser.missing()
pytestmark = [pytest.mark.browser, pytest.mark.skipif(REASON is not None, reason=str(REASON))]

NAMES = "return [...document.querySelectorAll('#rows td.name button')].map(each => each.textContent)"


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser.started(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture
def page(tmp_path: Path, denoise: Denoise, window: Browser) -> Iterator[Browser]:
    """A report of six files, opened; its console must stay empty."""
    scans, clean = tmp_path / "scans", tmp_path / "clean"
    images = {
        "lost.png": striped(1, (300, 700)),
        "page10.png": noisy_and_clean(2, (40, 60), 4.0),
        "page9.png": noisy_and_clean(3, (40, 60), 12.0),
        "box/deep.tif": noisy_and_clean(4, (64, 64), 20.0),
        "same.png": (noisy_and_clean(5)[0],) * 2,
    }
    cleaned(scans, clean, images, failed={"bad.png": str(scans / "bad.png")})
    (scans / "bad.png").write_bytes(b"no image")
    assert denoise("report", clean, "--to", tmp_path / "look").code == 0
    window.media(prefers_color_scheme="light")
    window.open(tmp_path / "look" / "index.html")
    window.console()
    yield window
    assert window.console() == []


def names(window: Browser) -> list[str]:
    return list(window.run(NAMES))


def chosen(window: Browser) -> str:
    return str(window.run("return document.getElementById('title').textContent"))


def is_open(window: Browser) -> bool:
    return bool(window.run("return document.getElementById('look').open"))


def look(window: Browser, name: str) -> None:
    place = names(window).index(name) + 1
    window.click(f"#rows tr:nth-child({place}) td.name button")
    window.wait("return [...document.querySelectorAll('#pair img[src]')].every(each => each.complete)")


def shown(window: Browser, tmp_path: Path) -> Any:
    """What the stage looks like, (H, W, 3)."""
    window.screenshot(tmp_path / "shot.png")
    box = window.run(
        "const b = document.getElementById('pair').getBoundingClientRect();"
        "return [b.left, b.top, b.right, b.bottom].map(Math.round)"
    )
    return np.asarray(Image.open(tmp_path / "shot.png").convert("RGB").crop(tuple(box)), float)


def test_it_opens_from_a_file_worst_first(page: Browser) -> None:
    assert page.run("return location.protocol") == "file:"
    assert names(page)[:2] == ["bad.png", "lost.png"]
    assert page.run("return document.getElementById('count').textContent") == "6 of 6 files shown"
    assert (
        page.run("return [...document.images].filter(i => i.src && i.complete && !i.naturalWidth).length")
        == 0
    )


def test_every_column_sorts_both_ways(page: Browser) -> None:
    first = names(page)
    page.click("#head th:nth-of-type(1) button")
    assert names(page) == ["bad.png", "box/deep.tif", "lost.png", "page9.png", "page10.png", "same.png"]
    assert page.run("return document.querySelector('th').getAttribute('aria-sort')") == "ascending"
    page.click("#head th:nth-of-type(1) button")
    assert names(page)[0] == "same.png"
    page.click("#head th:nth-of-type(4) button")
    noise = page.run("return [...document.querySelectorAll('#rows td:nth-child(5)')].map(e => e.textContent)")
    assert noise[-1] == "\N{EN DASH}"
    levels = [float(each) for each in noise[:-1]]
    assert levels == sorted(levels, reverse=True)
    assert page.run("return document.querySelectorAll('th[aria-sort]').length") == 1
    page.click("#worst")
    assert names(page) == first


def test_text_and_status_filter(page: Browser) -> None:
    page.type("#filter", "PAGE")
    page.wait("return document.querySelectorAll('#rows tr').length === 2")
    assert set(names(page)) == {"page9.png", "page10.png"}
    assert page.run("return document.getElementById('count').textContent") == "2 of 6 files shown"
    page.run("document.getElementById('filter').value = ''")
    page.run(
        "const s = document.getElementById('status'); s.value = 'failed';s.dispatchEvent(new Event('change'))"
    )
    assert names(page) == ["bad.png"]


def test_the_slider_moves_by_keyboard_and_mouse(page: Browser, tmp_path: Path) -> None:
    look(page, "lost.png")
    page.run("document.getElementById('slide').focus()")
    half = shown(page, tmp_path)
    page.press("Home")
    assert (
        page.run("return document.getElementById('slide').getAttribute('aria-valuetext')")
        == "0 % before, 100 % after"
    )
    after = shown(page, tmp_path)[:, 8:]  # the edge is drawn at the left
    assert after.std() < 2 < half[:, : half.shape[1] // 2 - 8].std()
    page.press("Right", "Right", "Right")
    assert page.run("return document.getElementById('slide').value") == "3"
    width = page.run("return document.getElementById('pair').clientWidth")
    page.drag("#pair", (0, 0), (width // 4, 0))
    assert abs(int(page.run("return document.getElementById('slide').value")) - 75) <= 1
    left = shown(page, tmp_path)
    assert left[:, : left.shape[1] // 2].std() > 2


def test_the_difference_is_that_of_both(page: Browser, tmp_path: Path) -> None:
    look(page, "same.png")
    assert shown(page, tmp_path).max() > 100
    page.press("d")
    assert shown(page, tmp_path).max() < 12  # nothing changed
    assert page.run("return document.getElementById('difference').getAttribute('aria-pressed')") == "true"
    page.press("d")
    assert shown(page, tmp_path).max() > 100
    page.press("Escape")
    look(page, "page9.png")
    page.press("d")
    found = shown(page, tmp_path)
    assert 20 < found.mean() < 60  # four times the mean of the noise of 12, which is 9.6


def test_zoom_detail_next_and_close(page: Browser) -> None:
    look(page, "lost.png")
    zoom = "return document.getElementById('zoom').textContent"
    page.press("0")
    assert page.run(zoom) == "100 %"
    assert page.run("return document.getElementById('pair').clientWidth") == 700
    for _ in range(12):
        page.press("+")
    assert page.run(zoom) == "800 %"
    assert (
        page.run("return getComputedStyle(document.getElementById('before')).imageRendering") == "pixelated"
    )
    for _ in range(12):
        page.press("-")
    assert page.run(zoom) == "25 %"
    page.press("v")
    assert page.run("return document.getElementById('before').alt") == "Detail, full size: before"
    page.wait("return document.getElementById('before').naturalWidth === 512")
    page.press("n")
    assert chosen(page) == names(page)[2]
    page.press("p", "p")
    assert chosen(page) == "bad.png"
    assert page.run("return document.getElementById('nothing').hidden") is False
    assert page.run("return document.getElementById('previous').disabled") is True
    assert page.run("return document.getElementById('said').textContent") == "is damaged."
    page.press("n", "Escape")
    assert not is_open(page)
    page.wait("return document.activeElement.textContent === 'lost.png'")


def test_links_of_the_dialog_lead_to_both_files(page: Browser, tmp_path: Path) -> None:
    look(page, "page9.png")
    links = page.run("return ['input', 'output'].map(id => document.getElementById(id).href)")
    assert links == [(tmp_path / folder / "page9.png").as_uri() for folder in ("scans", "clean")]
    page.click("#close")
    assert not is_open(page)


def test_dark_mode_turns_the_page(page: Browser) -> None:
    ground = "return getComputedStyle(document.body).backgroundColor"
    assert page.run(ground) == "rgb(255, 255, 255)"
    page.media(prefers_color_scheme="dark")
    assert page.run(ground) == "rgb(22, 24, 27)"


def test_nothing_moves_where_that_is_not_wanted(page: Browser) -> None:
    time = "return getComputedStyle(document.getElementById('worst')).transitionDuration"
    page.media(prefers_reduced_motion="reduce")
    assert page.run(time) == "0s"
    page.media(prefers_reduced_motion="no-preference")
    assert page.run(time) == "0.12s"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violations(page: Browser, scheme: str) -> None:
    spec = importlib.util.find_spec("axe_core_python")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("axe-core is not installed: pip install axe-core-python")
    [source] = Path(spec.submodule_search_locations[0]).glob("**/axe.min.js")
    page.run(source.read_text("utf-8"))
    page.media(prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
    ask = (
        "const end = arguments[arguments.length - 1];"
        "const told = (each) => each.id + ': ' + each.nodes.map(node => node.html).join(' ');"
        "axe.run().then(found => end(found.violations.map(told)))"
    )
    assert page.run_async(ask) == []
    look(page, "lost.png")
    assert page.run_async(ask) == []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_hostile_names_do_nothing(tmp_path: Path, denoise: Denoise, window: Browser) -> None:
    images = {name: noisy_and_clean(index) for index, name in enumerate(HOSTILE)}
    cleaned(tmp_path / "scans", tmp_path / "clean", images)
    for target in (tmp_path / "look", tmp_path / "worst.html"):
        denoise("report", tmp_path / "clean", "--to", target)
        window.open(target if target.suffix else target / "index.html")
        for index in range(len(HOSTILE)):
            window.click(f"#rows tr:nth-child({index + 1}) td.name button")
            window.wait(
                "return [...document.querySelectorAll('#pair img')].every(each => each.naturalWidth > 0)"
            )
            window.press("Escape")
        assert window.run("return document.title") == "What denoise did"
        assert window.run("return document.scripts.length") == 2
        assert window.console() == []


def test_the_policy_stops_scripts_that_are_not_ours(page: Browser) -> None:
    page.run("document.body.insertAdjacentHTML('beforeend', '<img src=\"x:\" onerror=\"document.title=1\">')")
    page.run(
        "const s = document.createElement('script'); s.textContent = 'document.title = 2';"
        "document.body.append(s)"
    )
    page.run_async("setTimeout(arguments[arguments.length - 1], 100)")
    assert page.run("return document.title") == "What denoise did"
    assert any("Content Security Policy" in line for line in page.console())


def test_ten_thousand_rows_come_two_hundred_at_a_time(tmp_path: Path, window: Browser) -> None:
    columns = (Column("name", "Name", ""), Column("status", "Status", ""), Column("harm", "Harm", "", 2))
    rows = [
        [f"scan{index:05}.png", "done", index / 1e4, [["whole", 9, 9, None, None]]] for index in range(10_000)
    ]
    table = Table(columns, ("name", "status", "harm", "views"), rows)
    (tmp_path / "index.html").write_text(render("Many", {}, [], table), "utf-8")
    window.open(tmp_path / "index.html")
    assert len(names(window)) == 200
    window.click("#more")
    assert len(names(window)) == 400
    assert window.run("return document.activeElement.textContent") == "scan00200.png"
    window.click("#head th:nth-of-type(3) button")
    assert names(window)[0] == "scan09999.png"
    window.type("#filter", "scan0777")
    window.wait("return document.querySelectorAll('#rows tr').length === 10")
    assert window.console() == []

"""How far a file is, by its pages and patches, in this process and in others."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from denoiser.inference.denoiser import Denoiser
from denoiser.pipeline.meter import Meter, Reading
from denoiser.pipeline.outcomes import Result
from denoiser.pipeline.pipeline import Pipeline
from denoiser.pipeline.plan import Job

PAGES = 28


def job(path: Path) -> Job:
    return Job(path, path.parent / "out" / path.name, path.name)


def cleaned(job: Job, model: Path, **options: object) -> list[Reading]:
    """Clean one file, and return all that was said about how far it is."""
    seen: list[Reading] = []
    results: list[Result] = []

    def watch(readings: Sequence[Reading]) -> None:
        seen.extend(readings)

    with Denoiser(model, stride=14, **options) as denoiser:  # type: ignore[arg-type]  # as given
        Pipeline(denoiser).run([job], results.append, watch=watch)
    assert [result.outcome.error for result in results] == [None]
    return seen


def test_every_page_moves_the_reading_by_its_share(tmp_path: Path, identity: Path) -> None:
    pages = [Image.new("L", (40, 30), 9 * index) for index in range(PAGES)]
    path = tmp_path / "book.tif"
    pages[0].save(path, save_all=True, append_images=pages[1:])
    seen = cleaned(job(path), identity)
    size = path.stat().st_size
    assert {reading.pages for reading in seen} == {PAGES}
    ends = {reading.page: reading.done for reading in seen}
    assert ends == pytest.approx({page: page / PAGES * size for page in range(1, PAGES + 1)})


def test_every_band_of_a_large_page_moves_it_by_its_patches(tmp_path: Path, identity: Path) -> None:
    path = tmp_path / "page.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (900, 700), np.uint8)).save(path)
    seen = cleaned(job(path), identity)
    counts = [reading.patches for reading in seen]
    assert counts == sorted(counts)
    assert len(set(counts)) > 3
    assert counts[-1] == seen[-1].of
    size = path.stat().st_size
    for reading in seen[1:]:
        assert reading.done == pytest.approx(size * reading.patches / reading.of)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(30, 40), (300, 5000), (64, 64)])
@pytest.mark.parametrize("channels", [1, 3])
def test_patches_are_counted_to_the_last(identity: Path, shape: tuple[int, int], channels: int) -> None:
    from denoiser.page import Page

    pixels = np.random.default_rng(1).random((*shape, channels), np.float32)
    ticks: list[tuple[int, int]] = []
    with Denoiser(identity, stride=5) as denoiser:
        image = pixels[..., 0] if channels == 1 else pixels
        denoiser.clean_page(image, Page(), tick=lambda done, of: ticks.append((done, of)))
    assert ticks == sorted(ticks)
    assert ticks[-1][0] == ticks[-1][1]
    assert len({of for _, of in ticks}) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")
def test_a_file_that_another_process_cleans_is_watched_too(tmp_path: Path, identity: Path) -> None:
    """A plugin has everything done in another process; it waits on page 2 until that was seen here."""
    plugin = tmp_path / "slow.py"
    plugin.write_text(
        "import time\nfrom pathlib import Path\nfrom denoiser import hookimpl\n"
        "@hookimpl\n"
        "def postprocess(image, original, page):\n"
        f"    until = time.monotonic() + 30\n"
        f"    while page.index == 1 and not Path({str(tmp_path / 'seen')!r}).exists():\n"
        "        assert time.monotonic() < until\n"
        "        time.sleep(0.01)\n"
        "    return image\n"
    )
    pages = [Image.new("L", (40, 30), 90 * index) for index in range(3)]
    path = tmp_path / "book.tif"
    pages[0].save(path, save_all=True, append_images=pages[1:])
    seen: list[Reading] = []

    def watch(readings: Sequence[Reading]) -> None:
        seen.extend(readings)
        if any(reading.page == 2 for reading in readings):
            (tmp_path / "seen").touch()

    results: list[Result] = []
    with Denoiser(identity, plugins=[plugin], jobs=1) as denoiser:
        Pipeline(denoiser).run([job(path)], results.append, watch=watch)
    assert [result.outcome.error for result in results] == [None]
    assert any((reading.page, reading.pages) == (2, 3) for reading in seen)


def test_a_meter_says_what_was_written_last() -> None:
    meter = Meter()
    assert meter.reading == Reading()
    meter.report(Reading(1.5, 2, 28, 3, 4))
    assert meter.reading == Reading(1.5, 2, 28, 3, 4)

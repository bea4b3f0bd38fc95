"""From file to file in one process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from denoiser.imaging.picture import Picture
from denoiser.inference.denoiser import Denoiser
from denoiser.pipeline.cleaner import Cleaner, Output
from denoiser.pipeline.plan import Job
from tests.helpers import fakes
from tests.helpers.files import pixels
from tests.helpers.plugins import plugin

SIDES = (20, 28, 30, 200, 40, 40)


def book(folder: Path) -> tuple[Path, list[Image.Image]]:
    """A file with small pages and one that is larger."""
    rng = np.random.default_rng(0)
    pages = [Image.fromarray(rng.integers(0, 256, (side, side + 3), np.uint8)) for side in SIDES]
    path = folder / "book.tif"
    pages[0].save(path, save_all=True, append_images=pages[1:])
    return path, pages


def test_small_pages_of_a_file_share_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, pages = book(tmp_path)
    denoiser = Denoiser(fakes.sensitive(tmp_path / "sensitive.keras"))
    together: list[int] = []
    clean_pages = denoiser.clean_pages

    def spied(given: Any, **options: Any) -> Any:
        together.append(len(given))
        return clean_pages(given, **options)

    monkeypatch.setattr(denoiser, "clean_pages", spied)
    out = tmp_path / "out"
    jobs = [Job(path, out / "book.tif", "book.tif")]
    for index, page in enumerate(pages):
        single = tmp_path / f"{index}.png"
        page.save(single)
        jobs.append(Job(single, out / single.name, single.name))
    with denoiser:
        outcomes = list(Cleaner(denoiser, Output()).outcomes(jobs))
    assert [outcome.error for outcome in outcomes] == [None] * len(jobs)
    assert [count for count in together if count][:3] == [3, 1, 2]
    with Image.open(out / "book.tif") as result:
        for index in range(len(pages)):
            result.seek(index)
            np.testing.assert_array_equal(np.asarray(result), pixels(out / f"{index}.png"))


def test_a_step_that_fails_on_a_later_page_fails_the_file(identity: Path, tmp_path: Path) -> None:
    path, _ = book(tmp_path)
    body = "@hookimpl\ndef preprocess(image, page):\n    assert page.index != 2, 'not this one'\n"
    step = plugin(tmp_path, "picky", body)
    out = tmp_path / "out/book.tif"
    with Denoiser(identity, plugins=[step]) as denoiser:
        (outcome,) = Cleaner(denoiser, Output()).outcomes([Job(path, out, "book.tif")])
    assert outcome.error is not None
    assert "not this one" in outcome.error
    assert not list(out.parent.glob("*"))


class Looker:
    """Keeps what a page was like before it was cleaned."""

    def __init__(self) -> None:
        self.before: list[np.ndarray] = []

    def page(self, job: Job, before: Picture, after: Picture, seen: Any) -> Any:
        self.before.append(before.pixels.copy())

    def pages(self, files: Sequence[tuple[Job, Picture, Picture]]) -> list[Any]:
        return [self.page(job, before, after, None) for job, before, after in files]


def test_a_large_page_is_the_same_whether_or_not_it_is_looked_at(tmp_path: Path) -> None:
    noisy = np.random.default_rng(2).integers(0, 256, (700, 500), np.uint8)
    Image.fromarray(noisy).save(tmp_path / "x.tif")
    made, looker = [], Looker()
    for name, output in (("alone", Output()), ("seen", Output(examiner=looker))):
        out = tmp_path / name / "x.tif"
        with Denoiser(fakes.sensitive(tmp_path / "sensitive.keras")) as denoiser:
            (outcome,) = Cleaner(denoiser, output).outcomes([Job(tmp_path / "x.tif", out, "x.tif")])
        assert outcome.error is None
        made.append(pixels(out))
    np.testing.assert_array_equal(made[0], made[1])
    np.testing.assert_array_equal(np.rint(255 * looker.before[0]), noisy)

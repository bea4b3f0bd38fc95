"""Reading ahead and writing behind: bounded, in order, and nothing left under way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from denoiser.imaging import writer
from denoiser.imaging.picture import Picture
from denoiser.pipeline.prefetch import Abandoned, Aside, one_ahead
from denoiser.system import atomic
from tests.helpers.command import Denoise
from tests.helpers.files import tree


def test_items_come_in_order_and_one_ahead_at_most() -> None:
    begun: list[int] = []

    def items() -> Iterator[int]:
        for index in range(5):
            begun.append(index)
            yield index

    with Aside() as aside:
        taken = []
        for item in aside.read(items()):
            taken.append(item)
            assert len(begun) <= len(taken) + 2
    assert taken == begun == list(range(5))
    assert list(one_ahead(iter(range(4)))) == [0, 1, 2, 3]
    assert list(one_ahead(iter(()))) == []


def test_what_fails_ahead_is_raised_where_it_is_asked_for() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("second")

    with Aside() as aside:
        ahead = iter(aside.read(items()))
        assert next(ahead) == 1
        with pytest.raises(ValueError, match="second"):
            next(ahead)


def test_what_fails_behind_is_raised_when_it_is_finished() -> None:
    def write(items: Iterator[int]) -> None:
        next(items)
        raise OSError("full")

    with Aside() as aside:
        file = aside.write(write)
        while file.hand(1):
            pass
        file.end()
        with pytest.raises(OSError, match="full"):
            file.finish()


def test_the_end_leaves_nothing_under_way() -> None:
    told: list[BaseException] = []

    def write(items: Iterator[int]) -> None:
        try:
            list(items)
        except Abandoned as error:
            told.append(error)
            raise

    before = threading.active_count()
    with Aside() as aside:
        aside.write(write).hand(1)
        aside.write(write)
    assert len(told) == 2
    assert threading.active_count() == before


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """Larger files of all kinds, with small and bad ones between them."""
    rng = np.random.default_rng(5)
    folder = tmp_path / "pages"
    folder.mkdir()
    for index in range(10):
        side = 30 if index in (3, 4) else 300
        Image.fromarray(rng.integers(0, 256, (side, side), np.uint8)).save(folder / f"{index}.png")
    book = [Image.fromarray(rng.integers(0, 256, (200, 200), np.uint8)) for _ in range(5)]
    book[0].save(folder / "10.tif", save_all=True, append_images=book[1:])
    (folder / "5.png").write_bytes((folder / "5.png").read_bytes()[:-200])
    (folder / "7.png").write_bytes(b"text")
    return folder


def test_larger_files_come_out_in_order_with_bad_ones_between_them(
    denoise: Denoise, pages: Path, identity: Path, tmp_path: Path
) -> None:
    out = tmp_path / "o"
    outcome = denoise(pages, "--out", out, "--model", identity, "--verbose")
    assert outcome.code == 1
    told = [line for line in outcome.err.splitlines() if str(pages) in line]
    names = [Path(line.removeprefix("Error: ").split(" ")[0]).name for line in told]
    assert names == [*(f"{index}.png" for index in range(10)), "10.tif"]
    assert "5.png can't be decoded" in outcome.err
    assert "7.png is not an image" in outcome.err
    assert "9 cleaned, 2 failed" in outcome.err
    for name in tree(out):
        with Image.open(out / name) as after, Image.open(pages / name) as before:
            count = getattr(before, "n_frames", 1)
            assert getattr(after, "n_frames", 1) == count
            for index in range(count):
                before.seek(index)
                after.seek(index)
                np.testing.assert_array_equal(np.asarray(after), np.asarray(before))


@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_page_that_fails_leaves_no_file(
    denoise: Denoise, pages: Path, identity: Path, tmp_path: Path, place: int
) -> None:
    plugin = tmp_path / "odd.py"
    plugin.write_text(
        "from denoiser import hookimpl\n@hookimpl\ndef postprocess(image, page):\n"
        f"    if page.count > 1 and page.index == {place}: raise ValueError('odd page')\n"
    )
    outcome = denoise(pages, "--out", tmp_path / "o", "--model", identity, "--plugin", plugin)
    assert "8 cleaned, 3 failed" in outcome.err
    assert "odd page" in outcome.err
    assert "10.tif" not in tree(tmp_path / "o")
    assert not list((tmp_path / "o").glob(f".*{atomic.SUFFIX}"))


def test_a_full_disk_fails_the_file_alone(
    denoise: Denoise, pages: Path, identity: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = writer._encode

    def full(picture: Picture, *others: Any) -> None:
        if picture.page.index == 1:
            raise OSError(28, "No space left on device")
        encode(picture, *others)

    monkeypatch.setattr(writer, "_encode", full)
    outcome = denoise(pages, "--out", tmp_path / "o", "--model", identity)
    assert "8 cleaned, 3 failed" in outcome.err
    assert "10.tif can't be written to" in outcome.err
    assert "the disk is full" in outcome.err
    assert "10.tif" not in tree(tmp_path / "o")

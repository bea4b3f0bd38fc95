"""Reading ahead and writing behind: bounded, in order, and nothing left under way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from denoiser.imaging import writer
from denoiser.imaging.picture import Picture
from denoiser.pipeline.prefetch import Abandoned, consume_behind, one_ahead, prefetch
from denoiser.system import atomic
from tests.helpers.command import Denoise
from tests.helpers.files import tree


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    """One thread, as a reader or writer has."""
    with ThreadPoolExecutor(1) as executor:
        yield executor


def test_items_come_in_order_and_one_ahead_at_most(executor: ThreadPoolExecutor) -> None:
    begun: list[int] = []

    def items() -> Iterator[int]:
        for index in range(5):
            begun.append(index)
            yield index

    taken = []
    for item in prefetch(items(), executor):
        taken.append(item)
        assert len(begun) <= len(taken) + 2
    assert taken == begun == list(range(5))
    assert list(one_ahead(iter(range(4)))) == [0, 1, 2, 3]
    assert list(one_ahead(iter(()))) == []
    begun.clear()
    assert (next(one_ahead(items())), len(begun)) == (0, 2)


def test_the_first_item_is_under_way_before_it_is_asked_for(executor: ThreadPoolExecutor) -> None:
    begun = threading.Event()
    ahead = prefetch(iter(lambda: begun.set(), 1), executor)
    assert begun.wait(10)
    assert next(ahead) is None


def test_an_error_ahead_is_raised_where_the_item_is_asked_for(executor: ThreadPoolExecutor) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("second")

    ahead = prefetch(items(), executor)
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="second"):
        next(ahead)


def test_items_are_consumed_meanwhile_and_at_most_one_waits(executor: ThreadPoolExecutor) -> None:
    made: list[int] = []
    ahead: list[int] = []

    def items() -> Iterator[int]:
        for index in range(6):
            made.append(index)
            yield index

    def consume(given: Iterator[int]) -> list[int]:
        taken = []
        for item in given:
            taken.append(item)
            ahead.append(len(made) - len(taken))
        return taken

    assert consume_behind(items(), consume, executor).result() == list(range(6))
    assert max(ahead) <= 2  # one that waits, and one that is being made


def test_a_consumer_that_fails_ends_the_making(executor: ThreadPoolExecutor) -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for index in range(1000):
            made.append(index)
            yield index

    def full(given: Iterator[int]) -> None:
        next(given)
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        consume_behind(items(), full, executor).result()
    assert len(made) < 1000


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_item_that_fails_leaves_no_trace(executor: ThreadPoolExecutor, error: type[BaseException]) -> None:
    told: list[BaseException] = []

    def items() -> Iterator[int]:
        yield 1
        raise error("odd")

    def consume(given: Iterator[int]) -> None:
        try:
            list(given)
        except BaseException as raised:
            told.append(raised)
            raise

    with pytest.raises(error, match="odd"):
        consume_behind(items(), consume, executor).result()
    executor.shutdown()
    assert [type(each) for each in told] == [ValueError if error is ValueError else Abandoned]


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
    assert "9 cleaned (13 pages), 2 failed" in outcome.err
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

    def full(picture: Picture, *others: Any, **options: Any) -> None:
        if picture.page.index == 1:
            raise OSError(28, "No space left on device")
        encode(picture, *others, **options)

    monkeypatch.setattr(writer, "_encode", full)
    outcome = denoise(pages, "--out", tmp_path / "o", "--model", identity)
    assert "8 cleaned, 3 failed" in outcome.err
    assert "10.tif can't be written to" in outcome.err
    assert "the disk is full" in outcome.err
    assert "10.tif" not in tree(tmp_path / "o")

"""The door in: which way a file is read, what is known of it, and that it is closed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from denoiser.errors import FileError
from denoiser.imaging import open as door
from denoiser.imaging.open import open_image
from denoiser.imaging.small_png import PlainFile
from denoiser.plugins.manager import load
from tests.helpers.command import Denoise
from tests.helpers.plugins import plugin

READER = """
    from denoiser import Page
    SUFFIXES = (".npy",)

    @hookimpl
    def read_pages(path):
        try:
            for image in np.load(path):
                yield image, Page(count=2)
        finally:
            path.with_suffix(".closed").touch()
    """


def save(path: Path, side: int) -> Path:
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (side, side), np.uint8)).save(path)
    return path


@pytest.mark.parametrize(("name", "side"), [("small.png", 20), ("large.png", 200), ("small.bmp", 20)])
def test_a_source_states_size_pages_and_fingerprint(tmp_path: Path, name: str, side: int) -> None:
    path = save(tmp_path / name, side)
    with open_image(path) as source:
        assert (source.size, source.count) == ((side, side), 1)
        assert isinstance(source, PlainFile) is (name == "small.png")
        (picture,) = source.pages()
    assert picture.pixels.shape == (side, side)
    status = path.stat()
    assert source.fingerprint == (
        status.st_size,
        status.st_mtime_ns,
        hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def open_files(path: Path) -> int:
    links = (Path("/proc/self/fd") / number for number in os.listdir("/proc/self/fd"))  # noqa: PTH208 - names
    return sum(os.path.realpath(link) == str(path) for link in links)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks into /proc")
@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("damaged", [True, False])
def test_the_file_is_closed_on_success_and_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_memory: bool, damaged: bool
) -> None:
    path = save(tmp_path / "a.tif", 100)
    if damaged:
        path.write_bytes(path.read_bytes()[:-9000])
    if not in_memory:
        monkeypatch.setattr(door, "_IN_MEMORY", 100)
    source = open_image(path)
    assert open_files(path) == (not in_memory)
    with source:
        pages = source.pages()
        if damaged:
            with pytest.raises(FileError, match="can't be decoded"):
                next(pages)
        else:
            next(pages)
    assert open_files(path) == 0
    path.write_bytes(b"no image, and long enough" * 9)
    kept = []
    with pytest.raises(FileError, match="is not an image") as raised:
        open_image(path)
    kept.append(raised)  # whoever keeps the error does not keep the file open
    assert open_files(path) == 0


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "empty.png").touch()
    for name, message in (("pipe.png", "regular"), ("empty.png", "is empty"), ("none.png", "can't be read")):
        with pytest.raises(FileError, match=message):
            open_image(tmp_path / name)


def test_a_plugins_generator_is_closed_where_a_page_fails(
    denoise: Denoise, identity: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "a.npy", np.ones((2, 30, 30)))
    reader = plugin(tmp_path, "reader", READER)
    source = open_image(tmp_path / "a.npy", load([str(reader)], installed=False))
    with source:
        next(pages := source.pages())
        assert not (tmp_path / "a.closed").exists()
    assert (tmp_path / "a.closed").exists()
    del pages
    (tmp_path / "a.closed").unlink()
    fail = "@hookimpl\ndef preprocess(image, page):\n    if page.index == 0: raise ValueError('odd')\n"
    outcome = denoise(
        *(tmp_path / "a.npy", "--out", tmp_path / "o", "--model", identity),
        *("--plugin", reader, "--plugin", plugin(tmp_path, "odd", fail)),
    )
    assert "ValueError: odd" in outcome.err
    assert (tmp_path / "a.closed").exists()

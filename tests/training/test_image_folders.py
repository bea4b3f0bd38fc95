from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from denoiser.errors import TrainingError
from denoiser.imaging.reader import ImageFile
from denoiser.training import image_folders


def test_images_of_a_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "sub").mkdir()
    Image.fromarray(np.full((4, 5), 51, np.uint8)).save(tmp_path / "b.png")
    Image.fromarray(np.full((3, 2), 32768, np.uint16)).save(tmp_path / "sub" / "a.tiff")
    Image.fromarray(np.full((3, 3, 3), 255, np.uint8)).save(tmp_path / "c.jpg")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG nothing")
    (tmp_path / "notes.txt").write_text("no image")
    with caplog.at_level(logging.WARNING):
        found = image_folders.images(tmp_path)
    assert [image.shape for image in found] == [(4, 5), (3, 3), (3, 2)]
    assert all(image.dtype == np.float32 for image in found)
    assert found[0][0, 0] == pytest.approx(0.2)
    assert found[2][0, 0] == pytest.approx(32768 / 65535)
    assert "broken.png" in caplog.text


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no images"):
        image_folders.images(tmp_path)


def test_images_are_read_as_they_are_cleaned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    deep = np.linspace(0, 65535, 30 * 31).astype(np.uint16).reshape(30, 31)
    first, second = Image.new("L", (31, 30), 51), Image.new("L", (33, 32), 102)
    first.save(tmp_path / "a.tiff", save_all=True, append_images=[second])
    Image.fromarray(deep).save(tmp_path / "b.tif", tiffinfo={262: 0})  # MinIsWhite
    first.save(tmp_path / "c.webp", lossless=True)
    Image.fromarray(deep.astype(np.int32)).save(tmp_path / "d.tif")
    found = image_folders.images(tmp_path)
    assert [image.shape for image in found] == [(30, 31), (32, 33), (30, 31), (30, 31)]
    np.testing.assert_allclose(found[2], 1 - deep / 65535, atol=1e-6)
    expected = []
    for name in ("a.tiff", "b.tif", "c.webp"):
        with (tmp_path / name).open("rb") as file:
            expected += [page.pixels for page in ImageFile(file, tmp_path / name).pages()]
    for image, pixels in zip(found, expected, strict=True):
        np.testing.assert_array_equal(image, pixels)
    assert "d.tif is left out of training: it has signed pixels" in caplog.text


def test_hidden_files_are_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clean, noisy = tmp_path / ".clean", tmp_path / "noisy"  # the folder itself may be called anything
    for folder in (clean, noisy):
        save(folder / "0.png", (30, 30))
        save(folder / ".cache/1.png", (30, 30))
        (folder / "._0.png").write_bytes(b"\0\5\x16\7 what macOS leaves")
    save(noisy / ".2.png", (30, 30))
    assert [path.name for path, _ in image_folders.named_images(clean)] == ["0.png"]
    assert len(image_folders.pairs(clean, noisy)) == 1
    assert not caplog.text


def save(path: Path, shape: tuple[int, int], value: int = 90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(shape, value, np.uint8)).save(path)


def test_pairs_are_found_by_relative_name(tmp_path: Path) -> None:
    clean, noisy = tmp_path / "clean", tmp_path / "noisy"
    for name, value in (("a.png", 10), ("in/b.png", 20)):
        save(clean / name, (30, 40), value)
    save(noisy / "a.bmp", (30, 40), 110)
    save(noisy / "in/b.png", (30, 40), 120)
    found = image_folders.pairs(clean, noisy)
    tones = [(round(float(first[0, 0]) * 255), round(float(second[0, 0]) * 255)) for first, second in found]
    assert tones == [(110, 10), (120, 20)]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((("clean/a.png", (9, 9)),), "no images"),
        ((("clean/a.png", (9, 9)), ("noisy/b.png", (9, 9))), r"clean/a\.png has no partner"),
        ((("clean/a.png", (9, 9)), ("noisy/a.png", (9, 9)), ("noisy/b.png", (9, 9))), "noisy/b.png has no p"),
        ((("clean/a.png", (9, 9)), ("noisy/a.png", (9, 8))), r"noisy/a\.png is 8x9, and .*a\.png is 9x9"),
        (
            (("clean/a.png", (9, 9)), ("noisy/a.png", (9, 9)), ("noisy/a.bmp", (9, 9))),
            "only in their endings",
        ),
    ],
)
def test_what_is_no_pair_is_named(
    names: tuple[tuple[str, tuple[int, int]], ...], message: str, tmp_path: Path
) -> None:
    for folder in ("clean", "noisy"):
        (tmp_path / folder).mkdir()
    for name, shape in names:
        save(tmp_path / name, shape)
    with pytest.raises(TrainingError, match=message):
        image_folders.pairs(tmp_path / "clean", tmp_path / "noisy")


def test_a_damaged_image_of_a_pair_is_named(tmp_path: Path) -> None:
    save(tmp_path / "clean/a.png", (9, 9))
    save(tmp_path / "noisy/a.png", (9, 9))
    (tmp_path / "noisy/a.png").write_bytes(b"\x89PNG rubbish")
    with pytest.raises(TrainingError, match=r"noisy/a\.png can't be read"):
        image_folders.pairs(tmp_path / "clean", tmp_path / "noisy")


def test_a_link_to_nothing_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path / "a.png", (40, 40))
    (tmp_path / "b.png").symlink_to("nowhere.png")
    assert len(image_folders.images(tmp_path)) == 1
    assert "b.png" in caplog.text
    assert "No such file" in caplog.text


def test_held_out_images_lie_evenly_and_there_is_always_one() -> None:
    assert image_folders.held_out(20, 0.1) == [9, 19]
    assert image_folders.held_out(7, 0.3) == [3, 6]
    assert image_folders.held_out(3, 0.1) == [2]

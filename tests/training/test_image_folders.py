from __future__ import annotations

import gzip
import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from denoiser import generator
from denoiser.errors import TrainingError
from denoiser.imaging.reader import ImageFile
from denoiser.training import image_folders

MAKERS = [
    generator.page,
    generator.shapes,
    generator.textures,
    generator.scene,
    generator.micrograph,
    generator.icon,
]


def idx(images: np.ndarray) -> bytes:
    return b"\0\0\x08\x03" + b"".join(side.to_bytes(4, "big") for side in images.shape) + images.tobytes()


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.delenv("DENOISER_DATA", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return tmp_path


def digits(number: int = 7) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (number, 28, 28), dtype=np.uint8)


def test_no_mnist_is_none(alone: Path) -> None:
    assert image_folders.mnist("train") is None
    assert image_folders.mnist("test", folder=alone) is None


@pytest.mark.parametrize("place", ["mnist", "."])
@pytest.mark.parametrize("packed", [True, False])
def test_idx_files(alone: Path, place: str, packed: bool) -> None:
    (alone / place).mkdir(exist_ok=True)
    content = idx(digits())
    name = "t10k-images-idx3-ubyte" + (".gz" if packed else "")
    (alone / place / name).write_bytes(gzip.compress(content) if packed else content)
    np.testing.assert_array_equal(image_folders.mnist("test", folder=alone), digits())
    assert image_folders.mnist("train", folder=alone) is None


def test_the_variable_and_the_cache(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (alone / "keras" / "datasets").mkdir(parents=True)
    np.savez(alone / "keras" / "datasets" / "mnist.npz", x_train=digits(3), x_test=digits(2))
    assert len(image_folders.mnist("train")) == 3
    (alone / "mnist").mkdir()
    (alone / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(digits(5))))
    monkeypatch.setenv("DENOISER_DATA", str(alone))
    assert len(image_folders.mnist("train")) == 5
    assert len(image_folders.mnist("test")) == 2
    (alone / "mine").mkdir()
    assert image_folders.mnist("train", folder=alone / "mine") is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        gzip.compress(b"hello"),
        gzip.compress(idx(digits())[:-1]),
        gzip.compress(idx(digits()))[:-30],
    ],
)
def test_damaged_idx_is_named(alone: Path, content: bytes) -> None:
    path = alone / "train-images-idx3-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(TrainingError, match="train-images"):
        image_folders.mnist("train", folder=alone)


def test_damaged_npz_is_named(alone: Path) -> None:
    path = alone / "mnist.npz"
    path.write_bytes(b"PK\3\4 not really")
    with pytest.raises(TrainingError, match=r"mnist\.npz"):
        image_folders.mnist("train", folder=alone)
    np.savez(path, x_train=np.zeros((2, 5, 5), np.uint8))
    with pytest.raises(TrainingError, match=r"mnist\.npz"):
        image_folders.mnist("train", folder=alone)


@pytest.mark.data
def test_real_mnist() -> None:
    found = image_folders.mnist("test")
    if found is None:
        pytest.skip("no MNIST: DENOISER_DATA is unset")
    assert found.shape == (10_000, 28, 28)
    assert found.dtype == np.uint8
    assert found[:, 0, 0].max() == 0


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
    assert "d.tif is left out of training: has signed pixels" in caplog.text


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


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    shapes=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=4),
    turn=st.booleans(),
)
def test_crops_are_pieces_of_the_images(seed: int, shapes: list[tuple[int, int]], turn: bool) -> None:
    rng = np.random.default_rng(seed)
    sources = [np.full(shape, index / 10, dtype=np.float32) for index, shape in enumerate(shapes)]
    found = image_folders.crops(sources, 20, rng, turn=turn)
    assert found.shape == (20, 28, 28)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    assert set(np.unique(found)) <= {np.float32(index / 10) for index in range(len(shapes))}


def test_crops_come_from_everywhere_and_are_turned() -> None:
    y, x = np.mgrid[0:40, 0:40].astype(np.float32)
    source = (y * 40 + x) / 1600
    plain = image_folders.crops([source], 500, np.random.default_rng(0), turn=False)
    assert len(np.unique(plain[:, 0, 0])) > 100
    assert (np.diff(plain, axis=2) > 0).all()
    turned = image_folders.crops([source], 500, np.random.default_rng(0))
    ways = {(bool(p[0, 1] > p[0, 0]), bool(p[1, 0] > p[0, 0]), abs(p[0, 1] - p[0, 0]) > 0.01) for p in turned}
    assert len(ways) == 8


def test_pairs_stay_pairs() -> None:
    source = np.random.default_rng(0).random((50, 40), dtype=np.float32)
    first, second = image_folders.pair_crops([(source, 1 - source)], 100, np.random.default_rng(1))
    np.testing.assert_allclose(first, 1 - second, atol=1e-6)


def test_no_images_no_crops() -> None:
    with pytest.raises(TrainingError):
        image_folders.crops([], 3, np.random.default_rng(0))


def test_glyphs_look_like_mnist() -> None:
    found = generator.glyphs(120, np.random.default_rng(0))
    assert found.shape == (120, 28, 28)
    assert found.dtype == np.float32
    assert found.min() == 0.0
    assert found.max() == 1.0
    assert 0.04 < found.mean() < 0.25
    assert found[:, 0].mean() < 0.02
    np.testing.assert_array_equal(found, generator.glyphs(120, np.random.default_rng(0)))
    assert len(np.unique(found, axis=0)) == 120


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("shape", [(64, 96), (150, 40), (28, 28)])
def test_pictures(make: object, shape: tuple[int, int]) -> None:
    assert callable(make)
    first, second = (make(np.random.default_rng(5), shape) for _ in range(2))
    assert first.shape == shape
    assert first.dtype == np.float32
    assert first.min() >= 0.0
    assert first.max() <= 1.0
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, make(np.random.default_rng(6), shape)) or shape == (28, 28)


def test_blur_keeps_the_mean_and_flat_images() -> None:
    image = np.random.default_rng(0).random((50, 30), dtype=np.float32)
    smooth = generator.blurred(image, 2.0)
    assert smooth.mean() == pytest.approx(image.mean(), abs=0.02)
    assert smooth.std() < 0.3 * image.std()
    np.testing.assert_allclose(generator.blurred(np.full((9, 9), 0.7, np.float32), 3.0), 0.7, atol=1e-5)


def test_shifted_patches_lose_nothing() -> None:
    clean = np.random.default_rng(0).random((400, 9, 9), dtype=np.float32)
    moved = image_folders.shifted(clean, np.random.default_rng(1), pixels=2, share=0.5)
    np.testing.assert_allclose(np.sort(moved.reshape(400, -1)), np.sort(clean.reshape(400, -1)))
    stayed = (moved == clean).all(axis=(1, 2))
    assert 0.4 < stayed.mean() < 0.65
    ways = [(np.roll(clean[0], (a, b), (0, 1))) for a in range(-2, 3) for b in range(-2, 3)]
    assert any(np.array_equal(moved[0], way) for way in ways)


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

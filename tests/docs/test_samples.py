from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

FOLDER = Path(__file__).parents[2] / "sample_images"
SCRIPT = FOLDER / "make_samples.py"


def files(folder: Path) -> list[Path]:
    return sorted(p.relative_to(folder) for p in folder.rglob("*") if p.suffix in {".png", ".tiff", ".jpg"})


def pages(path: Path) -> list[np.ndarray]:
    with Image.open(path) as image:
        found = []
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            found.append(
                np.asarray(image).astype(np.float64) / (65535 if image.mode.startswith("I") else 255)
            )
        return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    noisy, clean = tmp_path_factory.mktemp("noisy"), tmp_path_factory.mktemp("clean")
    script = runpy.run_path(str(SCRIPT))
    for sample in script["SAMPLES"]:
        both = list(script["pages_of"](sample))
        script["write"](sample, [page for _, page in both], noisy / sample.name)
        script["write"](sample, [page for page, _ in both], clean / sample.name)
    return noisy, clean


def test_the_script_draws_what_is_here(made: tuple[Path, Path]) -> None:
    noisy, _ = made
    assert files(noisy) == files(FOLDER)
    for name in files(FOLDER):
        for new, old in zip(pages(noisy / name), pages(FOLDER / name), strict=True):
            # Equal here; other processors and libraries may round the last bit otherwise.
            assert new.shape == old.shape
            assert np.mean(np.abs(new - old) > 2 / 255) < 0.001


def test_they_are_noisy_and_small(made: tuple[Path, Path]) -> None:
    _, clean = made
    assert sum((FOLDER / name).stat().st_size for name in files(FOLDER)) < 3_000_000
    for name in files(FOLDER):
        for noisy, before in zip(pages(FOLDER / name), pages(clean / name), strict=True):
            assert noisy.shape == before.shape
            assert np.sqrt(np.mean((noisy - before) ** 2)) > 0.03


def test_they_show_what_the_tool_takes() -> None:
    with Image.open(FOLDER / "letter-3-pages.tiff") as letter:
        assert getattr(letter, "n_frames", 1) == 3
        assert letter.info["dpi"] == pytest.approx((150, 150))
    with Image.open(FOLDER / "micrograph-16bit.tiff") as deep:
        assert deep.mode.startswith("I;16")
        assert len(np.unique(np.asarray(deep))) > 5000
    with Image.open(FOLDER / "dirty-page.png") as page:
        assert page.info["dpi"] == pytest.approx((100, 100), abs=0.1)


def test_clean_versions_by_the_command(tmp_path: Path) -> None:
    script = runpy.run_path(str(SCRIPT))
    main = script["main"]
    with pytest.raises(SystemExit, match="usage"):
        main(["--dirty"])
    main.__globals__["SAMPLES"] = script["SAMPLES"][:2]
    main(["--clean", str(tmp_path)])
    assert [len(np.unique(pages(tmp_path / name)[0])) > 10 for name in files(tmp_path)] == [True, True]

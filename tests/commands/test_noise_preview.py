"""`denoise noises --preview`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from denoiser import noise
from denoiser.commands import noise_preview
from denoiser.noise import registry
from tests.helpers.command import Denoise


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two noises instead of all: drawing takes time."""
    monkeypatch.setattr(registry, "_NOISES", {name: noise.get(name) for name in ("gaussian", "stain")})


def test_every_noise_has_its_row(denoise: Denoise, tmp_path: Path) -> None:
    path = tmp_path / "new" / "noises.png"
    outcome = denoise("noises", "--preview", path)
    assert (outcome.code, outcome.out) == (0, "")
    assert str(path) in outcome.err
    with Image.open(path) as image:
        assert image.mode == "L"
        pixels = np.asarray(image)
    rows = np.array_split(pixels[10:], len(noise.names()))
    assert all(len(np.unique(row)) > 50 for row in rows)
    assert list(path.parent.iterdir()) == [path]


def test_a_plugins_noise_is_drawn(few: None, denoise: Denoise, tmp_path: Path) -> None:
    (tmp_path / "dim.py").write_text(
        "from denoiser import hookimpl\n"
        "@hookimpl\n"
        "def register_noise(register):\n"
        "    register('dim', lambda clean, rng, by=0.5: clean * (1 - by), 'takes light away')\n"
    )
    before, after = tmp_path / "before.png", tmp_path / "after.png"
    assert denoise("noises", "--preview", before).code == 0
    assert denoise("noises", "--preview", after, "--plugin", tmp_path / "dim.py").code == 0
    with Image.open(before) as old, Image.open(after) as new:
        assert new.height > old.height


def test_a_noise_that_happens_to_leave_the_sample_alone_is_drawn_with_another_seed(
    few: None, denoise: Denoise, tmp_path: Path
) -> None:
    (tmp_path / "rare.py").write_text(
        "import numpy as np\n"
        "from denoiser import hookimpl\n"
        "def rare(clean, rng, by=0.4):\n"
        "    blank = rng.random() in [np.random.default_rng(seed).random() for seed in (12, 13)]\n"
        "    return clean if blank else clean * (1 - by)\n"
        "@hookimpl\n"
        "def register_noise(register):\n"
        "    register('rare', rare, 'takes light away, at times')\n"
    )
    path = tmp_path / "drawn.png"
    assert denoise("noises", "--preview", path, "--plugin", tmp_path / "rare.py").code == 0
    with Image.open(path) as image:
        pixels = np.asarray(image, dtype=float)
    top = 10 + sorted(["gaussian", "rare", "stain"]).index("rare") * ((len(pixels) - 10) // 3)
    weak, strong = (pixels[top : top + 200, left : left + 320].mean() for left in (230, 890))
    assert strong < 0.5 * weak


def test_a_plugins_faulty_noise_is_named(few: None, denoise: Denoise, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(
        "from denoiser import hookimpl\n"
        "@hookimpl\n"
        "def register_noise(register):\n"
        "    register('bad', lambda clean, rng: 1 / 0, 'fails')\n"
    )
    outcome = denoise("noises", "--preview", tmp_path / "x.png", "--plugin", tmp_path / "bad.py")
    assert outcome.code == 3
    assert "bad" in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert not (tmp_path / "x.png").exists()


def test_existing_files_stay(few: None, denoise: Denoise, tmp_path: Path) -> None:
    path = tmp_path / "mine.png"
    path.write_text("mine")
    outcome = denoise("noises", "--preview", path)
    assert outcome.code == 2
    assert "--force" in outcome.err
    assert path.read_text() == "mine"
    assert denoise("noises", "--preview", path, "--force").code == 0
    with Image.open(path) as image:
        assert image.format == "PNG"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--preview", "noises.jpg"), ".png"),
        (("--preview", "noises"), ".png"),
        (("--preview", "file/noises.png"), "can't be written"),
        (("--preview", "folder.png", "--force"), "can't be written"),
        (("--preview", "noises.png", "--json"), "Use one of the two"),
        (("--force",), "--preview"),
    ],
)
def test_mistakes_get_one_line(
    few: None,
    denoise: Denoise,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("no folder")
    Path("folder.png").mkdir()
    outcome = denoise("noises", *arguments)
    assert outcome.code == 2
    assert says in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.png"]


def test_settings_are_half_and_double_within_bounds() -> None:
    parameters = {
        "sigma": noise.Parameter(0.1, 0.0, 1.0, ""),
        "share": noise.Parameter(0.7, 0.0, 1.0, ""),
        "none": noise.Parameter(0.0, -0.5, float("inf"), ""),
        "below": noise.Parameter(-2.0, float("-inf"), 0.0, ""),
    }
    found = noise_preview.levels(noise.Noise("any", lambda clean, rng: clean, parameters, ""))
    assert found == [
        {"sigma": 0.05, "share": 0.35, "none": -0.5, "below": -4.0},
        {"sigma": 0.1, "share": 0.7, "none": 0.0, "below": -2.0},
        {"sigma": 0.2, "share": 1.0, "none": 0.0, "below": -1.0},
    ]

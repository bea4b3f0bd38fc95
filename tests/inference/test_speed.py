"""What the tuning must not change: the straightforward results, and memory that stays flat."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from denoiser import generator
from denoiser.imaging.picture import quantize
from denoiser.inference import patches
from denoiser.inference.denoiser import Denoiser
from denoiser.weights import modelfile, store
from tests.helpers import fakes
from tests.helpers.files import recorded
from tests.helpers.formula import formula

Doubles = npt.NDArray[np.float64]


def plainly(image: npt.NDArray[np.float32], model: modelfile.ModelFile, stride: int) -> Doubles:
    """Cut, reconstruct and merge patch by patch in float64, by the definition of each step."""
    where = patches.grid((image.shape[0], image.shape[1]), stride)
    weights = np.cos(np.pi * (np.arange(28) - 13.5) / 28) ** 1.5
    (height, width), (above, left) = image.shape, where.lead
    total, covered = np.zeros((2, height + 200, width + 200))
    padded = np.pad(image, 100, mode="reflect").astype(np.float64)
    context = model.config.context
    assert isinstance(context, int)
    margin = (context - 1) * 14
    for row in range(where.counts[0]):
        for column in range(where.counts[1]):
            top, start = 100 - above + row * stride, 100 - left + column * stride
            patch = padded[top : top + 28, start : start + 28]
            given = patch
            if context > 1:
                around = padded[top - margin : top + 28 + margin, start - margin : start + 28 + margin]
                averaged = around.reshape(28, context, 28, context).mean(axis=(1, 3))
                given = np.stack([patch, averaged], axis=-1)
            # What has one tone has no noise, whatever lies around it.
            flat = patch.max() == patch.min()
            done = patch if flat else formula(model, given[None].astype(np.float32))[0]
            total[top : top + 28, start : start + 28] += weights[:, None] * weights * done
            covered[top : top + 28, start : start + 28] += weights[:, None] * weights
    inside = slice(100, 100 + height), slice(100, 100 + width)
    return np.asarray(np.clip(total[inside] / covered[inside], 0.0, 1.0))


@pytest.mark.parametrize("stride", [9, 14, 28])
@pytest.mark.parametrize("shape", [(97, 130), (28, 200), (150, 41)])
def test_general_is_what_it_says_step_by_step(shape: tuple[int, int], stride: int) -> None:
    path = store.find("general")
    assert path is not None
    model = modelfile.read(path, name="general")
    rng = np.random.default_rng(stride)
    image = (generator.scene(rng, shape) + rng.normal(0, 0.1, shape)).clip(0, 1).astype(np.float32)
    image[: shape[0] // 2, : shape[1] // 2] = 1.0  # blank patches are not computed
    with Denoiser(model, stride=stride) as denoiser:
        result = denoiser.clean([image])[0].pixels
    np.testing.assert_allclose(result, plainly(image, model, stride), atol=1e-4)


def test_blank_paper_stays_as_it_is() -> None:
    with Denoiser("general") as denoiser:
        for level in (0, 77, 200, 254, 255):
            page = np.full((300, 400), level / 255, np.float32)
            assert (quantize(denoiser.clean([page])[0].pixels, 8) == level).all()


MEMORY = """
import resource, sys
from denoiser.__main__ import main
try:
    main()
finally:
    # A process's own ru_maxrss begins with that of the one which started it, here the tests.
    own = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
"""


def peak(*arguments: object) -> tuple[float, float]:
    """Most megabytes that the command had, and that any of its processes had."""
    command = [sys.executable, "-c", MEMORY, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    own, children = map(int, done.stderr.splitlines()[-1].split())
    return own / 1024, children / 1024


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is told in other units")
def test_a_large_page_takes_three_times_its_floats_at_most(tmp_path: Path, identity: Path) -> None:
    page = np.random.default_rng(0).integers(0, 65536, (5000, 5000), np.uint16)
    Image.fromarray(page).save(tmp_path / "page.tif")
    own, _ = peak(tmp_path / "page.tif", "--out", tmp_path / "o", "--model", identity, "--stride", 28, "-q")
    assert own < 3 * page.size * 4 / 2**20 + 200
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "o/page.tif")), page)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is told in other units")
def test_memory_stays_flat_over_many_files(tmp_path: Path) -> None:
    model = fakes.ink(tmp_path / "ink.keras")
    for count in (600, 6000):
        (tmp_path / str(count)).mkdir()
        for index in range(count):
            Image.new("L", (28, 28), index % 256).save(tmp_path / str(count) / f"{index}.png")
    few, many = (
        peak(tmp_path / str(count), "--out", tmp_path / f"o{count}", "--model", model, "-q", "--jobs", 2)
        for count in (600, 6000)
    )
    assert many[0] < few[0] + 20
    assert many[1] < few[1] + 20
    lines = recorded(tmp_path / "o6000")
    assert sum("sha256" in json.loads(line) for line in lines) == 6000

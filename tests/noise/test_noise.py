from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from denoiser import noise
from denoiser.errors import UsageError

PIXELS = ["correlated", "gaussian", "jpeg", "poisson", "quantize", "salt_pepper", "speckle", "stripes"]
PAPER = ["bleed_through", "crease", "fade", "shadow", "stain", "texture"]
NAMES = [*PIXELS, *PAPER]


def patches(seed: int, number: int = 6, height: int = 28, width: int = 28) -> np.ndarray:
    return np.random.default_rng(seed).random((number, height, width), dtype=np.float32)


def test_the_promised_noises_are_there() -> None:
    assert set(NAMES) <= set(noise.names())
    for name in NAMES:
        found = noise.get(name)
        assert found.name == name
        assert found.help
        assert all(parameter.help for parameter in found.parameters.values())


@settings(max_examples=60)
@given(name=st.sampled_from(NAMES), seed=st.integers(0, 2**32), data=st.data())
def test_range_seed_shape_and_identity(name: str, seed: int, data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 40), st.integers(1, 40)))
    clean = patches(seed, *shape)
    before = clean.copy()
    texts = []
    for key, parameter in noise.get(name).parameters.items():
        low, high = sorted(data.draw(st.floats(parameter.low, min(parameter.high, 256.0))) for _ in range(2))
        texts.append(f"{key}={low!r}..{high!r}" if low < high else f"{key}={low!r}")
    spoil = noise.parse(f"{name}:{','.join(texts)}")
    first, second = (spoil(clean, np.random.default_rng(seed)) for _ in range(2))
    assert first.dtype == np.float32
    assert first.shape == clean.shape
    assert first.min() >= 0.0
    assert first.max() <= 1.0
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(clean, before)
    untouched = noise.parse(f"{name}:{','.join([*texts, 'strength=0'])}")
    np.testing.assert_array_equal(untouched(clean, np.random.default_rng(seed)), clean)


@pytest.mark.parametrize(
    "text",
    [
        "gaussian:sigma=0",
        "speckle:sigma=0",
        "salt_pepper:amount=0",
        "stripes:sigma=0",
        "texture:sigma=0,gray=0,specks=0",
        "stain:amount=0,prints=0",
        "crease:folds=0,wrinkles=0",
        "shadow:opacity=0,uneven=0",
        "bleed_through:alpha=0",
    ],
)
def test_no_noise_is_the_identity(text: str) -> None:
    clean = patches(1)
    np.testing.assert_array_equal(noise.parse(text)(clean, np.random.default_rng(0)), clean)


@pytest.mark.parametrize(
    ("text", "sigma"),
    [
        ("gaussian:sigma=0.05", 0.05),
        ("correlated:sigma=0.05,blur=1.5", 0.05),
        ("stripes:sigma=0.05", 0.05),
        ("speckle:sigma=0.1", 0.05),
        ("poisson:peak=200", 0.05),
    ],
)
def test_strengths_are_what_they_say(text: str, sigma: float) -> None:
    clean = np.full((400, 28, 28), 0.5, dtype=np.float32)
    difference = noise.parse(text)(clean, np.random.default_rng(0)) - clean
    assert difference.std() == pytest.approx(sigma, rel=0.05)
    assert abs(float(difference.mean())) < 0.003


def test_salt_and_pepper_counts() -> None:
    clean = np.full((200, 28, 28), 0.5, dtype=np.float32)
    noisy = noise.parse("salt_pepper:amount=0.2,salt=0.25")(clean, np.random.default_rng(0))
    assert (noisy == 1.0).mean() == pytest.approx(0.05, rel=0.1)
    assert (noisy == 0.0).mean() == pytest.approx(0.15, rel=0.1)


def test_correlated_noise_is_correlated_and_white_noise_is_not() -> None:
    clean = np.full((200, 28, 28), 0.5, dtype=np.float32)

    def neighbours(text: str) -> float:
        left = noise.parse(text)(clean, np.random.default_rng(0)) - clean
        return float((left[:, :, 1:] * left[:, :, :-1]).mean() / left.var())

    assert neighbours("correlated:sigma=0.05,blur=1") > 0.7
    assert abs(neighbours("gaussian:sigma=0.05")) < 0.02
    assert abs(neighbours("correlated:sigma=0.05,blur=0")) < 0.02


def test_ranges_are_drawn_for_every_image() -> None:
    clean = np.full((300, 28, 28), 0.5, dtype=np.float32)
    levels = noise.parse("gaussian:sigma=0..0.2")(clean, np.random.default_rng(0)).std(axis=(1, 2))
    assert levels.min() < 0.02
    assert levels.max() > 0.16
    assert levels.mean() == pytest.approx(0.1, abs=0.01)


def test_jpeg_is_worse_at_lower_quality_and_does_not_depend_on_neighbours() -> None:
    y, x = np.mgrid[0:28, 0:28] / 28
    clean = np.stack([np.clip(0.5 + 0.5 * np.sin(9 * x * y + turn), 0, 1) for turn in range(20)]).astype(
        np.float32
    )
    errors = [
        float(np.abs(noise.parse(f"jpeg:quality={q}")(clean, np.random.default_rng(0)) - clean).mean())
        for q in (5, 30, 95)
    ]
    assert errors[0] > errors[1] > errors[2]
    beside = [
        noise.get("jpeg")(np.stack([clean[0], other]), np.random.default_rng(5), quality=20.0)
        for other in (clean[7], 1.0 - clean[0])
    ]
    assert not np.array_equal(beside[0][1], beside[1][1])
    np.testing.assert_array_equal(beside[0][0], beside[1][0])


def blank(*shape: int) -> np.ndarray:
    return np.ones(shape, dtype=np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(PAPER) - {"fade"}))
def test_paper_noises_hit_patches_as_hard_as_pages(name: str) -> None:
    # So many that the means say something: a page may be nearly empty, and the patches of a call are cut from
    # few sheets.
    spoil, rng = noise.parse(name), np.random.default_rng(0)
    pages = 1.0 - np.concatenate([spoil(blank(32, 300, 240), rng) for _ in range(4)])
    patches = 1.0 - np.concatenate([spoil(blank(6_000, 28, 28), rng) for _ in range(4)])
    assert patches.mean() == pytest.approx(pages.mean(), rel=0.5)
    # A patch shows a piece of an effect: most differ from each other, and from pages in their mean.
    assert len(np.unique(patches.mean(axis=(1, 2)))) > 200
    assert patches.mean(axis=(1, 2)).std() > pages.mean(axis=(1, 2)).std()


@pytest.mark.parametrize("name", PAPER)
@pytest.mark.parametrize("shape", [(2, 230, 210), (2, 30, 500), (3, 1, 1), (1, 5, 470), (0, 28, 28)])
def test_paper_noises_take_any_shape(name: str, shape: tuple[int, int, int]) -> None:
    spoil = noise.parse(name)
    clean = np.full(shape, 0.5, np.float32)
    noisy, again = (spoil(clean, np.random.default_rng(3)) for _ in range(2))
    assert noisy.shape == shape
    np.testing.assert_array_equal(noisy, again)
    if clean.size > 1000:
        assert not np.array_equal(noisy[0], noisy[-1]) or len(noisy) == 1


def test_ink_fades_and_paper_does_not() -> None:
    clean = blank(4, 220, 220)
    clean[:, 50:150] = 0.0
    noisy = noise.parse("fade:amount=0.6,lift=0.1")(clean, np.random.default_rng(0))
    assert (noisy[:, :50] == 1.0).all()
    assert noisy[:, 50:150].min() == pytest.approx(0.1, abs=0.01)
    assert noisy[:, 50:150].max() > 0.4


def test_settings_of_paper_are_drawn_for_every_image() -> None:
    noisy = noise.parse("texture:sigma=0,specks=0,gray=0..0.4")(blank(200, 28, 28), np.random.default_rng(0))
    levels = noisy.mean(axis=(1, 2))
    assert levels.min() < 0.63
    assert levels.max() > 0.97
    assert noisy.std(axis=(1, 2)).max() < 1e-6


def test_chain_applies_in_order_and_names_itself() -> None:
    chain = noise.parse(" gaussian:sigma=0..0.6 + quantize:levels=2 ")
    noisy = chain(patches(3), np.random.default_rng(0))
    assert set(np.unique(noisy)) <= {0.0, 1.0}
    assert chain.name == "gaussian:sigma=0..0.6+quantize:levels=2"
    assert noise.parse(chain.name).name == chain.name


@pytest.mark.parametrize("kind", ["uint8", "uint16", "int64", "bool", "complex64"])
def test_images_that_are_not_floating_point_are_refused(kind: str) -> None:
    images = np.ones((1, 28, 28), kind)
    with pytest.raises(UsageError, match=f"The images are of type {kind}, .* Divide 8-bit values by"):
        noise.parse("gaussian:sigma=0.1")(images, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("gausian:sigma=0.1", "'gaussian'"),
        ("nothing_like_it", "Known noises"),
        ("gaussian:sgima=0.1", "'sigma'"),
        ("gaussian:sigma", "key=value"),
        ("gaussian:sigma=", "key=value"),
        ("gaussian:sigma=lots", "neither a number"),
        ("gaussian:sigma=0.1,sigma=0.2", "sets sigma twice"),
        ("gaussian:sigma=0.5..0.1", "lower to a higher"),
        ("gaussian:sigma=nan", "lower to a higher"),
        ("gaussian:sigma=-0.1", "0 to 1"),
        ("gaussian:sigma=25", "25/255"),
        ("gaussian:sigma=0..25", "0.098"),
        ("salt_pepper:amount=2", "out of range"),
        ("gaussian:strength=1.5", "out of range"),
        ("", "missing"),
        ("gaussian+", "missing"),
    ],
)
def test_mistakes_get_an_answer(text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        noise.parse(text)
    assert says in str(caught.value)


def test_registered_noises_take_part() -> None:
    def darker(
        clean: np.ndarray, rng: np.random.Generator, *, by: float = 0.25, again: float = 0
    ) -> np.ndarray:
        return clean - by

    noise.register("darker", darker, "takes light away")
    try:
        clean = patches(2)
        by_text = noise.parse("darker:by=0.5")(clean, np.random.default_rng(0))
        np.testing.assert_allclose(by_text, np.maximum(clean - 0.5, 0), atol=1e-6)
        assert set(noise.get("darker").parameters) == {"by", "again"}
        assert noise.parse("darker:by=0.1..0.2")(clean, np.random.default_rng(0)).shape == clean.shape
    finally:
        noise.unregister("darker")
    with pytest.raises(UsageError):
        noise.get("darker")
    with pytest.raises(UsageError):
        noise.register("two words", darker)


STRENGTH = "called strength, which every noise has already. Give it another name."


def moved(clean: np.ndarray, rng: np.random.Generator, *, by: float = 0.25) -> np.ndarray:
    return clean - by


def stronger(clean: np.ndarray, rng: np.random.Generator, strength: float = 0.5) -> np.ndarray:
    return clean * strength


@pytest.mark.parametrize(
    ("function", "parameters", "says"),
    [
        (stronger, None, STRENGTH),
        (stronger, {"strength": noise.Parameter(0.5, 0, 1, "")}, STRENGTH),
        (moved, {"by": noise.Parameter(2, 0, 1, "")}, "by is 2 by default, and may be 0 to 1"),
        (moved, {"by": noise.Parameter(float("nan"), 0, 1, "")}, "by is nan by default"),
        (moved, {"off": noise.Parameter(0.5, 0, 1, "")}, "unexpected keyword argument 'off'"),
        (lambda clean, rng, by: clean - by, None, "missing a required argument: 'by'"),
    ],
)
def test_parameters_that_can_not_be_set_are_refused(function: Any, parameters: Any, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        noise.register("moved", function, parameters=parameters)
    assert "'moved'" in str(caught.value)
    assert says in str(caught.value)
    assert "moved" not in noise.names()


def test_a_noise_of_the_wrong_shape_is_named() -> None:
    noise.register("cropped", lambda clean, rng: clean[:, 1:])
    try:
        with pytest.raises(UsageError, match="cropped"):
            noise.parse("cropped")(patches(1), np.random.default_rng(0))
    finally:
        noise.unregister("cropped")


def test_mixture_shares_and_levels() -> None:
    parsed = [(noise.parse("gaussian:sigma=0.2"), 3.0), (noise.parse("salt_pepper:amount=0.3"), 1.0)]
    mixture = noise.Mixture(parsed, clean=0.2, levels=256)
    clean = np.full((4000, 8, 8), 0.5, dtype=np.float32)
    noisy = mixture(clean, np.random.default_rng(0))
    on_levels = noisy * 255
    np.testing.assert_allclose(on_levels, np.rint(on_levels), atol=1e-4)
    rounded = np.float32(128 / 255)
    untouched = (np.abs(noisy - rounded) < 1e-6).all(axis=(1, 2)).mean()
    two_levels = np.isin(noisy, [np.float32(0), np.float32(1), rounded]).all(axis=(1, 2)).mean() - untouched
    assert untouched == pytest.approx(0.2, abs=0.03)
    assert two_levels == pytest.approx(0.2, abs=0.03)
    assert "20% clean" in mixture.name
    assert "60% gaussian:sigma=0.2" in mixture.name


@pytest.mark.parametrize(("old", "new"), [("Spoiler", "Corruption"), ("Nothing", "NoCorruption")])
def test_old_names_still_work_and_warn(old: str, new: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"denoiser.noise.{old} is now denoiser.noise.{new}"):
        assert getattr(noise, old) is getattr(noise, new)


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Spoilt'"):
        _ = noise.Spoilt

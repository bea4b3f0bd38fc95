"""Trainings that can't be meant, or went wrong: which are warned of, and which are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from denoiser import generator
from denoiser.errors import ImagesError
from denoiser.training import cautions

RNG = np.random.default_rng(5)
CLEAN = [np.asarray(0.2 + 0.6 * generator.scene(RNG, (90, 80)), np.float32) for _ in range(12)]


def noisy(sigma: float) -> list[np.ndarray]:
    return [np.clip(image + RNG.normal(0, sigma, image.shape), 0, 1).astype(np.float32) for image in CLEAN]


def pairs(first: list[np.ndarray], second: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    return list(zip(first, second, strict=True))


def test_pairs_that_are_pairs_cause_no_word() -> None:
    assert cautions.of_pairs(pairs(noisy(0.1), CLEAN)) == []
    assert cautions.of_pairs(pairs(noisy(0.1)[:1], CLEAN[:1])) == []


def test_pairs_of_one_scene_are_pairs() -> None:
    shots = [np.asarray(CLEAN[0] + RNG.normal(0, 0.1, CLEAN[0].shape), np.float32) for _ in range(9)]
    assert cautions.of_pairs([(shot, CLEAN[0]) for shot in shots]) == []


def test_mixed_up_pairs_are_refused_and_a_few_are_warned_of() -> None:
    given = noisy(0.05)
    with pytest.raises(ImagesError, match="12 of 12 noisy images are more like"):
        cautions.of_pairs(pairs([*given[3:], *given[:3]], CLEAN))
    given[0], given[1] = given[1], given[0]
    (text,) = cautions.of_pairs(pairs(given, CLEAN))
    assert text.startswith("2 of 12 noisy images")
    assert text.endswith("Are these pairs?")


def test_pairs_far_apart_are_asked_about() -> None:
    texts = cautions.of_pairs(pairs(noisy(0.6), CLEAN))
    assert any("dB from the clean ones" in text and "Are these pairs?" in text for text in texts)


def test_scans_may_be_softer_than_their_clean_pages_but_not_whiter() -> None:
    rng = np.random.default_rng(0)
    ink = [np.where(rng.random((64, 64)) < 0.1, 0.3, 0.95) for _ in range(12)]
    sharp = [np.asarray(page + rng.normal(0, 0.01, page.shape), np.float32) for page in ink]
    moves = ((0, 0), (0, 1), (1, 0), (1, 1))
    soft = [
        np.asarray(0.1 + 0.8 * np.mean([np.roll(page, move, (0, 1)) for move in moves], axis=0), np.float32)
        for page in sharp
    ]
    assert "smoother" in cautions.of_pairs(pairs(soft, sharp))[-1]
    assert cautions.of_pairs(pairs(soft, sharp), pages=True) == []
    assert cautions.of_pairs(pairs(sharp, soft), pages=True) == [
        "The noisy pages are whiter than the clean ones. Are the two folders swapped?"
    ]


def test_swapped_folders_are_asked_about() -> None:
    assert cautions.of_pairs(pairs(CLEAN, noisy(0.05))) == [
        "The noisy images are smoother than the clean ones. Are the two folders swapped?"
    ]


def card(
    network: str = "general", *, after: float = 28.0, ssim: float = 0.8, clean: float = 45.0
) -> dict[str, Any]:
    row = {"input_db": 20.0, "output_db": after, "input_ssim": 0.6, "output_ssim": ssim}
    exact = {"input_db": None, "output_db": clean, "input_ssim": 1.0, "output_ssim": 0.99}
    return {"network": network, "validation": row, "figures": [row, exact]}


CARDS: dict[str, tuple[dict[str, Any], list[str], str | None]] = {
    "good": (card(), [], None),
    "perfect on clean images": (card(clean=None), [], None),  # type: ignore[arg-type]
    "hardly any gain": (card(after=20.05), ["The gain is 0.05 dB"], None),
    "none": (card(after=20.0), ["The gain is 0.00 dB"], "is no better than doing nothing (+0.00 dB"),
    "less than none": (card(after=19.98), ["The gain is -0.02 dB"], "is worse than doing nothing (-0.02 dB"),
    "loss of structure": (card(ssim=0.5), ["The SSIM falls from 0.600 to 0.500"], None),
    "clean images changed": (card(clean=34.9), ["Clean images come back at 34.9 dB"], None),
    "damage": (
        card(ssim=0.5, clean=22.5),
        ["The SSIM falls", "Clean images come back at 22.5 dB"],
        "does damage: the SSIM falls from 0.600 to 0.500, and clean images come back at 22.5 dB",
    ),
    "a narrow layer": (card("digits", clean=30.0), [], None),
    "too narrow a layer": (card("digits", clean=20.0), ["under 25"], None),
}


@pytest.mark.parametrize("case", CARDS)
def test_results(case: str) -> None:
    given, warnings, refusal = CARDS[case]
    texts = cautions.of_result(given)
    assert len(texts) == len(warnings)
    assert all(warning in text for warning, text in zip(warnings, texts, strict=True))
    assert all("Look at its picture" in text for text in texts[-1:])
    reason = cautions.refused(given)
    assert (reason is None) == (refusal is None)
    assert refusal is None or refusal in str(reason)


def test_images_that_are_held_out_and_learnt_from_are_counted() -> None:
    random = np.random.default_rng(3)
    images = [random.random((9, width), dtype=np.float32) for width in (8, 9, 9)]
    assert cautions.of_copies(images[:2], images[2:]) == []
    assert cautions.of_copies([image.reshape(-1, 9) for image in images[:1]], images[:1]) == []
    copied = [np.asfortranarray(images[1]), images[2]]
    assert cautions.of_copies(images[:2], copied) == [
        "1 of 2 images that are held out are the same as images it learns from: the figures flatter."
    ]


def test_few_images_are_said_to_be_few() -> None:
    assert "rest on 2 of 20 pairs" in str(cautions.of_few(2, "2 of 20 pairs"))
    assert cautions.of_few(5, "5 of 50 images") is None

"""How each known network is taught: its noise, and the settings found by validation.

A recipe holds the noise that a released network was made with, and the best settings known since; the model
card says what it was taught.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from denoiser.noise import Chain, Corruption, Mixture, parse
from denoiser.training import crops
from denoiser.training import image_folders as images
from denoiser.weights.architectures import Kind
from denoiser.weights.store import NETWORKS

CLEAN, DIRT = "clean", "dirt"
"""The level of a recipe that shows the network clean images."""


@dataclass(frozen=True)
class Recipe:
    """The settings of one network's training.

    network: a name of `denoiser.weights.store.NETWORKS`, which says what is built; `config` overrides
    its arguments. validation_noise: the noise of the validation patches, if another than `noise`.
    weight_floor, optimizer, loss, schedule, averaging, branch_every, jit_compile: see
    `denoiser.training.loop.fit`. minutes: the budget when none is given.
    saved_as: the type of the published weights. levels: the noises whose figures
    go on the model card; CLEAN is the clean image, DIRT the drawn dirt alone. reader: what reads the user's
    images, where plugins have a say in it.

    For glyphs, shift: half of them are moved by up to so many pixels, as crops in real life are not centred.
    For pictures and pages, side: of a tile, in pixels; augmentation: how tiles vary; generated_share: the
    share of tiles that the built-in generator draws even where there are images; dirt: whether
    clean pages are made dirty first.
    """

    network: str
    noise: Corruption
    config: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 256
    learning_rate: float = 2e-3
    weight_floor: float = 3 / 255
    optimizer: Literal["adam", "nadam", "muon"] = "adam"
    loss: Literal["mse", "paper"] = "mse"
    schedule: Literal["cosine", "constant"] = "cosine"
    averaging: float = 0.999
    branch_every: int | None = None
    jit_compile: bool = False
    shift: int = 0
    side: int = 128
    augmentation: crops.Augmentation = crops.PLAIN
    generated_share: float = 0.0
    dirt: bool = False
    minutes: float = 20.0
    saved_as: Literal["float32", "float16"] = "float16"
    levels: tuple[str, ...] = ()
    reader: images.Reader | None = None
    validation_noise: Corruption | None = None

    @property
    def kind(self) -> Kind:
        """The class of the network."""
        return NETWORKS[self.network].kind

    @property
    def arguments(self) -> dict[str, Any]:
        """What the class is made with."""
        return {**NETWORKS[self.network].config, **self.config}


def _mixed(*noises: tuple[str, float], clean: float = 0.1, levels: int | None = None) -> Mixture:
    parsed: list[tuple[Chain, float]] = [(parse(text), share) for text, share in noises]
    return Mixture(parsed, clean=clean, levels=levels)


RECIPES: dict[str, Recipe] = {
    # Chosen on the 5,000 held-out digits: see docs/explain/experiments.md, and benchmarks/digits.py.
    "digits": Recipe(
        network="digits",
        noise=_mixed(
            ("gaussian:sigma=0..0.6", 0.8), ("salt_pepper:amount=0..0.4", 0.1), ("speckle:sigma=0..0.6", 0.1)
        ),
        batch_size=512,
        learning_rate=6e-3,
        weight_floor=0.2,
        optimizer="nadam",
        jit_compile=True,
        shift=2,
        minutes=2.0,
        levels=tuple(f"gaussian:sigma={sigma}" for sigma in (0, 0.1, 0.2, 0.3, 0.4, 0.5)),
    ),
    "general": Recipe(
        network="general",
        noise=_mixed(
            ("gaussian:sigma=0..0.22", 0.45),
            ("poisson:peak=5..50", 0.05),
            ("poisson:peak=50..500", 0.05),
            ("speckle:sigma=0..0.35", 0.05),
            ("correlated:sigma=0..0.12,blur=0.3..1.2", 0.1),
            ("correlated:sigma=0..0.12,blur=1..3", 0.08),
            ("jpeg:quality=15..90", 0.07),
            ("gaussian:sigma=0..0.1+jpeg:quality=30..95", 0.04),
            ("salt_pepper:amount=0..0.06", 0.07),
            ("quantize:levels=8..64", 0.02),
            ("stripes:sigma=0..0.06", 0.02),
            levels=256,
        ),
        learning_rate=0.012,
        optimizer="muon",
        schedule="constant",
        averaging=0.998,
        branch_every=3_000_000,
        augmentation=crops.Augmentation(scales=(0.5, 1.0), gain=0.2, inverted=0.1),
        generated_share=0.1,
        levels=(*(f"gaussian:sigma={sigma / 255:.4f}" for sigma in (15, 25, 50)), CLEAN),
    ),
    "document": Recipe(
        network="document",
        noise=_mixed(
            ("gaussian:sigma=0..0.08", 0.4),
            ("correlated:sigma=0..0.06,blur=0.4..1.2", 0.1),
            ("jpeg:quality=30..95", 0.3),
            ("gaussian:sigma=0..0.04+jpeg:quality=40..95", 0.2),
            clean=0.4,
            levels=256,
        ),
        learning_rate=0.012,
        weight_floor=0.05,
        optimizer="muon",
        schedule="constant",
        averaging=0.998,
        branch_every=3_000_000,
        loss="paper",
        side=224,
        augmentation=crops.Augmentation(scales=(0.7, 1.6)),
        generated_share=0.6,
        dirt=True,
        levels=(DIRT, CLEAN),
    ),
}

"""The settings of each network's training: its noise, its optimization and its data.

A recipe holds the noise that a bundled network learned, and the best settings found since. The model card of
a network records the settings that it was trained with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from denoiser.noise import Chain, Corruption, Mixture, parse
from denoiser.training import crops
from denoiser.training.schedule import Schedule
from denoiser.weights.architectures import Kind
from denoiser.weights.store import NETWORKS

CLEAN, DIRT = "clean", "dirt"
"""Levels of a recipe that are no named noise: the clean image, and the generator's dirt alone."""


@dataclass(frozen=True)
class Optimization:
    """How a network's weights are fitted.

    Attributes:
        batch_size: Patches per step.
        learning_rate: Peak of the schedule.
        finetuning_rate: Peak if the training starts from trained weights; None means `learning_rate`.
        weight_floor: Added to the noise of a patch where its weight is computed, on the 0..1 scale; see
            `denoiser.training.metrics.weights_of`.
        optimizer: "adam" (Kingma and Ba, 2015); "nadam" (Dozat, 2016), here with a short memory of the size
            of gradients; or "muon" (`denoiser.training.muon`) for the kernels between the first and the last.
        loss: "mse"; "paper", which accepts values above white where the target is white, since clipping
            makes them exact; or "known", which leaves out the pixels whose target is NaN.
        schedule: See `denoiser.training.schedule.share`.
        averaging: Share of the exponential average of weights that each step keeps.
        branch_every: Number of patches after which a branch is tried, in which the learning rate falls to
            zero; see `denoiser.training.loop.fit`. None tries none.
        jit_compile: Compile the step with XLA. On 2 cores this makes a network of two kernels a quarter to a
            half faster, and the mixer a fifth slower.
    """

    batch_size: int = 256
    learning_rate: float = 2e-3
    finetuning_rate: float | None = None
    weight_floor: float = 3 / 255
    optimizer: Literal["adam", "nadam", "muon"] = "adam"
    loss: Literal["mse", "paper", "known"] = "mse"
    schedule: Schedule = "cosine"
    averaging: float = 0.999
    branch_every: int | None = None
    jit_compile: bool = False


@dataclass(frozen=True)
class Recipe:
    """The settings of one network's training.

    Attributes:
        network: A name in `denoiser.weights.store.NETWORKS`, which defines the class and its arguments.
        noise: The noise to learn.
        config: Arguments of the network that replace those in NETWORKS.
        optimization: How the weights are fitted.
        shift: Glyphs only: half of them are moved by up to this many pixels, since real crops are not
            centred.
        side: Side of a tile in pixels; pictures and pages only, like the next three.
        augmentation: How tiles vary.
        generated_share: Share of the tiles that the generator draws although the user has images.
        dirt: Whether the generator makes clean pages dirty before the noise is added.
        minutes: Budget when none is given.
        saved_as: Type of the published weights.
        levels: Noises whose figures go on the model card; CLEAN and DIRT are allowed too.
        validation_noise: Noise of the validation patches, if it differs from `noise`.
    """

    network: str
    noise: Corruption
    config: Mapping[str, Any] = field(default_factory=dict)
    optimization: Optimization = field(default_factory=Optimization)
    shift: int = 0
    side: int = 128
    augmentation: crops.Augmentation = crops.PLAIN
    generated_share: float = 0.0
    dirt: bool = False
    minutes: float = 20.0
    saved_as: Literal["float32", "float16"] = "float16"
    levels: tuple[str, ...] = ()
    validation_noise: Corruption | None = None

    @property
    def kind(self) -> Kind:
        """The class of the network."""
        return NETWORKS[self.network].kind

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of that class for a network trained from scratch."""
        return {**NETWORKS[self.network].config, **self.config}


def _mixed(*noises: tuple[str, float], clean: float = 0.1, levels: int | None = None) -> Mixture:
    parsed: list[tuple[Chain, float]] = [(parse(text), share) for text, share in noises]
    return Mixture(parsed, clean=clean, levels=levels)


# The rate of a training from scratch would undo what the last fall of the rate has gained: see
# docs/explain/experiments.md.
_MIXER = Optimization(
    learning_rate=0.012,
    finetuning_rate=0.003,
    optimizer="muon",
    schedule="constant",
    averaging=0.998,
    branch_every=3_000_000,
)

RECIPES: dict[str, Recipe] = {
    # Chosen on the 5,000 held-out digits: see docs/explain/experiments.md, and benchmarks/digits.py.
    "digits": Recipe(
        network="digits",
        noise=_mixed(
            ("gaussian:sigma=0..0.6", 0.8), ("salt_pepper:amount=0..0.4", 0.1), ("speckle:sigma=0..0.6", 0.1)
        ),
        optimization=Optimization(
            batch_size=512,
            learning_rate=6e-3,
            weight_floor=0.2,
            optimizer="nadam",
            jit_compile=True,
        ),
        shift=2,
        minutes=2.0,
        levels=tuple(f"gaussian:sigma={sigma}" for sigma in (0, 0.1, 0.2, 0.3, 0.4, 0.5)),
    ),
    "general": Recipe(
        network="general",
        noise=_mixed(
            ("gaussian:sigma=0..0.22", 0.38),
            ("poisson:peak=5..50", 0.05),
            ("poisson:peak=50..500", 0.05),
            ("speckle:sigma=0..0.35", 0.05),
            ("correlated:sigma=0..0.12,blur=0.3..1.2", 0.12),
            ("correlated:sigma=0..0.12,blur=1..3", 0.08),
            ("jpeg:quality=15..90", 0.07),
            ("gaussian:sigma=0..0.1+jpeg:quality=30..95", 0.04),
            ("salt_pepper:amount=0..0.06", 0.12),
            ("quantize:levels=8..64", 0.02),
            ("stripes:sigma=0..0.06", 0.02),
            levels=256,
        ),
        # A lower floor gives clean and nearly clean patches more weight.
        optimization=replace(_MIXER, weight_floor=2 / 255),
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
            clean=0.5,
            levels=256,
        ),
        optimization=replace(_MIXER, weight_floor=0.1, loss="paper"),
        side=256,
        augmentation=crops.Augmentation(scales=(0.7, 1.6)),
        generated_share=0.5,
        dirt=True,
        levels=(DIRT, CLEAN),
    ),
}

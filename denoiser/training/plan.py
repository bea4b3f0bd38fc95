"""A training with every setting resolved, before any image is read."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from denoiser.errors import UsageError
from denoiser.training import precision as precisions
from denoiser.training.image_folders import Reader
from denoiser.training.recipes import Optimization, Recipe
from denoiser.weights import store

if TYPE_CHECKING:
    from denoiser.weights.modelfile import ModelFile


@dataclass(frozen=True)
class DataRequest:
    """The images to train on.

    Attributes:
        images: Folder of clean images; for `digits` it may hold MNIST. None means generated images, for
            `digits` only if MNIST is neither in DENOISER_DATA nor in Keras's cache.
        noisy: Folder with a noisy image of the same relative name for each clean one.
        reader: Reads the user's files, with the plugins applied; None reads them without plugins.
        validation: Share of the images that is held out for validation; of glyphs at most 5,000.
        download: Whether Keras may download MNIST if it is not on this machine.
        only_noisy: Folder of noisy images to learn from, instead of `images`.
        frames: Whether the pages of each noisy file, or the files of each sub-folder, are frames of one
            scene.
        method: How to learn from noisy images, one of `denoiser.training.task.METHODS`; None chooses.
    """

    images: Path | None = None
    noisy: Path | None = None
    reader: Reader | None = None
    validation: float = 0.1
    download: bool = False
    only_noisy: Path | None = None
    frames: bool = False
    method: str | None = None


@dataclass(frozen=True)
class Plan:
    """All that decides the result of a training.

    Attributes:
        recipe: Settings of the network.
        destination: Model file to write.
        data: Images to train on.
        start: Model whose weights the training starts from; None starts from random weights.
        minutes: Budget in minutes. Without `minutes` and `epochs`, it is the recipe's.
        epochs: Budget in epochs. The same seed then gives the same weights on the same machine.
        seed: Seed of everything random.
        device: "auto", "cpu" or "gpu".
        precision: "auto", "float32" or "bfloat16"; see `denoiser.training.precision`.
        plugins: `Plugins.signature`, for the model card.
    """

    recipe: Recipe
    destination: Path
    data: DataRequest = field(default_factory=DataRequest)
    start: ModelFile | None = None
    minutes: float | None = None
    epochs: int | None = None
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    plugins: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        if self.minutes is None and self.epochs is None:
            object.__setattr__(self, "minutes", self.recipe.minutes)

    @property
    def optimization(self) -> Optimization:
        """How the weights are fitted: at a lower rate if they are trained already."""
        settings = self.recipe.optimization
        if self.start is None or settings.finetuning_rate is None:
            return settings
        return replace(settings, learning_rate=settings.finetuning_rate)

    @property
    def config(self) -> Mapping[str, Any]:
        """Arguments of the network: those of the model it starts from, or those of the recipe."""
        return self.recipe.arguments if self.start is None else asdict(self.start.config)

    def check(self) -> None:
        """Check what can be checked before any image is read.

        Raises:
            UsageError: The network does not support the precision, or the destination is no model file.
            ModelError: The destination can't be written.
        """
        precisions.check(self.precision, self.recipe.kind)
        if self.destination.suffix != store.SUFFIX:
            raise UsageError(f"{self.destination} can't be a model's file.", f"Let it end in {store.SUFFIX}")
        store.require_place(self.destination)

    def fingerprint(self, *, trained_on: str, backend: str) -> dict[str, Any]:
        """Describe the training as plain JSON, so that a checkpoint fits exactly the same training.

        Images are identified by the names, sizes and times of their files.

        Args:
            trained_on: The data that were found or generated, in words.
            backend: Keras's backend.
        """
        plain = {
            each.name: value
            for settings in (self.recipe, self.optimization)
            for each in fields(settings)
            if isinstance(value := getattr(settings, each.name), str | int | float | tuple | None)
        }
        return {
            **plain,
            "noise": self.recipe.noise.name,
            "config": self.config,
            "trained on": trained_on,
            "images": [
                folder and digest_of(folder)
                for folder in (self.data.images, self.data.noisy, self.data.only_noisy)
            ],
            "method": [self.data.frames, self.data.method],
            "minutes": self.minutes,
            "epochs": self.epochs,
            "seed": self.seed,
            "validation": self.data.validation,
            "start": self.start and self.start.digest,
            "plugins": self.plugins,
            "backend": backend,
            "precision": self.precision,
        }


def digest_of(folder: Path) -> str:
    """Return a digest of the names, sizes and modification times of a folder's files, or of one file."""
    digest = hashlib.sha256(str(folder.resolve()).encode())
    for path in [folder] if folder.is_file() else sorted(folder.rglob("*")):
        with contextlib.suppress(OSError):
            state = path.stat()
            if path.is_file():
                name = path.relative_to(folder)
                digest.update(
                    f"{name}\0{state.st_size}\0{state.st_mtime_ns}\0".encode(errors="surrogateescape")
                )
    return digest.hexdigest()

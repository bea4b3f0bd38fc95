"""A request for a training, from the command or from Python, checked before any work."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from denoiser.checks import require_number
from denoiser.errors import ModelError, UsageError
from denoiser.inference import engine
from denoiser.noise import Corruption, Mixture, NoCorruption, parse
from denoiser.training import blank_scans, recipes
from denoiser.training import precision as precisions
from denoiser.training.datasets import reader_for
from denoiser.training.plan import DataRequest, Plan
from denoiser.training.recipes import CLEAN, Recipe
from denoiser.weights import architectures, modelfile, store

if TYPE_CHECKING:
    from denoiser.plugins.manager import Plugins
    from denoiser.training.image_folders import Reader
    from denoiser.weights.modelfile import ModelFile

METHODS = ("frames", "flat", "neighbours", "masked")
"""Ways to learn from noisy images alone: see `denoiser.training.noisy_images`."""

CLEAN_SHARE = 0.1
"""Share of the patches that stay clean, so that a network learns to leave clean images alone."""

_MOST_AT_ONCE = 16_384


@dataclass(frozen=True)
class Task:
    """A request for a training; None and empty values are filled in from the network's recipe.

    Attributes:
        network: "digits", "general" or "document".
        noises: Noises as `denoiser.noise.parse` reads them.
        data: Folder of clean images.
        noisy: Folder with a noisy image for each of them, of the same relative name.
        noise_from: Folder of blank scans, whose noise is cut out and added.
        only_noisy: Folder of noisy images, to learn from them alone.
        frames, method: See `DataRequest`.
        start: Name or file of a model, or "scratch". None uses the network's own weights if they fit.
        as_released: Whether everything is as for the bundled weights, from scratch.
        latent_dim: Width of `digits`.
        batch_size: Patches per step.
        validation: Share of the images that is held out, 0..1.
        minutes, epochs: Budget; at most one of them.
        seed, device, precision: See `Plan`.
    """

    network: str = "general"
    noises: tuple[str, ...] = ()
    data: Path | None = None
    noisy: Path | None = None
    noise_from: Path | None = None
    only_noisy: Path | None = None
    frames: bool = False
    method: str | None = None
    start: str | Path | None = None
    as_released: bool = False
    latent_dim: int | None = None
    batch_size: int | None = None
    validation: float = 0.1
    minutes: float | None = None
    epochs: int | None = None
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"

    def check(self) -> None:
        """Raise UsageError or DeviceError for a value that is wrong, without reading any file."""
        if not isinstance(self.network, str) or self.network not in recipes.RECIPES:
            raise UsageError(
                f"There is no network called {self.network!r}.", f"Known: {', '.join(recipes.RECIPES)}."
            )
        self._check_kinds()
        if self.minutes is not None and self.epochs is not None:
            raise UsageError("minutes and epochs are two budgets.", "Give one.")
        if self.minutes is not None and not (math.isfinite(self.minutes) and self.minutes > 0):
            raise UsageError(f"minutes is {self.minutes}.", "Give a number above 0.")
        for name, value in (("epochs", self.epochs), ("batch size", self.batch_size)):
            if value is not None and value < 1:
                raise UsageError(f"The {name} must be at least 1, not {value}.")
        if self.batch_size is not None and self.batch_size > _MOST_AT_ONCE:
            raise UsageError(
                f"The batch size is {self.batch_size:,}.",
                f"More than {_MOST_AT_ONCE:,} patches are too many.",
            )
        if not 0 <= self.seed < 2**32:
            raise UsageError(f"The seed is {self.seed}.", "It must be from 0 to 4294967295.")
        if not 0.0 < self.validation <= 0.5:
            raise UsageError(
                f"The share for validation is above 0 and up to 0.5, not {self.validation:g}.",
                "Usual is 0.1.",
            )
        if self.start == "":
            raise UsageError(
                "The model to start from has no name.", "Name one with --from, or use --from scratch."
            )
        if self.noisy is not None and self.data is None:
            raise UsageError(
                f"The noisy images in {self.noisy} go with clean ones.",
                "Give the folder of the clean images too.",
            )
        self._check_only_noisy()
        if self.latent_dim is not None:
            self._check_latent_dim(self.latent_dim)
        if self.as_released:
            self._check_released()
        precisions.check(self.precision, recipes.RECIPES[self.network].kind)
        engine.require(device=self.device)

    def _check_kinds(self) -> None:
        """Raise UsageError for what is no number, or no whole one, where one is needed."""
        if self.minutes is not None:
            require_number("minutes", self.minutes)
        require_number("validation", self.validation)
        for name, count in (("epochs", self.epochs), ("batch_size", self.batch_size)):
            if count is not None:
                require_number(name, count, whole=True)
        require_number("seed", self.seed, whole=True)

    def _check_only_noisy(self) -> None:
        """Raise UsageError for options that don't go with noisy images alone, or go with them only."""
        if self.only_noisy is None:
            for name, value in (("frames", self.frames), ("method", self.method)):
                if value:
                    raise UsageError(
                        f"--{name} says how to learn from noisy images alone.", "Give them with --only-noisy."
                    )
            return
        if self.network != "general":
            raise UsageError(
                f"Noisy images alone can't teach {self.network}, which makes more of an image than it is.",
                "Leave out --model, or give clean images.",
            )
        clean: dict[str, object] = {
            "the folder of clean images": self.data,
            "--noisy": self.noisy,
            "--noise-from": self.noise_from,
            "--noise": self.noises or None,
            "--recipe": self.as_released or None,
        }
        for name, given in clean.items():
            if given is not None:
                raise UsageError(
                    f"--only-noisy learns without clean images, and {name} goes with them.", "Give one."
                )
        if self.method not in (None, *METHODS):
            raise UsageError(f"There is no method {self.method!r}.", f"Known: {', '.join(METHODS)}.")
        if self.method == "frames" and not self.frames:
            raise UsageError(
                "The method frames needs frames of one scene.", "Add --frames if these are frames."
            )

    def check_name(self, name: str) -> None:
        """Raise UsageError if the model would replace another network in the store."""
        if name in store.NETWORKS and name != self.network:
            raise UsageError(
                f"A model called {name} would be used in place of the network {name}, and this trains"
                f" {self.network}.",
                f"Choose another --name. To train {name}, use --model {name}.",
            )

    def _check_latent_dim(self, width: int) -> None:
        if self.network != "digits":
            raise UsageError(
                f"{self.network} has no latent dimension: that is digits'.", "Leave it out, or train digits."
            )
        try:
            architectures.DenseConfig(width)
        except ValueError as error:
            raise UsageError(f"{error}.") from None

    def _check_released(self) -> None:
        given = {
            "noise": self.noises,
            "noise-from": self.noise_from,
            "from": self.start,
            "latent-dim": self.latent_dim,
            "batch-size": self.batch_size,
        }
        for name, value in given.items():
            if value not in (None, ()):
                raise UsageError(f"A recipe decides --{name} too.", "Leave one of the two out.")

    def plan(self, destination: Path, plugins: Plugins) -> Plan:
        """Resolve the request into the plan of a training.

        Raises:
            UsageError: There is no such noise.
            ModelError: There are no such weights to start from, or they don't fit.
            ImagesError: The blank scans can't be used.
        """
        reader = reader_for(plugins, counts=self.only_noisy is not None)
        return Plan(
            recipe=self.recipe(reader),
            destination=destination,
            data=DataRequest(
                self.data,
                self.noisy,
                reader,
                self.validation,
                only_noisy=self.only_noisy,
                frames=self.frames,
                method=self.method,
            ),
            start=self.start_model(),
            minutes=self.minutes,
            epochs=self.epochs,
            seed=self.seed,
            device=self.device,
            precision=self.precision,
            plugins=tuple(plugins.signature),
        )

    def recipe(self, reader: Reader | None = None) -> Recipe:
        """Return the network's recipe, changed as requested. Raises UsageError for an unknown noise.

        `as_released` leaves the recipe unchanged. Its noise is then added to that of the user's pairs, and
        its generated pages are used beside them, as when the bundled weights were trained.
        """
        recipe, changes = recipes.RECIPES[self.network], dict[str, Any]()
        if not self.as_released and (self.noises or self.noisy or self.noise_from):
            taught: list[Corruption] = [parse(text) for text in self.noises]
            validated = list(taught)
            if self.noise_from:
                cut = blank_scans.cut_from(self.noise_from, reader, validation=self.validation)
                taught, validated = [*taught, cut[0]], [*validated, cut[1]]
            changes = {
                "noise": self._mixed(taught),
                "validation_noise": self._mixed(validated),
                "levels": (*self.noises, CLEAN),
                "generated_share": 0.0,
                "dirt": False,
            }
        if self.only_noisy is not None:
            changes = {
                "noise": NoCorruption(),
                "levels": (),
                "generated_share": 0.0,
                "optimization": replace(recipe.optimization, loss="known", branch_every=None),
            }
        if self.latent_dim is not None:
            changes["config"] = {**recipe.config, "latent_dim": self.latent_dim}
        if self.batch_size is not None:
            optimization = changes.get("optimization", recipe.optimization)
            changes["optimization"] = replace(optimization, batch_size=self.batch_size)
        return replace(recipe, **changes)

    def _mixed(self, noises: list[Corruption]) -> Corruption:
        """Mix the noises, one for each image, with a share of clean images unless the user has pairs."""
        if not noises:
            return NoCorruption()
        return Mixture([(noise, 1.0) for noise in noises], clean=0.0 if self.noisy else CLEAN_SHARE)

    def start_model(self) -> ModelFile | None:
        """Return the model to start from, or None to start from scratch.

        Raises ModelError if the requested model doesn't fit.
        """
        if self.start == "scratch" or self.as_released:
            return None
        asked = self.start is not None
        wanted = self.network if self.start is None else self.start
        path = store.find(wanted)
        if path is None:
            if asked:
                raise ModelError(
                    f"The network {self.start} has no weights to start from.", "Use --from scratch."
                )
            return None
        model = modelfile.read(path, name=str(wanted))
        kind = recipes.RECIPES[self.network].kind
        if model.kind != kind:
            if not asked:
                return None
            raise ModelError(
                f"--from {model.path} is of another kind ({model.kind}) than {self.network} ({kind}).",
                "Leave --from out, or choose with --model.",
            )
        width = getattr(model.config, "latent_dim", None)
        if self.latent_dim not in (None, width):
            if not asked:
                return None
            raise ModelError(
                f"{model.path} has a latent dimension of {width}, not {self.latent_dim}.",
                "Leave one of them out.",
            )
        return model

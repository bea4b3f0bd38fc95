"""Noises as text: chains of noises with their settings, and mixtures of chains."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from denoiser._types import Floats
from denoiser.errors import UsageError
from denoiser.noise.registry import STRENGTH, Noise, get


class Corruption(Protocol):
    """A callable that adds noise to clean images."""

    @property
    def name(self) -> str:
        """The corruption in the syntax of `parse`, or in words."""
        ...

    def __call__(self, clean: Floats, rng: np.random.Generator) -> Floats:
        """Return noisy copies of clean images, float32 (N, H, W) in 0..1."""
        ...


@dataclass(frozen=True)
class Step:
    """One noise with its settings; a setting is (low, high), equal for a fixed value."""

    noise: Noise
    settings: Mapping[str, tuple[float, float]]

    @property
    def name(self) -> str:
        """The step as `parse` reads it."""
        texts = [
            f"{key}={low:g}" if low == high else f"{key}={low:g}..{high:g}"
            for key, (low, high) in self.settings.items()
        ]
        return f"{self.noise.name}:{','.join(texts)}" if texts else self.noise.name

    def __call__(self, clean: Floats, rng: np.random.Generator) -> Floats:
        """Return noisy copies of clean images, float32 (N, H, W) in 0..1."""
        values: dict[str, Any] = {}
        for key, (low, high) in self.settings.items():
            if low == high:
                values[key] = low
            else:
                values[key] = rng.uniform(low, high, (len(clean), 1, 1)).astype(np.float32)
        return self.noise(clean, rng, **values)


@dataclass(frozen=True)
class Chain:
    """Noises applied one after another, each to the clipped result of the previous one."""

    steps: tuple[Step, ...]

    @property
    def name(self) -> str:
        """The chain as `parse` reads it."""
        return "+".join(step.name for step in self.steps)

    def __call__(self, clean: Floats, rng: np.random.Generator) -> Floats:
        """Return noisy copies of clean images, float32 (N, H, W) in 0..1.

        `clean` is the same. It is not searched for values outside of 0..1 and NaN: they give wrong noise.
        Raises UsageError for images that are not floating-point.
        """
        kind = np.asarray(clean).dtype  # once a batch, and without a look at its pixels
        if kind.kind != "f":
            raise UsageError(
                f"The images are of type {kind}, and noise is added to floating-point values of 0 to 1.",
                "Divide 8-bit values by numpy.float32(255).",
            )
        result = clean
        for step in self.steps:
            result = step(result, rng)
        return result


def parse(text: str) -> Chain:
    """Read a noise as users write it: `name[:key=value[,key=value...]][+name...]`.

    A value is a number or a range `low..high`, sampled uniformly for every image. Every noise also has the
    parameter `strength`, 0..1.

    Raises:
        UsageError: The text is wrong; the message says what is allowed.
    """
    return Chain(tuple(_step(part.strip(), text) for part in text.split("+")))


def _step(part: str, text: str) -> Step:
    name, _, rest = part.partition(":")
    if not name:
        raise UsageError(f"A noise is missing in {text!r}.", "An example: gaussian:sigma=0.1.")
    noise = get(name.strip())
    settings = {}
    for item in filter(None, (piece.strip() for piece in rest.split(","))):
        key, equals, value = (piece.strip() for piece in item.partition("="))
        if not equals or not value:
            raise UsageError(f"{item!r} in {text!r} is not of the form key=value.")
        if key in settings:
            raise UsageError(f"{text!r} sets {key} twice.", "Give it once; a range is 0..0.5.")
        settings[key] = _range(noise, key, value)
    return Step(noise, settings)


def _range(noise: Noise, key: str, value: str) -> tuple[float, float]:
    """Return low and high of one setting, checked against the range of the parameter."""
    parameter = STRENGTH if key == "strength" else noise.parameters.get(key)
    if parameter is None:
        known = [*noise.parameters, "strength"]
        near = difflib.get_close_matches(key, known, 1)
        hint = f"Did you mean {near[0]!r}?" if near else f"It takes {', '.join(known)}."
        raise UsageError(f"The noise {noise.name!r} has no parameter {key!r}.", hint)
    first, dots, last = value.partition("..")
    try:
        low = float(first)
        high = float(last) if dots else low
    except ValueError:
        raise UsageError(f"{key}={value} is neither a number nor a range such as 0..0.5.") from None
    if math.isnan(low) or math.isnan(high) or low > high:
        raise UsageError(f"{key}={value}: a range goes from a lower to a higher number.")
    if low < parameter.low or high > parameter.high:
        hint = f"It may be {parameter.low:g} to {parameter.high:g}."
        if key == "sigma" and high > 1.0:
            hint = f"Pixels are 0..1 here: {key}={high:g} of 255 is {key}={high / 255:.3g}, {high:g}/255."
        raise UsageError(f"{key}={value} is out of range for the noise {noise.name!r}.", hint)
    return low, high


class NoCorruption:
    """No noise: for pairs, whose images are noisy already."""

    name = "that of the images"

    def __call__(self, clean: Floats, rng: np.random.Generator) -> Floats:  # noqa: ARG002 - as in Corruption
        """Return `clean` itself, float32 (N, H, W)."""
        return clean


class Mixture:
    """Adds one of several noises to every image, chosen by weight; recipes use it."""

    def __init__(
        self, noises: Sequence[tuple[Corruption, float]], *, clean: float = 0.0, levels: int | None = None
    ) -> None:
        """Create a mixture.

        Args:
            noises: Noises with weights, which need not add up to 1.
            clean: Share of the images, 0..1, that stay clean.
            levels: Number of levels to quantize the result to, as a file does (256 for 8 bits), or None.
        """
        weights = np.array([weight for _, weight in noises], dtype=np.float64)
        self._noises = [noise for noise, _ in noises]
        self._edges = np.cumsum(np.append(clean, (1.0 - clean) * weights / weights.sum()))
        self._levels = levels

    @property
    def name(self) -> str:
        """Shares and noises in words, for a model card."""
        shares = np.diff(self._edges, prepend=0.0)
        parts = [f"{shares[0]:.0%} clean"] if shares[0] else []
        parts += [f"{share:.0%} {noise.name}" for share, noise in zip(shares[1:], self._noises, strict=True)]
        return ", ".join(parts) + (f"; {self._levels} levels" if self._levels else "")

    def __call__(self, clean: Floats, rng: np.random.Generator) -> Floats:
        """Return noisy copies of clean images, float32 (N, H, W) in 0..1."""
        kinds = np.searchsorted(self._edges[:-1], rng.random(len(clean)), side="right")
        result = clean.copy()
        for kind, noise in enumerate(self._noises, start=1):
            chosen = np.flatnonzero(kinds == kind)
            if len(chosen):
                result[chosen] = noise(clean[chosen], rng)
        if self._levels:
            steps = np.float32(self._levels - 1)
            np.multiply(result, steps, out=result)
            np.rint(result, out=result)
            np.divide(result, steps, out=result)
        return result

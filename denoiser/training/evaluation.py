"""Evaluation of a trained network: figures for the model card and for people."""

from __future__ import annotations

import math
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from denoiser._types import Floats
from denoiser.inference.patches import own
from denoiser.training import cautions, without_clean
from denoiser.training.metrics import psnr, restored, ssim

if TYPE_CHECKING:
    from denoiser.training.checkpoints import History
    from denoiser.training.datasets import Dataset
    from denoiser.training.plan import Plan
    from denoiser.training.without_clean import Figures


_SSIM_OF = 2000


@dataclass(frozen=True)
class Seen:
    """Validation patches: noisy, restored by the network, and clean.

    If nobody has clean ones, `removed` is True, and `clean` shows what was removed, around middle gray.
    """

    noisy: Floats
    restored: Floats
    clean: Floats
    removed: bool = False

    @property
    def errors(self) -> Floats:
        """Mean squared error of each restored patch, float32 (N,); without clean ones what was removed."""
        reference = self.noisy if self.removed else self.clean
        return np.asarray(np.mean(np.square(self.restored - reference), axis=(1, 2)), dtype=np.float32)

    @property
    def db(self) -> float:
        """PSNR of the restored patches."""
        return psnr(float(np.mean(self.errors)))


def look(model: Any, inputs: Floats, clean: Floats) -> Seen:
    """Let a Keras model restore patches."""
    return Seen(own(inputs), restored(model, inputs), clean)


def look_without_clean(model: Any, inputs: Floats) -> Seen:
    """Let a Keras model restore patches of which no clean ones exist."""
    noisy, made = own(inputs), restored(model, inputs)
    return Seen(noisy, made, np.clip(np.float32(0.5) + noisy - made, 0.0, 1.0), removed=True)


def figure(noise: str, found: Seen) -> dict[str, Any]:
    """Return a row of the table: dB and SSIM before and after; infinite dB is None, as JSON lacks it."""
    before = psnr(float(np.mean(np.square(found.noisy - found.clean))))
    after = psnr(float(np.mean(found.errors)))
    clean = found.clean[:_SSIM_OF]
    return {
        "noise": noise,
        "patches": len(found.clean),
        "input_db": _db(before),
        "output_db": _db(after),
        "input_ssim": round(float(np.mean(ssim(found.noisy[:_SSIM_OF], clean))), 4),
        "output_ssim": round(float(np.mean(ssim(found.restored[:_SSIM_OF], clean))), 4),
    }


def _db(value: float) -> float | None:
    return round(value, 2) if math.isfinite(value) else None


def card(
    plan: Plan,
    dataset: Dataset,
    model: Any,
    history: History,
    validation: Seen,
    before: Figures | None = None,
) -> dict[str, Any]:
    """Return the model card, as plain JSON: all that a user of the model must be able to look up.

    before: Figures of the start, for a training without clean images.
    """
    described = _described(plan, dataset, history, _figures(plan, dataset, model, validation, before))
    few = dataset.held_images is not None and cautions.of_few(dataset.held_images, dataset.held)
    found = [*dataset.warnings, *([few] if few else []), *cautions.of_result(described)]
    return {**described, "warnings": found}


def _figures(
    plan: Plan, dataset: Dataset, model: Any, validation: Seen, before: Figures | None
) -> dict[str, Any]:
    """Return the figures of a model card, with a summary of them."""
    if dataset.held_out is not None and before is not None:
        after = dataset.held_out.figures(lambda inputs: restored(model, inputs))
        start = plan.start.name if plan.start else "doing nothing"
        found = without_clean.described(dataset.method, dataset.why, dataset.held_out, before, after, start)
        low, high = found["estimated_db_before"], found["estimated_db"]
        summary = f"without clean images, estimated from {low:.1f} to {high:.1f} dB"
        return {"summary": summary, "validation": None, "figures": [], "without_clean": found}
    figures = [figure(noise, look(model, *pair)) for noise, *pair in dataset.levels()]
    overall = figure("validation", validation)
    noisy = [row for row in figures if row["input_db"] is not None]
    shown = noisy[len(noisy) // 2] if noisy else overall
    low = "clean" if shown["input_db"] is None else f"{shown['input_db']:.1f}"
    high = "perfect" if shown["output_db"] is None else f"{shown['output_db']:.1f}"
    return {
        "summary": f"{shown['noise']} from {low} to {high} dB",
        "validation": overall,
        "figures": figures,
    }


def _with_start(plan: Plan, field: str, own: str) -> str:
    """Return a field of the card with that of the start: what its weights learnt from counts on.

    A start that was itself trained on the same adds nothing of its own.
    """
    before = plan.start.card.get(field) if plan.start else None
    if plan.start is None or not isinstance(before, str) or before in ("", "none", own):
        return own
    if before.startswith(f"{own}; ") or own == "none":
        return before
    return f"{own}; and for {plan.start.name}, which it started from: {before}"


def _described(plan: Plan, dataset: Dataset, history: History, figures: dict[str, Any]) -> dict[str, Any]:
    import keras

    return {
        "network": plan.recipe.network,
        "summary": figures.pop("summary"),
        "trained_on": _with_start(plan, "trained_on", dataset.data),
        "validated_on": dataset.held,
        "terms": _with_start(plan, "terms", dataset.terms),
        "noise": "that of the noisy images" if dataset.method else plan.recipe.noise.name,
        "seed": plan.seed,
        "started_from": plan.start and plan.start.digest,
        "plugins": [
            {"name": name, "version": version, "options": options} for name, version, options in plan.plugins
        ],
        "precision": plan.precision,
        "patches": history.best.patches if history.best and history.best.branch else history.patches,
        "minutes": round(history.seconds / 60.0, 1),
        "interrupted": history.interrupted,
        "continued": history.continued,
        **figures,
        "versions": {
            "keras": keras.__version__,
            "backend": keras.backend.backend(),
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }


def table(card: dict[str, Any]) -> list[str]:
    """Format the figures of a model card as lines of text."""
    if card["validation"] is None:
        return without_clean.table(card["without_clean"])
    rows: list[tuple[str, ...]] = [("noise", "noisy dB", "restored dB", "noisy SSIM", "restored SSIM")]
    for row in [card["validation"], *card["figures"]]:
        noise = "as it was learnt" if row["noise"] == "validation" else row["noise"]
        dbs = ["exact" if db is None else f"{db:.2f}" for db in (row["input_db"], row["output_db"])]
        ssims = [f"{row[key]:.3f}" for key in ("input_ssim", "output_ssim")]
        rows.append(("none: clean images" if row["input_db"] is None else noise, *dbs, *ssims))
    width = max(len(row[0]) for row in rows)
    return [f"{row[0]:<{width}}" + "".join(f"{cell:>15}" for cell in row[1:]) for row in rows]

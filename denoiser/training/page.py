"""The page beside a model: its figures, the curve, and typical and worst cases under a slider."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from denoiser._types import Floats
from denoiser.imaging.picture import quantize
from denoiser.report import charts
from denoiser.report.page import Column, Labels, Table, data_url, render
from denoiser.system.atomic import replacing
from denoiser.training.checkpoints import History
from denoiser.training.evaluation import Seen, figure
from denoiser.training.metrics import psnr

EACH = 12
"""Number of typical cases, and of worst ones."""

_COLUMNS = (
    Column("name", "Case", "Validation patches that the training has not seen"),
    Column("status", "Kind", "typical: errors nearest to the median; worst: the largest ones"),
    Column("before", "Noisy dB", "PSNR of the noisy patch", 2),
    Column("after", "Restored dB", "PSNR of the restored patch", 2),
    Column("gain", "Gain dB", "Restored minus noisy", 2),
)
_COLUMNS_REMOVED = (
    Column("name", "Case", "Held-out patches of noisy images"),
    Column("status", "Kind", "typical: the usual amount is removed; worst: the most is removed"),
    Column("removed", "Removed", "Root mean square of what the network removes, 0..1", 4),
)
_LABELS = {
    "noisy": Labels("Noisy and restored", "noisy", "restored"),
    "clean": Labels("Clean and restored", "clean", "restored"),
    "removed": Labels("What was removed, around gray, and restored", "removed", "restored"),
}
_FACTS = {
    "network": "Network",
    "trained_on": "Trained on",
    "validated_on": "Judged on",
    "noise": "Noise",
    "patches": "Patches seen",
    "minutes": "Minutes",
    "seed": "Seed",
}


def write(path: Path, found: Seen, history: History, card: Mapping[str, Any] | None, cases: Cases) -> None:
    """Write the page atomically. Raises OSError.

    Args:
        path: the page, named after the model.
        found: validation patches.
        history: the course of the training.
        card: the model card, if there is one.
        cases: places of the typical patches and of the worst ones, worst first.

    """
    columns = _COLUMNS_REMOVED if found.removed else _COLUMNS
    rows = [
        _row(found, place, kind, index)
        for kind, places in (("worst", cases[1]), ("typical", cases[0]))
        for index, place in enumerate(places, 1)
    ]
    fields = (*(column.field for column in columns), "views")
    table = Table(columns, fields, rows, "cases", _LABELS)
    with replacing(path) as file:
        file.write(
            render(
                f"The model {path.stem}",
                _facts(found, card or {}),
                _curves(history, removed=found.removed),
                table,
            ).encode()
        )


Cases = tuple[list[int], list[int]]


def _facts(found: Seen, card: Mapping[str, Any]) -> dict[str, str]:
    facts = {title: str(card[key]) for key, title in _FACTS.items() if card.get(key) not in (None, "")}
    if card.get("warnings"):
        facts["Warnings"] = " ".join(map(str, card["warnings"]))
    if card.get("without_clean"):
        return facts | _facts_without_clean(card["without_clean"])
    figures = [card.get("validation") or figure("validation", found), *card.get("figures", ())]
    for row in figures:
        noise = "As it was learnt" if row["noise"] == "validation" else str(row["noise"])
        before, after = (
            "exact" if row[key] is None else f"{row[key]:.2f}" for key in ("input_db", "output_db")
        )
        facts[noise if row["input_db"] is not None else "Clean images"] = (
            f"{before} to {after} dB, SSIM {row['input_ssim']:.3f} to {row['output_ssim']:.3f}"
        )
    return facts


def _facts_without_clean(found: Mapping[str, Any]) -> dict[str, str]:
    """Return the figures of a training without clean images, called what they are."""
    start = found["compared_with"]
    return {
        "Method": f"{found['method']}: {found['why']}",
        "Clean images": "none, so no figure here is a PSNR against clean ones",
        "Error at masked pixels, against noisy ones": (
            f"{found['masked_pixel_error_before']:.4f} with {start}, {found['masked_pixel_error']:.4f} now"
        ),
        "Correlation of neighbours in what is removed": (
            f"{found['residual_correlation_before']:.3f} with {start}, {found['residual_correlation']:.3f}"
            f" now, {found['noise_correlation']:.3f} in the noise"
        ),
        f"Estimated dB, from {found['estimated_from']}": (
            f"{found['estimated_db_before']:.2f} with {start}, {found['estimated_db']:.2f} now"
        ),
    }


def _curves(history: History, *, removed: bool) -> list[str]:
    checks = [(point.patches, point.db) for point in history.points if point.db is not None]
    losses = [
        (point.patches, math.log10(point.loss))
        for point in history.curve
        if math.isfinite(point.loss) and point.loss > 0
    ]
    against = "against noisy targets" if removed else "on images it has not seen"
    return [
        charts.curve(f"dB {against}, over patches", checks),
        charts.curve("Logarithm of the loss, over patches", losses),
    ]


def _row(found: Seen, place: int, kind: str, index: int) -> list[Any]:
    noisy, restored, clean = (patches[place] for patches in (found.noisy, found.restored, found.clean))
    figures: list[float | None]
    if found.removed:
        figures = [math.sqrt(float(found.errors[place]))]
    else:
        before, after = (psnr(float(np.mean(np.square(each - clean)))) for each in (noisy, restored))
        figures = [value if math.isfinite(value) else None for value in (before, after, after - before)]
    height, width = clean.shape
    views = [
        [name, width, height, _image(patch), _image(restored)]
        for name, patch in (("noisy", noisy), ("removed" if found.removed else "clean", clean))
    ]
    return [f"{kind} {index}", kind, *figures, views]


def _image(patch: Floats) -> str:
    file = io.BytesIO()
    Image.fromarray(quantize(patch, 8)).save(file, "PNG")
    return data_url(file.getvalue(), "image/png")

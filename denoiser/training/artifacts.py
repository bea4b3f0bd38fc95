"""The files beside a model file that show its training: a picture of patches, the curve, and a page."""

from __future__ import annotations

import csv
import io
import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from denoiser.errors import reason
from denoiser.imaging.picture import quantize
from denoiser.report.page import MARK
from denoiser.system.atomic import replacing, replacing_path
from denoiser.training import page
from denoiser.training.checkpoints import History
from denoiser.training.evaluation import Seen
from denoiser.training.metrics import psnr
from denoiser.weights import store

log = logging.getLogger(__name__)

COLUMNS = ("fraction", "seconds", "patches", "loss", "validation_db")
PATCHES_SHOWN = 4
SOFTWARE = "denoiser train"
_SCALE, _GAP, _MARGIN, _HEAD = 4, 8, 110, 44


def write(model: Path, seen: Seen, history: History, card: Mapping[str, Any] | None = None) -> list[Path]:
    """Write the files, and return the paths of those that were written.

    A file with such a name that was not written by a training stays unchanged. A file that can't be written
    is logged and does not fail the training, since the model counts.
    """
    writers: tuple[Callable[[Path], object], ...] = (
        lambda path: write_picture(path, seen),
        lambda path: write_table(path, history),
        lambda path: write_drawing(path, history),
        lambda path: page.write(path, seen, history, card, chosen(seen, page.EACH)),
    )
    made = []
    for path, writer in zip(store.beside(model), writers, strict=True):
        try:
            another = path.with_suffix(store.SUFFIX)  # mine-curve.png may belong to mine-curve
            if (path.exists() and not _ours(path)) or (another != model and another.exists()):
                log.warning("%s was not written by a training, and was left unchanged.", path)
                continue
            if writer(path) is False:
                path.unlink(missing_ok=True)  # a plot of an earlier training
                continue
            made.append(path)
        except OSError as error:
            log.warning("%s can't be written: %s", path, reason(error))
    return made


def _ours(path: Path) -> bool:
    """Return True if a training wrote this file."""
    try:
        if path.suffix == ".html":
            with path.open("rb") as file:
                return MARK.encode() in file.read(1024)
        if path.suffix == ".csv":
            with path.open("rb") as file:
                return file.readline().decode(errors="replace").strip() == ",".join(COLUMNS)
        with Image.open(path, formats=["PNG"]) as image:
            return str(image.info.get("Software", "")) == SOFTWARE
    except (OSError, ValueError, SyntaxError):
        return False


def chosen(seen: Seen, each: int = PATCHES_SHOWN) -> tuple[list[int], list[int]]:
    """Choose the patches to show: those with errors nearest to the median, and the worst, worst first."""
    order = np.argsort(seen.errors, kind="stable")
    worst = order[::-1][:each]
    rest = order[: max(0, len(order) - len(worst))]
    middle = len(order) // 2
    first = max(0, min(middle - each // 2, len(rest) - each))
    return [int(index) for index in rest[first : first + each]], [int(index) for index in worst]


def draw_picture(seen: Seen) -> Image.Image:
    """Draw typical and worst patches, each noisy, reconstructed and clean, with their dB."""
    typical, worst = chosen(seen)
    indices = typical + worst
    side = seen.clean.shape[1] * _SCALE
    size = (_MARGIN + len(indices) * (side + _GAP) + _GAP, _HEAD + 3 * (side + _GAP))
    picture = Image.new("L", size, 255)
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(14)
    for row, (text, patches) in enumerate(
        (
            ("noisy", seen.noisy),
            ("reconstructed", seen.restored),
            ("removed" if seen.removed else "clean", seen.clean),
        )
    ):
        top = _HEAD + row * (side + _GAP)
        pen.text((_GAP, top + side // 2 - 8), text, fill=0, font=font)
        for column, index in enumerate(indices):
            pixels = Image.fromarray(quantize(patches[index], 8))
            patch = pixels.resize((side, side), Image.Resampling.NEAREST)
            picture.paste(patch, (_MARGIN + column * (side + _GAP), top))
    for column, index in enumerate(indices):
        left = _MARGIN + column * (side + _GAP)
        kind = "typical" if column < len(typical) else "most removed" if seen.removed else "worst"
        if seen.removed:
            figure = f"removed {math.sqrt(seen.errors[index]):.3f}"
        else:
            before = psnr(float(np.mean(np.square(seen.noisy[index] - seen.clean[index]))))
            figure = f"{before:.1f} to {psnr(float(seen.errors[index])):.1f} dB"
        pen.text((left, 4), kind, fill=0, font=font)
        pen.text((left, 22), figure, fill=0, font=font)
    return picture


def write_picture(path: Path, seen: Seen) -> None:
    """Write the picture as PNG, atomically. Raises OSError."""
    note = PngImagePlugin.PngInfo()
    note.add_text("Software", SOFTWARE)
    with replacing(path) as file:
        draw_picture(seen).save(file, "PNG", pnginfo=note)


def write_table(path: Path, history: History) -> None:
    """Write one line for each point of the curve; the last column is empty between checks.

    `fraction` is the share of the budget, and `loss` the weighted error of the last batches. Raises OSError.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for point in history.curve:
        loss = f"{point.loss:.6g}" if math.isfinite(point.loss) else ""
        db = "" if point.db is None else f"{point.db:.3f}"
        table.writerow((f"{point.fraction:.4f}", f"{point.seconds:.1f}", point.patches, loss, db))
    with replacing(path) as file:
        file.write(text.getvalue().encode())


def write_drawing(path: Path, history: History) -> bool:
    """Draw loss and dB over the patches seen, as PNG. Returns False, drawing nothing, without matplotlib.

    Raises OSError.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(7, 4), layout="tight")
    FigureCanvasAgg(figure)
    losses = figure.add_subplot()
    noted = [point for point in history.curve if math.isfinite(point.loss) and point.loss > 0]
    losses.plot([point.patches for point in noted], [point.loss for point in noted], color="0.6")
    losses.set(xlabel="patches seen", ylabel="loss", yscale="log")
    decibels = losses.twinx()
    checks = [(point.patches, point.db) for point in history.points if point.db is not None]
    decibels.plot([patches for patches, _ in checks], [db for _, db in checks], "o-", color="C0")
    decibels.set_ylabel("dB on images it has not seen", color="C0")
    with replacing_path(path) as target:
        figure.savefig(target, format="png", dpi=120, metadata={"Software": "denoiser train"})
    return True

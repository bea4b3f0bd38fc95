"""How a training went, as a table for programs and, where matplotlib is installed, as a drawing."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

from denoiser.system.atomic import replacing, replacing_path
from denoiser.training.checkpoints import History

COLUMNS = ("fraction", "seconds", "patches", "loss", "validation_db")


def write_table(path: Path, history: History) -> None:
    """Write one line for each point that was noted; the last column is empty between checks.

    fraction: of the budget, 0..1. loss: weighted mean squared error over the last batches. Raises OSError.
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

"""The files beside a model file that tell how its training went: a picture, a table and a drawing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from denoiser import store
from denoiser.errors import reason
from denoiser.training import curve, picture
from denoiser.training.checkpoints import History
from denoiser.training.outcome import Seen

log = logging.getLogger(__name__)


def write(model: Path, found: Seen, history: History) -> list[Path]:
    """Write them; returns those that there are now.

    A file of such a name that no training made stays as it is. The model is what counts: where one of these
    can't be written, the log says so.
    """
    writers: tuple[Callable[[Path], object], ...] = (
        lambda path: picture.write(path, found),
        lambda path: curve.write_table(path, history),
        lambda path: curve.write_drawing(path, history),
    )
    made = []
    for path, writer in zip(store.beside(model), writers, strict=True):
        try:
            another = path.with_suffix(store.SUFFIX)  # mine-curve.png may be the picture of mine-curve
            if (path.exists() and not _ours(path)) or (another != model and another.exists()):
                log.warning("%s is not of a training, and was left as it is.", path)
                continue
            if writer(path) is False:
                path.unlink(missing_ok=True)  # an earlier training's
                continue
            made.append(path)
        except OSError as error:
            log.warning("%s can't be written: %s", path, reason(error))
    return made


def _ours(path: Path) -> bool:
    """Whether a training wrote this file."""
    try:
        if path.suffix == ".csv":
            with path.open("rb") as file:
                return file.readline().decode(errors="replace").strip() == ",".join(curve.COLUMNS)
        with Image.open(path, formats=["PNG"]) as image:
            return str(image.info.get("Software", "")) == picture.SOFTWARE
    except (OSError, ValueError, SyntaxError):
        return False

"""Frames of one scene: which files and pages belong together, and whether they really do."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from denoiser._types import Floats
from denoiser.errors import ImagesError
from denoiser.training.noise_measures import box_mean

log = logging.getLogger(__name__)

LIKE = 0.6
"""Correlation of shrunken frames, of 1, below which they show different scenes."""

MOVED = 0.5
"""Shift in pixels from which a frame has moved."""

_FARTHEST = 0.25
_SHRUNK = 32
_COMPARED = 512
_FAINT = 0.15
_SURE = 6.0
"""Standard deviations by which the difference of two frames must fall: the place is the best of thousands."""

Frame = tuple[str, Floats]


@dataclass(frozen=True)
class Scene:
    """Frames of one scene, aligned and equally large.

    Attributes:
        name: The file or folder that they come from.
        frames: The frames, float32 (H, W).
    """

    name: str
    frames: list[Floats]


def scenes(pages: Sequence[tuple[Path, Floats]], folder: Path) -> tuple[list[Scene], list[str]]:
    """Group pages into scenes: the pages of a file, else the files of a folder.

    Args:
        pages: Each page with the path of its file, the pages of a file one after another.
        folder: The folder of all of them.

    Returns:
        The scenes, and sentences on what was found and changed. Frames that moved by whole pixels are moved
        back, and what not all of them show is cut off.

    Raises:
        ImagesError: The pages of a file, or the files of a folder, are no frames of one scene, or no scene
            has two frames.
    """
    files: dict[Path, list[Floats]] = {}
    for path, page in pages:
        files.setdefault(path, []).append(page)
    groups: dict[Path, list[Frame]] = {}
    for path, found in files.items():
        if len(found) > 1:
            groups[path] = [(f"page {number} of {path}", page) for number, page in enumerate(found, 1)]
        else:
            groups.setdefault(path.parent, []).append((str(path), found[0]))
    result: list[Scene] = []
    texts: list[str] = []
    for place, frames in groups.items():
        distinct = _distinct(frames, texts)
        if len(distinct) < 2:
            texts.append(f"{place} has one frame only, and is left out.")
            continue
        result.append(Scene(str(place), _aligned(distinct, texts)))
    if not result:
        raise ImagesError(
            f"No two images in {folder} are frames of one scene.",
            "Frames are the pages of a file, or the files of a sub-folder. Without any, leave out --frames.",
        )
    return result, texts


def _distinct(frames: list[Frame], texts: list[str]) -> list[Frame]:
    """Return the frames without copies, equal ones of which hold the same noise."""
    result: list[Frame] = []
    for name, page in frames:
        same = next((other for other, found in result if np.array_equal(found, page)), None)
        if same is None:
            result.append((name, page))
        else:
            texts.append(f"{name} is equal to {same}, and is left out.")
    return result


def _aligned(frames: list[Frame], texts: list[str]) -> list[Floats]:
    """Check that frames show one scene, and move them into register. Raises ImagesError."""
    first, reference = frames[0]
    moves = [(0, 0)]
    for name, page in frames[1:]:
        if page.shape != reference.shape:
            sizes = " and ".join(f"{each.shape[1]}x{each.shape[0]}" for each in (page, reference))
            raise ImagesError(f"{name} and {first} are no frames of one scene: they are {sizes}.", _REMEDY)
        shift = shift_of(reference, page)
        found = (round(shift[0]), round(shift[1]))
        if found != (0, 0) and not _nearer(reference, page, found):
            shift, found = (0.0, 0.0), (0, 0)
        moved = _overlap(page, found, [(0, 0), found]), _overlap(reference, (0, 0), [(0, 0), found])
        likeness = like(*moved)
        if likeness < LIKE:
            raise ImagesError(
                f"{name} and {first} are no frames of one scene: their correlation is {likeness:.2f}.",
                _REMEDY,
            )
        if max(abs(each) for each in shift) >= MOVED:
            texts.append(
                f"{name} has moved against {first} by about {shift[0]:+.1f} pixels down and {shift[1]:+.1f}"
                " to the right. Whole pixels are moved back; the rest blurs what is learnt."
            )
        moves.append(found)
    aligned = [_overlap(page, move, moves) for (_, page), move in zip(frames, moves, strict=True)]
    # A lamp that flickers is no noise.
    level = float(np.mean([frame.mean() for frame in aligned]))
    return [np.asarray(frame + np.float32(level - frame.mean()), np.float32) for frame in aligned]


def _nearer(first: Floats, second: Floats, move: tuple[int, int]) -> bool:
    """Whether `second`, moved back, is nearer to `first` than as it lies, by more than chance.

    Where a scene has little detail, or stripes, its correlation with itself is as high at other places, and
    noise decides where its peak is.
    """
    moves = [(0, 0), move]
    still = _overlap(first, (0, 0), moves)
    # Means of 3x3 pixels have a third of the noise.
    lying, moved = (
        np.square(box_mean(still - _overlap(second, place, moves), 1)) for place in ((0, 0), move)
    )
    chance = _SURE * float(np.sqrt(2 * 9 / still.size))
    return float(moved.mean()) < float(lying.mean()) * (1 - min(chance, 0.5))


_REMEDY = "Put the frames of a scene into one file or one sub-folder, or leave out --frames."


def _overlap(page: Floats, move: tuple[int, int], moves: Sequence[tuple[int, int]]) -> Floats:
    """Cut what all frames show from a frame that has moved by `move`."""
    cut = []
    for axis in (0, 1):
        least, most = min(each[axis] for each in moves), max(each[axis] for each in moves)
        cut.append(slice(move[axis] - least, page.shape[axis] - (most - move[axis])))
    return page[cut[0], cut[1]]


def like(first: Floats, second: Floats) -> float:
    """Return the correlation of two frames, shrunk and without uneven light, divided by that of equal scenes.

    Noise that is left lowers the correlation of equal scenes below 1. If it hides what they show, the result
    is 1: two frames of an empty scene don't correlate.
    """
    a, b = (_detail(_shrunk(each, _SHRUNK)) for each in (first, second))
    noise = _expected(first, second) ** 2
    shown = max(float(a.var()), float(b.var())) - noise
    equal = shown / (shown + noise) if shown > 0 else 0.0
    if equal < _FAINT:
        return 1.0
    return float(np.mean(a * b)) / max(float(a.std() * b.std()), 1e-12) / equal


def _detail(small: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Subtract the mean of the 9x9 pixels around each: all scenes under one lamp have that in common."""
    detail = small - box_mean(small.astype(np.float32), 4)
    return np.asarray(detail - detail.mean(), dtype=np.float64)


def _expected(first: Floats, second: Floats) -> float:
    """Return the noise that is left in shrunken frames, if it is independent, from fine differences."""
    fine = [each[1:] - each[:-1] for each in (first, second)]
    noise = float(np.median([np.median(np.abs(each)) for each in fine])) / 0.954
    areas = np.outer(*(np.diff(edge) for edge in _edges(first, _SHRUNK)))
    return noise * float(np.sqrt(np.mean(1.0 / areas)))


def _edges(image: Floats, most: int) -> list[npt.NDArray[np.intp]]:
    """Return where the blocks of an image begin and end, down and across."""
    return [np.linspace(0, side, min(side, most) + 1).astype(np.intp) for side in image.shape]


def _shrunk(image: Floats, most: int) -> npt.NDArray[np.float64]:
    """Return the means of blocks of an image, at most `most` down and across."""
    edges = _edges(image, most)
    sums = np.add.reduceat(image.astype(np.float64), edges[0][:-1], axis=0)
    sums = np.add.reduceat(sums, edges[1][:-1], axis=1)
    return np.asarray(sums / np.outer(*(np.diff(edge) for edge in edges)))


def shift_of(first: Floats, second: Floats) -> tuple[float, float]:
    """Estimate by how many pixels, down and right, what `first` shows lies farther on in `second`.

    The peak of the cross-correlation (Kuglin and Hines, "The phase correlation image alignment method", 1975,
    here with the root of the spectrum's size and without the high frequencies, which noise hides); a parabola
    through it gives its fraction. Shifts above a quarter of a side are not looked for.
    """
    rows, columns = (min(side, _COMPARED) for side in first.shape)
    top, left = ((side - size) // 2 for side, size in zip(first.shape, (rows, columns), strict=True))
    window = np.outer(np.hanning(rows + 2)[1:-1], np.hanning(columns + 2)[1:-1])
    a, b = (
        np.fft.rfft2((each[top : top + rows, left : left + columns] - float(each.mean())) * window)
        for each in (first, second)
    )
    down, right = np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None]
    cross = b * np.conj(a)
    cross *= np.exp(-(down**2 + right**2) / (2 * 0.12**2)) / np.sqrt(np.abs(cross) + 1e-12)
    peaks = np.fft.irfft2(cross, (rows, columns))
    far = [int(_FARTHEST * side) for side in (rows, columns)]
    allowed = [
        np.minimum(np.arange(side), side - np.arange(side)) <= most
        for side, most in zip((rows, columns), far, strict=True)
    ]
    peaks = np.where(np.outer(*allowed), peaks, -np.inf)
    row, column = np.unravel_index(int(np.argmax(peaks)), peaks.shape)
    result = []
    for line, place in ((peaks[:, column], int(row)), (peaks[row], int(column))):
        before, middle, after = (float(line[(place + step) % len(line)]) for step in (-1, 0, 1))
        bend = before - 2.0 * middle + after
        part = 0.5 * (before - after) / bend if np.isfinite(bend) and bend < 0 else 0.0
        signed = place if place <= len(line) // 2 else place - len(line)
        result.append(signed + part)
    return result[0], result[1]

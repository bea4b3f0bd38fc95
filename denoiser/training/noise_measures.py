"""The noise of images, measured in their flat areas: its strength by tone, its correlation, its saturation.

A flat area shows no content, so what varies in it is noise. Which areas are flat is not known beforehand:
they are those whose spread is the least that areas of their tone have, in the manner of Liu, Szeliski, Kang,
Zitnick and Freeman, "Automatic estimation and removal of noise from a single image" (IEEE Transactions on
Pattern Analysis and Machine Intelligence 30, 2008).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from denoiser._types import Floats
from denoiser.inference.noise_level import MAD, noise_of

SIDES = (16, 32, 64)
"""Sides of the areas that are measured, in pixels: larger ones for coarser noise."""

CORRELATED = 0.12
"""Correlation between pixels from which noise is not independent. Texture taken for flat reaches 0.08."""

FEWEST = 24
"""Flat areas that a measurement needs."""

_MOST = 60_000
_BINS = 12
_LEAST_IN_BIN = 40
_LOWEST = 0.08
_TOLERANCE = 1.15
_ROUNDS = 4
_PILE = 5.0
_PILED = 1e-4
_SATURATED_NEAR = 0.02
_NEAR = 4
_IMPULSE = 0.1
_PLATEAU = 0.1
_IMPULSIVE = 1.5
_TONES, _LOOKED_AT, _LONG_ENOUGH = 6, 60, 24
"""Of lines: ranges of tone, images that are looked at, and the least pixels in a row, and rows."""
_FAR = 2.0
"""How much more or less noise than the others an image is taken to have where lines are measured."""
_SKEWED = 0.05
"""About that of 400 photons."""
_MOST_SKEWED = 1.0
"""That of a single photon."""
_WHITE = 0.06
_IMPULSES = 0.003

Doubles = npt.NDArray[np.float64]
Coefficients = tuple[float, float, float]


@dataclass(frozen=True)
class Limits:
    """The values at which pixels saturate, on the images' scale; infinite where none do."""

    low: float = -np.inf
    high: float = np.inf

    def saturated(self, image: Floats) -> npt.NDArray[np.bool_]:
        """Return which pixels are at a limit."""
        return np.asarray((image <= self.low) | (image >= self.high))

    def unusable(self, image: Floats) -> npt.NDArray[np.bool_]:
        """Return the pixels that can't be a target: saturated ones, and those among saturated ones.

        Where noise is clipped its mean is not zero. Leaving out the clipped pixels alone would move that mean
        further, so the whole neighbourhood is left out, of 9x9 pixels with more than 2 % clipped ones.
        """
        clipped = self.saturated(image)
        if not clipped.any():
            return clipped
        near = box_mean(clipped.astype(np.float32), _NEAR) - clipped / np.float32((2 * _NEAR + 1) ** 2)
        return np.asarray(clipped | (near > _SATURATED_NEAR))


@dataclass(frozen=True)
class Measured:
    """The noise of some images.

    Attributes:
        limits: Where pixels saturate.
        saturated: Share of the saturated pixels, 0..1.
        impulses: Share of single saturated pixels that differ much from those around them, 0..1.
        variance: Coefficients of the noise's variance by tone: constant, linear, quadratic.
        unit: What the tone is counted in there: its origin and length.
        tones: Lowest and highest tone of the flat areas.
        areas: Number of flat areas that were found.
        ratios: Noise of each image, divided by that of all of them at the same tones.
        correlation: Correlation of the noise between pixels so far apart, float64 (lags + 1, 2 lags + 1):
            rows down, columns from -lags to lags; 1 at (0, lags). Without what whole rows or columns share.
        rows, columns: Share of the variance that whole rows, or columns, have in common.
        lines: Variance of what rows, and columns, have in common by tone, with coefficients as in `variance`.
            None: these shares hold at every tone.
        excess: Excess kurtosis of the noise: 0 if it is normal.
        skewness: Its skewness: 0 if it is normal, and large where few photons were counted.
    """

    limits: Limits
    saturated: float
    impulses: float
    variance: Coefficients
    unit: tuple[float, float]
    tones: tuple[float, float]
    areas: int
    ratios: tuple[float, ...]
    correlation: Doubles
    rows: float = 0.0
    columns: float = 0.0
    lines: tuple[Coefficients, Coefficients] | None = None
    excess: float = 0.0
    skewness: float = 0.0

    @property
    def enough(self) -> bool:
        """Whether there were enough flat areas to measure in."""
        return self.areas >= FEWEST

    @property
    def lags(self) -> int:
        """Distance in pixels up to which correlation was measured."""
        return len(self.correlation) - 1

    @property
    def strongest(self) -> float:
        """The largest correlation between two pixels, with what whole rows and columns share."""
        values = self._neighbours()
        return max(float(values.max()), self.rows, self.columns)

    def _neighbours(self) -> Doubles:
        """Return the size of each correlation but the pixel's own, as a share of the whole variance."""
        values = np.abs(self.correlation) * (1.0 - self.rows - self.columns)
        values[0, self.lags] = 0.0
        return np.asarray(values)

    @property
    def independent(self) -> bool:
        """Whether pixels have independent noise; impulses count as that."""
        return self.strongest < CORRELATED or self.impulsive

    @property
    def impulsive(self) -> bool:
        """Whether single black and white pixels outweigh all other noise."""
        middle = 0.5 * (self.tones[0] + self.tones[1])
        away = [limit - middle for limit in (self.limits.low, self.limits.high) if np.isfinite(limit)]
        strength = self.impulses * float(np.mean(np.square(away))) if away else 0.0
        return self.impulses > _IMPULSES and strength > 4.0 * self.typical**2

    @property
    def normal(self) -> bool:
        """Whether the noise is distributed about normally, or as counts of photons are: with one hump."""
        hump = abs(self.excess) < _IMPULSIVE and abs(self.skewness) < _MOST_SKEWED
        return hump and self.impulses < _IMPULSES

    @property
    def skewed(self) -> bool:
        """Whether the noise is notably skewed; correlated noise is never taken for that."""
        return self.independent and abs(self.skewness) >= _SKEWED

    @property
    def turned(self) -> bool:
        """Whether the noise is the same in the rows as in the columns, so that images may be turned."""
        beside, above = self.correlation[0, self.lags + 1 :], self.correlation[1:, self.lags]
        return max(float(np.abs(beside - above).max(initial=0.0)), abs(self.rows - self.columns)) < 0.1

    @property
    def reach(self) -> int:
        """Distance in pixels up to which the noise is correlated, 0 if it is independent."""
        found = np.argwhere(self._neighbours() >= CORRELATED) - (0, self.lags)
        return int(np.abs(found).max(initial=0))

    def sigma(self, tone: Floats, image: int | None = None) -> Floats:
        """Return the deviation of the noise at each tone, float32 of the same shape.

        image: Number of the image with these tones; None for all of them together.
        """
        ratio = 1.0 if image is None else self.ratios[image]
        return np.asarray(ratio * np.sqrt(self._variance(tone)), dtype=np.float32)

    def _variance(self, tone: npt.ArrayLike) -> npt.NDArray[np.floating]:
        middle = 0.5 * (self.tones[0] + self.tones[1])
        least = 0.04 * float(self._by_tone(self.variance, middle))
        return np.maximum(self._by_tone(self.variance, tone), least)

    def _by_tone(self, coefficients: Coefficients, tone: npt.ArrayLike) -> npt.NDArray[np.floating]:
        """Evaluate a quadratic, which is trusted a little beyond the tones that it was fitted to."""
        low, high = self.tones
        beyond = 0.25 * max(high - low, 1e-6)
        at = (np.clip(tone, low - beyond, high + beyond) - self.unit[0]) / self.unit[1]
        constant, linear, quadratic = coefficients
        return np.asarray(constant + at * (linear + at * quadratic))

    def shares(self, tone: Floats) -> tuple[Floats, Floats]:
        """Return the shares of the variance that rows, and columns, have in common, at each tone."""
        if self.lines is None:
            return np.full_like(tone, self.rows), np.full_like(tone, self.columns)
        rows, columns = (np.maximum(self._by_tone(each, tone), 0.0) for each in self.lines)
        whole = np.maximum(self._variance(tone), np.maximum(rows + columns, 1e-18))
        return np.asarray(rows / whole, np.float32), np.asarray(columns / whole, np.float32)

    @property
    def typical(self) -> float:
        """The noise at the middle of the tones."""
        middle = np.float32(0.5 * (self.tones[0] + self.tones[1]))
        return float(self.sigma(np.array([middle]))[0]) if self.areas else 0.0


class Sampler:
    """Makes noise as it was measured: with its correlation, or if it has none its skewness, of deviation 1.

    Skewed noise is distributed as a gamma variable, which that of a Poisson process is much like: a network
    tells skewed noise from normal noise that is added to it, and would learn to keep the first. Other noise
    is distributed normally. What neighbouring pixels share comes from the spectrum, which is the Fourier
    transform of the correlation (the theorem of Wiener and Khinchin); what whole rows and columns share is
    added.

    Args:
        measured: The noise.
        side: Rows and columns of a tile of noise.
    """

    def __init__(self, measured: Measured, side: int) -> None:
        lags = min(measured.lags, side // 2 - 1)
        full = np.zeros((side, side))
        for down in range(lags + 1):
            # The far end is faded out: a correlation that is cut off has a negative spectrum.
            for right in range(-lags, lags + 1):
                fade = np.prod([0.5 + 0.5 * np.cos(np.pi * abs(each) / (lags + 1)) for each in (down, right)])
                value = fade**0.25 * measured.correlation[down, right + measured.lags]
                full[down, right] = full[-down, -right] = value
        spectrum = np.maximum(np.fft.rfft2(full).real, 0.0)
        power = np.fft.irfft2(spectrum, (side, side))[0, 0]
        self._filter = np.sqrt(spectrum / power).astype(np.float32)
        self._shares, self._side = (measured.rows, measured.columns), side
        self._white = measured.strongest < CORRELATED
        self._skewness = measured.skewness if measured.skewed else 0.0

    def __call__(self, rng: np.random.Generator) -> Floats:
        """Return one tile of noise, float32 (side, side)."""
        rest, *lines = self.parts(rng)
        noise = rest if self._white else np.float32(np.sqrt(max(1.0 - sum(self._shares), 0.0))) * rest
        for share, line in zip(self._shares, lines, strict=True):
            if share:
                noise = noise + np.float32(np.sqrt(share)) * line
        return np.asarray(noise, dtype=np.float32)

    def parts(self, rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
        """Return what pixels have of their own, and what rows and columns have in common, of deviation 1.

        float32 (side, side), (side, 1) and (1, side); 0 where rows or columns have nothing in common.
        """
        side = self._side
        if self._white and self._skewness:
            form = 4.0 / self._skewness**2
            skewed = (rng.standard_gamma(form, (side, side)) - form) / np.sqrt(form)
            rest = np.asarray(np.sign(self._skewness) * skewed, dtype=np.float32)
        else:
            rest = rng.standard_normal((side, side), np.float32)
        if not self._white:
            rest = np.fft.irfft2(np.fft.rfft2(rest) * self._filter, (side, side)).astype(np.float32)
        rows, columns = (
            rng.standard_normal(shape, np.float32) if share else np.zeros(shape, np.float32)
            for share, shape in zip(self._shares, ((side, 1), (1, side)), strict=True)
        )
        return rest, rows, columns


def limits_of(images: Sequence[Floats]) -> Limits:
    """Find the values at which the images saturate.

    These are 0 and 1 where pixels have them, and the least and the largest value of all if pixels pile up
    there, as those of a camera of 12 bits do in a file of 16.
    """
    low, high = (float(choose([reach(image) for image in images])) for choose, reach in _ENDS)
    step = max((high - low) / 1000.0, 1e-9)
    counts = np.zeros(4)
    for image in images:
        counts += [
            np.sum(image <= low),
            np.sum((image > low) & (image <= low + 2 * step)),
            np.sum(image >= high),
            np.sum((image < high) & (image >= high - 2 * step)),
        ]
    total = sum(image.size for image in images)
    piled = [
        count > _PILED * total and count > _PILE * (beside + 1.0)
        for count, beside in (counts[:2], counts[2:])
    ]
    return Limits(
        low if low == 0.0 or piled[0] else -np.inf,
        high if high == 1.0 or piled[1] else np.inf,
    )


_ENDS = ((min, np.min), (max, np.max))


def measure(images: Sequence[Floats]) -> Measured:
    """Measure the noise of images, float32 (H, W) each, on any scale."""
    limits = limits_of(images)
    saturated = sum(int(limits.saturated(image).sum()) for image in images) / sum(i.size for i in images)
    healed, single = zip(*(_healed(image, limits) for image in images), strict=True)
    impulses = sum(single) / sum(image.size for image in images)
    found = _measured(healed, limits, SIDES[0])
    for side in SIDES[1:]:
        if not found.enough or found.reach < side // 16:
            break
        larger = _measured(healed, limits, side)
        if not larger.enough:
            break
        found = larger
    if found.rows or found.columns:
        found = _with_lines(found, healed)
    return replace(found, saturated=saturated, impulses=impulses)


def _measured(images: Sequence[Floats], limits: Limits, side: int) -> Measured:
    """Measure in areas of this side."""
    lags = 3 * side // 8
    areas, owner = _areas(images, limits, side)
    means, spreads, rests = _flattened(areas)
    origin, length = (float(means.min()), float(np.ptp(means)) or 1.0) if len(means) else (0.0, 1.0)
    flat, variance = _flat((means - origin) / length, spreads)
    empty = np.zeros((lags + 1, 2 * lags + 1))
    empty[0, lags] = 1.0
    tones = (float(means[flat].min()), float(means[flat].max())) if flat.any() else (0.0, 1.0)
    found = Measured(
        limits, 0.0, 0.0, variance, (origin, length), tones, int(flat.sum()), (1.0,) * len(images), empty
    )
    if not flat.any():
        return found
    relative = spreads / np.maximum(np.asarray(found.sigma(means.astype(np.float32)), np.float64), 1e-12)
    ratios = tuple(_ratio(relative[owner == index], relative[flat]) for index in range(len(images)))
    pieces = rests[flat] / np.maximum(spreads[flat], 1e-12)[:, None, None]
    # Texture that passes for flat raises the spread: the quieter half has less of it.
    quiet = pieces[relative[flat] <= np.median(relative[flat])]
    correlation, rows, columns = _without_lines(correlation_of(quiet, lags))
    # The mean and the slope of an area take some of a coarse noise with them.
    lost = min(0.5, 3.0 * max(1.0, float(correlation.sum() * 2 - 1)) / side**2)
    lost += (rows + columns) * 2.0 / side
    found = replace(
        found,
        ratios=ratios,
        correlation=correlation,
        rows=rows,
        columns=columns,
        excess=float(np.mean(np.square(np.square(pieces)))) - 3.0,
        skewness=float(np.mean(pieces**3)),
    )
    factor = 1.0 / (1.0 - lost)
    if found.strongest < _WHITE:
        # The finest differences hold all of such noise, and hardly any texture.
        factor *= min(1.0, float(np.mean(np.square(noise_of(pieces.astype(np.float32))))))
    return replace(found, variance=(factor * variance[0], factor * variance[1], factor * variance[2]))


def _healed(image: Floats, limits: Limits) -> tuple[Floats, int]:
    """Replace single saturated pixels that differ from those around them; return how many there were."""
    clipped = limits.saturated(image)
    if not clipped.any() or min(image.shape) < 3:
        return image, 0
    rows, columns = np.nonzero(clipped)
    around = np.pad(image, 1, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(around, (3, 3))[rows, columns]
    middles = np.median(windows.reshape(-1, 9), axis=1)
    span = float(np.ptp(image))
    single = np.abs(image[rows, columns] - middles) > _IMPULSE * span
    spread = np.median(np.abs(windows.reshape(-1, 9) - middles[:, None]), axis=1)
    single &= np.abs(image[rows, columns] - middles) > 6.0 * spread
    healed = image.copy()
    healed[rows[single], columns[single]] = middles[single]
    return healed, int(single.sum())


def correlation_of(pieces: npt.NDArray[np.floating], lags: int) -> Doubles:
    """Return the mean correlation between the pixels of pieces of noise (N, H, W), by distance.

    See `Measured.correlation` for the shape. Without pieces it is zero but for the pixel itself. Pixels that
    are no number don't count.
    """
    result = np.zeros((lags + 1, 2 * lags + 1))
    if len(pieces):
        height, width = pieces.shape[1:]
        for down in range(lags + 1):
            for right in range(-lags, lags + 1):
                first = pieces[:, : height - down, max(0, -right) : width - max(0, right)]
                second = pieces[:, down:, max(0, right) : width - max(0, -right)]
                result[down, right + lags] = float(np.nanmean(first * second))
    own = result[0, lags]
    result = result / own if own > 0 else result
    result[0, lags] = 1.0
    return result


def _without_lines(correlation: Doubles) -> tuple[Doubles, float, float]:
    """Separate what whole rows and columns have in common: a correlation along them that does not fall.

    Returns the rest, and the shares of rows and columns.
    """
    lags = len(correlation) - 1
    far = slice(lags // 2 + 1, lags + 1)
    along = (correlation[0, lags:][far], correlation[:, lags][far])
    beside = (correlation[1, lags:][far], correlation[:, lags + 1][far])
    shares = [float(on.mean() - off.mean()) for on, off in zip(along, beside, strict=True)]
    rows, columns = (min(max(share, 0.0), 0.95) if share > _PLATEAU else 0.0 for share in shares)
    rest = correlation.copy()
    rest[0, :] -= rows
    rest[:, lags] -= columns
    rest /= max(rest[0, lags], 0.05)
    return rest, rows, columns


def _with_lines(found: Measured, images: Sequence[Floats]) -> Measured:
    """Measure what whole rows and columns share again, in whole images, and by tone.

    An area of 16 pixels has but 16 rows: the quiet ones among such areas are quiet by chance. Over a whole
    row, the median difference to the next one is that of their noise, whatever the image shows elsewhere.
    """
    parts = []
    for image in images:
        everywhere = np.ones(image.shape, bool)
        # Lines have no part in the finest diagonal differences, which texture raises.
        variances = (
            _between_rows(image, everywhere) or 0.0,
            _between_rows(image.T, everywhere.T) or 0.0,
            float(noise_of(image[None])[0]) ** 2,
        )
        parts.append(np.asarray(variances) / float(np.mean(np.square(found.sigma(tone_of(image))))))
    shares = np.array(parts) * (found.rows > 0, found.columns > 0, 1)
    rest = max(1.0 - found.rows - found.columns, 0.0)
    shares[:, 2] = rest if found.reach else np.minimum(shares[:, 2], rest)
    rows, columns, rest = np.median(shares, axis=0)
    total = max(float(rows + columns + rest), 1e-6)
    seen = [(image, tone_of(image)) for image in images[:: max(1, len(images) // _LOOKED_AT)]]
    turned = [(image.T, tone.T) for image, tone in seen]
    lines = _lines_by_tone(found, seen, rows), _lines_by_tone(found, turned, columns)
    whole = np.asarray(found.variance) * rest + np.sum(lines, axis=0)
    own = np.sqrt(shares.sum(axis=1) / total)
    return replace(
        found,
        variance=(float(whole[0]), float(whole[1]), float(whole[2])),
        rows=float(rows / total),
        columns=float(columns / total),
        lines=lines,
        ratios=tuple(np.clip(own, 1.0 / _FAR, _FAR).tolist()),
    )


def _lines_by_tone(found: Measured, images: Sequence[tuple[Floats, Floats]], share: float) -> Coefficients:
    """Fit the variance of what rows share by tone.

    images: with the tone of each pixel. share: of the whole variance, where tones can't be told apart.
    """
    constant, linear, quadratic = (share * each for each in found.variance)
    edges = np.linspace(*found.tones, _TONES + 1)
    middles, variances = [], []
    for low, high in itertools.pairwise(edges):
        each = [_between_rows(image, (tone >= low) & (tone < high)) for image, tone in images]
        known = [variance for variance in each if variance is not None]
        if len(known) > len(each) // _TONES:
            middles.append((0.5 * (low + high) - found.unit[0]) / found.unit[1])
            variances.append(float(np.median(known)))
    if not share or len(middles) < _TONES - 2:
        return constant, linear, quadratic
    weights = 1.0 / (np.asarray(variances) + 0.1 * float(np.mean(variances)))
    quadratic, linear, constant = np.polyfit(middles, variances, 2, w=weights).tolist()
    return constant, linear, quadratic


def _between_rows(image: Floats, where: npt.NDArray[np.bool_]) -> float | None:
    """Variance of what rows share, from the differences of neighbouring ones; None if too few are there."""
    used = where[:-1].sum(axis=1) >= _LONG_ENOUGH
    if used.sum() < _LONG_ENOUGH:
        return None
    steps = np.nanmedian(np.where(where[:-1][used], (image[1:] - image[:-1])[used], np.nan), axis=1)
    return float((np.median(np.abs(steps - np.median(steps))) / MAD) ** 2 / 2.0)


def _areas(images: Sequence[Floats], limits: Limits, side: int) -> tuple[Floats, npt.NDArray[np.intp]]:
    """Cut areas with hardly a saturated pixel, float32 (N, side, side), and number the image of each."""
    total = sum((image.shape[0] // side) * (image.shape[1] // side) for image in images)
    most = _MOST * SIDES[0] // side
    step = side // 2 if total * 4 <= most else side
    every = max(1, -(-total // most)) if step == side else 1
    parts, owners = [np.zeros((0, side, side), np.float32)], [np.zeros(0, np.intp)]
    for index, image in enumerate(images):
        if min(image.shape) < side:
            continue
        windows = np.lib.stride_tricks.sliding_window_view(image, (side, side))[::step, ::step]
        areas = windows.reshape(-1, side, side)[::every]
        clipped = (areas <= limits.low) | (areas >= limits.high)
        kept = clipped.mean(axis=(1, 2)) <= _SATURATED_NEAR
        areas = areas[kept & (np.ptp(areas, axis=(1, 2)) > 0)]
        parts.append(areas)
        owners.append(np.full(len(areas), index))
    return np.concatenate(parts), np.concatenate(owners)


def _flattened(areas: Floats) -> tuple[Doubles, Doubles, Doubles]:
    """Return the mean of each area, the deviation around its slope, and the area without both."""
    side = areas.shape[1]
    ramp = np.arange(side) - (side - 1) / 2.0
    length = float(np.sum(ramp**2)) * side
    means = areas.mean(axis=(1, 2), dtype=np.float64)
    rests = areas - means[:, None, None]
    down, right = (np.einsum(form, rests, ramp) / length for form in ("nij,i->n", "nij,j->n"))
    rests -= down[:, None, None] * ramp[:, None] + right[:, None, None] * ramp
    spreads = np.sqrt(np.sum(np.square(rests), axis=(1, 2)) / (side**2 - 3))
    return means, spreads, rests


def _flat(means: Doubles, spreads: Doubles) -> tuple[npt.NDArray[np.bool_], tuple[float, float, float]]:
    """Find the flat areas, and fit the variance of their noise by tone."""
    if len(means) < _BINS:
        return np.ones(len(means), bool), (float(np.median(spreads**2)) if len(means) else 0.0, 0.0, 0.0)
    bins = int(np.clip(len(means) // _LEAST_IN_BIN, 1, _BINS))
    edges = np.quantile(means, np.linspace(0, 1, bins + 1)[1:-1])
    bin_of = np.searchsorted(edges, means)
    flat = np.zeros(len(means), bool)
    for number in range(bins):
        inside = bin_of == number
        if inside.any():
            flat |= inside & (spreads <= np.quantile(spreads[inside], _LOWEST))
    variance = _fitted(means[flat], spreads[flat])
    for _ in range(_ROUNDS):
        expected = np.sqrt(np.maximum(np.polyval(variance[::-1], means), 1e-14))
        flat = spreads <= _TOLERANCE * expected
        if flat.sum() < _BINS:
            break
        variance = _fitted(means[flat], spreads[flat])
    return flat, variance


def _fitted(means: Doubles, spreads: Doubles) -> tuple[float, float, float]:
    """Fit the variance by tone, with weights that make every tone count alike."""
    span = float(np.ptp(means))
    variances = spreads**2
    if span <= 1e-9:
        return float(np.mean(variances)), 0.0, 0.0
    degree = 2 if len(means) >= 4 * FEWEST else min(1, len(means) // FEWEST)
    count, edges = np.histogram(means, bins=8)
    weight = 1.0 / np.sqrt(count[np.clip(np.searchsorted(edges, means) - 1, 0, 7)] + 1.0)
    # Relative errors count, since a spread is known to a share of itself.
    weight /= np.maximum(variances, 0.05 * float(np.mean(variances)) + 1e-18)
    fitted = np.polyfit(means, variances, degree, w=weight)[::-1]
    padded = np.zeros(3)
    padded[: len(fitted)] = fitted
    return float(padded[0]), float(padded[1]), float(padded[2])


def _ratio(own: Doubles, flat: Doubles) -> float:
    """Return the quiet areas' noise of one image, relative to that of the flat areas of all."""
    if len(own) < FEWEST:
        return 1.0
    return float(np.quantile(own, 2 * _LOWEST) / max(float(np.quantile(flat, 2 * _LOWEST)), 1e-12))


def box_mean(image: Floats, reach: int) -> Floats:
    """Return the mean of the pixels within `reach` rows and columns of each; edges are mirrored."""
    result = np.pad(image, reach, mode="symmetric").astype(np.float64)
    size = 2 * reach + 1
    for axis in (0, 1):
        sums = np.cumsum(result, axis=axis)
        zero = np.zeros_like(np.take(sums, [0], axis=axis))
        sums = np.concatenate([zero, sums], axis=axis)
        length = sums.shape[axis]
        ahead, behind = (
            np.take(sums, range(*ends), axis=axis) for ends in ((size, length), (0, length - size))
        )
        result = (ahead - behind) / size
    return np.asarray(result, dtype=np.float32)


def tone_of(image: Floats, reach: int = 2) -> Floats:
    """Return the tone around each pixel: the mean of 5x5 pixels, float32 (H, W)."""
    return box_mean(image, reach)

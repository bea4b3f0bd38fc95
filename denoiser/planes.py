"""Images in colour as planes: of a large page, memory has room for few copies."""

from __future__ import annotations

import numpy as np

from denoiser._types import Floats


def planar(shape: tuple[int, ...]) -> Floats:
    """Return an empty float32 image, (H, W) or (H, W, 3), whose planes lie in memory one after the other.

    `channels_of` such an image copies nothing.
    """
    if len(shape) == 2:
        return np.empty(shape, np.float32)
    return np.moveaxis(np.empty((shape[2], *shape[:2]), np.float32), 0, -1)


def channels_of(pixels: Floats) -> list[Floats]:
    """Return the (H, W) planes of an image: itself if it is gray, three if it is (H, W, 3)."""
    if pixels.ndim == 2:
        return [pixels]
    return [np.ascontiguousarray(pixels[:, :, channel]) for channel in range(pixels.shape[2])]


def joined(planes: list[Floats], into: Floats | None = None) -> Floats:
    """Return the image of one (H, W) plane, or (H, W, N) of several; none of them is left in the list.

    Args:
        planes: float32 (H, W) each.
        into: an image of that size, or of another one, which is left alone. Takes the planes, and may already
            be where they lie.

    Raises:
        ValueError: they differ in size.

    """
    if len(planes) == 1:
        return planes.pop()
    if len({plane.shape for plane in planes}) > 1:
        raise ValueError(f"planes of {', '.join(str(plane.shape) for plane in planes)} make no image")
    shape = (*planes[0].shape, len(planes))
    whole = into if into is not None and into.shape == shape else planar(shape)
    while planes:  # each is freed when it is copied
        plane = planes.pop()
        whole[:, :, len(planes)] = plane
    return whole

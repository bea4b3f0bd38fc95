"""Read and write NumPy's `.npy`: an image, (H, W), or a stack of images of one size, (N, H, W).

    denoise ./stacks --out ./clean --plugin plugins/npy_stack.py

Numbers are uint8, uint16, or floating point in 0..1, and come back as uint8, uint16 or float32; one image
comes back as (H, W). A stack stays on the disk while it is read and written, so it may exceed the memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.lib.format import write_array_header_1_0

from denoiser import Page, hookimpl

SUFFIXES = (".npy",)
TOPS = {"u1": 255, "u2": 65535, "f2": 1, "f4": 1, "f8": 1}
"""The number that is white, by NumPy's short name of the type."""
WRITTEN = {8: (np.uint8, 255), 16: (np.uint16, 65535)}
"""The type and the number that is white, by bits; anything else is written as float32."""


def opened(path: Path) -> np.ndarray:
    """The stack, uint8, uint16 or floating point, (N, H, W) or (H, W); ValueError for anything else."""
    try:
        stack = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (ValueError, EOFError):  # in NumPy's words, which advise to load it unsafely
        raise ValueError("not a whole file that numpy.save wrote, or one of Python objects") from None
    if stack.dtype.str[1:] not in TOPS:
        raise ValueError(f"{stack.dtype} numbers: use uint8, uint16, or floating point in 0..1")
    if stack.ndim not in (2, 3) or not stack.size:
        raise ValueError(f"shape {stack.shape}: use (H, W) or (N, H, W)")
    if stack.ndim == 3 and stack.shape[2] <= 4 and min(stack.shape[:2]) > 4:
        raise ValueError(f"shape {stack.shape} looks like channels: use (H, W) or (N, H, W)")
    return stack


@hookimpl
def read_pages(path: Path) -> Iterator[tuple[np.ndarray, Page]]:
    """Yield one image after the other."""
    stack = opened(path)
    top = TOPS[stack.dtype.str[1:]]
    images = stack if stack.ndim == 3 else stack[None]
    page = Page(count=len(images), depth=32 if top == 1 else 8 * stack.itemsize)
    for image in images:
        if top == 1 and not (image.min() >= 0 and image.max() <= 1):
            raise ValueError("floating-point numbers that are not all in 0..1: scale them first")
        yield image.astype(np.float32) / np.float32(top), page


@hookimpl
def write_pages(path: Path, pages: Iterator[tuple[np.ndarray, Page]]) -> bool:
    """Write the images in the order in which they come; the type of their numbers follows from `depth`."""
    first = None
    with path.open("wb") as file:
        for index, (image, page) in enumerate(pages):
            kind, top = WRITTEN.get(page.depth, (np.float32, None))
            numbers = (image if top is None else np.rint(image * np.float32(top))).astype(kind)
            if first is None:
                first = image.shape
                shape = first if page.count == 1 else (page.count, *first)
                described = {"descr": np.dtype(kind).str, "fortran_order": False, "shape": shape}
                write_array_header_1_0(file, described)
            if image.shape != first:
                raise ValueError(f"image {index + 1} is of another size than the first: a stack has but one")
            # Not mapped into memory: there, a full disk would end the process.
            file.write(numbers.tobytes())
    return True

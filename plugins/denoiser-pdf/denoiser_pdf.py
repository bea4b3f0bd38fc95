"""PDF pages in, a PDF of the cleaned pages out.

    denoise scan.pdf --out clean/

Pages are drawn by PDFium as they look, and come out as pictures of the same size in points. Text
that could be searched or selected is a picture afterwards.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pypdfium2
from PIL import Image

from denoiser import Page, hookimpl

__version__ = "0.1.0"

SUFFIXES = (".pdf",)
POINTS = 72.0


@dataclass(frozen=True)
class Options:
    """How pages are drawn and kept."""

    dpi: float = field(default=200.0, metadata={"help": "dots an inch that pages are drawn at"})
    quality: int = field(
        default=90, metadata={"help": "JPEG quality of the pages written; 0 keeps every bit"}
    )

    def __post_init__(self) -> None:
        if not 18 <= self.dpi <= 2400:
            raise ValueError("dpi is 18 to 2400")
        if not 0 <= self.quality <= 100:
            raise ValueError("quality is 0 to 100")


@hookimpl
def read_pages(path: Path, options: Options) -> Iterator[tuple[np.ndarray, Page]]:
    """Draw one page after the other; gray where a page has no colour."""
    with pypdfium2.PdfDocument(path) as document:
        for page in document:
            width, height = page.get_size()
            pixels = page.render(scale=options.dpi / POINTS, rev_byteorder=True).to_numpy()[..., :3]
            if (pixels == pixels[..., :1]).all():
                pixels = pixels[..., 0]
            # Pixels are whole and points are not: the exact ratio brings the page's size back.
            dpi = (pixels.shape[1] * POINTS / width, pixels.shape[0] * POINTS / height)
            yield pixels / np.float32(255.0), Page(count=len(document), depth=8, mode="PDF", dpi=dpi)


@hookimpl
def write_pages(path: Path, pages: Iterator[tuple[np.ndarray, Page]], options: Options) -> bool:
    """Write each page as one picture that fills it."""
    with pypdfium2.PdfDocument.new() as document:
        for pixels, facts in pages:
            image = Image.fromarray(np.rint(pixels * 255.0).astype(np.uint8))
            across, down = facts.dpi or (options.dpi, options.dpi)
            width, height = image.width * POINTS / across, image.height * POINTS / down
            page = document.new_page(width, height)
            picture = pypdfium2.PdfImage.new(document)
            if options.quality:
                coded = io.BytesIO()
                image.save(coded, "JPEG", quality=options.quality)
                picture.load_jpeg(coded, inline=True)
            else:
                picture.set_bitmap(pypdfium2.PdfBitmap.from_pil(image))
            picture.set_matrix(pypdfium2.PdfMatrix().scale(width, height))
            page.insert_obj(picture)
            page.gen_content()
            page.close()
        document.save(path)
    return True

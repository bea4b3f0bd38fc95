"""Pictures drawn from random numbers: glyphs, pages and their dirt, shapes, textures, scenes, micrographs.

The networks learn from them where there are no real images, and samples and tests are made of them. Every
picture depends only on the random generator that is passed, and needs only NumPy and Pillow. All results are
float32 in 0..1, without noise.
"""

from __future__ import annotations

from denoiser.generator.canvas import blurred, field
from denoiser.generator.dirt import dirt
from denoiser.generator.glyphs import digit, glyphs
from denoiser.generator.icons import icon
from denoiser.generator.pages import page
from denoiser.generator.pictures import micrograph, scene, shapes, textures

__all__ = [
    "blurred",
    "digit",
    "dirt",
    "field",
    "glyphs",
    "icon",
    "micrograph",
    "page",
    "scene",
    "shapes",
    "textures",
]

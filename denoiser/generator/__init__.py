"""Pictures drawn from random numbers: glyphs, pages and their dirt, shapes, textures, scenes, micrographs.

They are what the networks learn from where there are no real images, and what samples and tests are made
of, so everything here follows from the generator it is given and needs nothing but NumPy and Pillow. All
results are float32 in 0..1, without noise.
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

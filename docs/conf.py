"""How Sphinx builds these pages: strictly, without a network, and without TensorFlow or Keras."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

import keras_stub  # noqa: E402

import denoiser  # noqa: E402

keras_stub.install()

project = "denoiser"
author = "The denoiser authors"
copyright = f"2026, {author}"  # noqa: A001 - Sphinx's own name
release = version = denoiser.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click", "examples"]
exclude_patterns = ["_build", "_ext"]
html_theme = "furo"
html_title = f"denoiser {release}"
html_copy_source = False
html_show_sourcelink = False

smartquotes = False  # "--out" must stay two hyphens
myst_heading_anchors = 3

autodoc_mock_imports = ["tensorflow"]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
napoleon_google_docstring = True
napoleon_numpy_docstring = False

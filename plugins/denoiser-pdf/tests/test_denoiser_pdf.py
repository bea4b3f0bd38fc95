"""The plugin through the real command, where it is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pypdfium2


def test_pages_and_their_sizes_stay(tmp_path: Path) -> None:
    sizes = [(200.5, 120.25), (90.0, 140.0)]
    with pypdfium2.PdfDocument.new() as document:
        for size in sizes:
            document.new_page(*size)
        document.save(tmp_path / "scan.pdf")
    command = [sys.executable, "-m", "denoiser", str(tmp_path / "scan.pdf"), "--out", str(tmp_path / "clean")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with pypdfium2.PdfDocument(tmp_path / "clean/scan.pdf") as cleaned:
        assert len(cleaned) == len(sizes)
        for page, (width, height) in zip(cleaned, sizes, strict=True):
            assert abs(page.get_width() - width) < 0.01
            assert abs(page.get_height() - height) < 0.01

"""Folders of inputs and results with a record, made without a model, and the data of a report's page."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from denoiser.pipeline.record import Record

Pixels = npt.NDArray[Any]

HOSTILE = (
    "</script><script>document.title='owned'</script>.png",
    "<img src=x onerror=\"document.title='owned'\">.png",
    "'\"&amp;<!--.png",
    "line\nbreak.png",
    "evil\u202egnp.exe.png",
    "100% #1?a=b.png",
    "${document.title='owned'}.png",
    os.fsdecode(b"latin-\xe9.png"),
)
"""Names that try to be more than names."""


def cleaned(
    scans: Path,
    out: Path,
    images: Mapping[str, tuple[Pixels, Pixels]],
    failed: Mapping[str, str] | None = None,
) -> None:
    """Write inputs and results, and the lines of a record by which they are a run's."""
    lines = []
    for name, (before, after) in images.items():
        for folder, pixels in ((scans, before), (out, after)):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / name)
        source, output = (scans / name).stat(), (out / name).stat()
        lines.append(
            {
                "output": name,
                "source": str(scans / name),
                "size": source.st_size,
                "mtime_ns": source.st_mtime_ns,
                "sha256": None,
                "made_with": "0" * 32,
                "output_size": output.st_size,
                "output_mtime_ns": output.st_mtime_ns,
            }
        )
    for name, source_text in (failed or {}).items():
        lines.append({"output": name, "failed": True, "source": source_text, "error": "is damaged."})
    (out / ".denoise").mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (out / ".denoise" / "00000000.jsonl").write_text(text, "ascii")
    assert len(list(Record(out).outputs())) == len(lines)


def noisy_and_clean(
    seed: int, shape: tuple[int, int] = (60, 80), sigma: float = 8.0
) -> tuple[Pixels, Pixels]:
    """A flat image with noise and one without."""
    clean = np.full(shape, 128, np.uint8)
    noise = np.random.default_rng(seed).normal(0.0, sigma, shape)
    return np.clip(np.rint(clean + noise), 0, 255).astype(np.uint8), clean


def striped(seed: int, shape: tuple[int, int] = (60, 80)) -> tuple[Pixels, Pixels]:
    """An image with noise that loses its stripes."""
    noisy, clean = noisy_and_clean(seed, shape)
    lines = (20 * np.sin(np.arange(shape[1]) * 2 * np.pi / 5)).astype(int)
    return np.clip(noisy.astype(int) + lines, 0, 255).astype(np.uint8), clean


class Page(HTMLParser):
    """A page read by a parser: its elements, the script's data, and what is inline."""

    VOID = frozenset(("meta", "img", "input", "br", "link"))

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.text = path.read_text("utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inline: dict[str, list[str]] = {"script": [], "style": []}
        self._open: list[str] = []
        self.feed(self.text)
        self.close()
        assert not self._open, f"not closed: {self._open}"
        data = next(text for text in self.inline["script"] if text.startswith("{"))
        self.data = json.loads(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)
        if tag in self.inline:
            self.inline[tag].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in self.inline:
            self.inline[self._open[-1]][-1] += data

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows, by field."""
        return [dict(zip(self.data["fields"], row, strict=True)) for row in self.data["rows"]]

    @property
    def policy(self) -> str:
        """The Content-Security-Policy."""
        found = re.search(r'Content-Security-Policy" content="([^"]*)"', self.text)
        assert found
        return found[1].replace("&#x27;", "'")

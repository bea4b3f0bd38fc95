"""A Dask cluster whose connections are encrypted, with certificates that are made for the test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.helpers.dask import dask
from tests.helpers.files import noise_images, tree
from tests.helpers.processes import run

pytest.importorskip("distributed")
pytest.importorskip("cryptography")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="signals are sent to processes"),
]

FILES = 20


def certificates(folder: Path) -> dict[str, str]:
    """Make an authority and one certificate for all; gives the environment by which Dask knows them."""
    from distributed.security import Security

    security = Security.temporary()
    folder.mkdir()
    settings = {"REQUIRE_ENCRYPTION": "true"}
    for name, content in (
        ("CA_FILE", security.tls_ca_file),
        *((f"{role}__CERT", security.tls_client_cert) for role in ("CLIENT", "SCHEDULER", "WORKER")),
        *((f"{role}__KEY", security.tls_client_key) for role in ("CLIENT", "SCHEDULER", "WORKER")),
    ):
        path = folder / f"{name}.pem"
        path.write_text(content)
        settings[f"TLS__{name}"] = str(path)
    return {f"DASK_DISTRIBUTED__COMM__{name}": value for name, value in settings.items()}


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    return noise_images(tmp_path / "in", FILES)


def test_only_who_has_the_certificates_is_let_in(
    digits: Path, flattener: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, others = certificates(tmp_path / "own"), certificates(tmp_path / "others")
    assert run(digits, "--out", tmp_path / "one", "--model", flattener).returncode == 0
    with monkeypatch.context() as patch:
        for name, value in own.items():
            patch.setenv(name, value)
        started = dask(tmp_path / "dask", "tls")
        cluster = started.__enter__()
        cluster.work()
    try:
        assert cluster.address.startswith("tls://")
        for address in (cluster.address, cluster.file):
            arguments = (digits, "--out", tmp_path / "two", "--model", flattener, "--cluster", address)
            for environment, text in (
                ({}, f"The cluster at {cluster.address} can't be reached: Dask's configuration names no"),
                (others, f"The cluster at {cluster.address} can't be reached: "),
            ):
                outcome = run(*arguments, **environment)
                assert outcome.returncode == 3, outcome.stderr
                lines = outcome.stderr.splitlines()
                assert len(lines) == 1, outcome.stderr
                assert lines[0].startswith(f"Error: {text}")
                assert not (tmp_path / "two").exists()
        plain = cluster.address.replace("tls://", "tcp://")
        outcome = run(*arguments[:5], "--cluster", plain)
        assert outcome.returncode == 3
        assert len(outcome.stderr.splitlines()) == 1, outcome.stderr
        outcome = run(*arguments, **own)
        assert outcome.returncode == 0, outcome.stderr
        assert f"1 worker of {cluster.file}" in outcome.stderr
    finally:
        started.__exit__(None, None, None)
    assert tree(tmp_path / "two") == tree(tmp_path / "one")
    for name in tree(tmp_path / "one"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()

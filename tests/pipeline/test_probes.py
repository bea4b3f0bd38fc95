"""Small objects by which workers show what they see, in a folder as a storage."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from denoiser.pipeline import probes
from denoiser.pipeline.probes import Probe, is_seen, sweep
from denoiser.storage.local import LocalStorage

RUN, OTHER = "0123456789abcdef", "fedcba9876543210"


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path)


def keys(storage: LocalStorage) -> list[str]:
    return [entry.key for entry in storage.list()]


def test_a_worker_sees_the_probe_of_its_run_alone(storage: LocalStorage) -> None:
    probe = Probe(storage, RUN)
    assert probes.is_probe(probe.key)
    assert is_seen(storage, probe.key, RUN)
    assert not is_seen(storage, probe.key, OTHER)
    assert keys(storage) == [probe.key]  # what the worker wrote is gone
    probe.remove()
    assert not is_seen(storage, probe.key, RUN)
    assert keys(storage) == []


def test_the_probe_of_a_run_that_lives_is_never_stale(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = 0.0
    now, clock = time.time(), time.monotonic()
    monkeypatch.setattr(time, "time", lambda: now + passed)
    monkeypatch.setattr(time, "monotonic", lambda: clock + passed)
    living, dead = Probe(storage, RUN), Probe(storage, OTHER)
    for _ in range(30):
        passed += 3601
        living.renew()
        sweep(storage, [living.key])
        assert is_seen(storage, living.key, RUN)
    sweep(storage, [living.key, dead.key, "gone"])
    assert keys(storage) == [living.key]


def test_what_is_no_probe_stays(storage: LocalStorage) -> None:
    for number, content in enumerate((b"", b"notes", b"0123456789abcdef", b"0123456789abcdef 1 2")):
        storage.write(f".denoise/probe-{number}", content)
    before = keys(storage)
    sweep(storage, before)
    assert keys(storage) == before

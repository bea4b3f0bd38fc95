"""Runs from and to a bucket of a real server on the workers of a real Dask cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.helpers import seaweed
from tests.helpers.buckets import (
    FILES,
    NEEDS_A_BUCKET,
    Seen,
    plugin,
    results,
    wait_for_images,
)
from tests.helpers.command import Denoise
from tests.helpers.dask import Dask
from tests.helpers.processes import command, error_of, run

pytest.importorskip("obstore")
pytest.importorskip("distributed")
pytestmark = NEEDS_A_BUCKET


def error(outcome: subprocess.CompletedProcess[str]) -> str:
    """The only line on stderr that is an error."""
    assert outcome.returncode == 3, outcome.stderr
    return error_of(outcome)


def test_the_same_bytes_whatever_mixes(
    scans: str,
    digits: Path,
    model: Path,
    cleaned: dict[str, bytes],
    place: str,
    tmp_path: Path,
) -> None:
    ways = {
        "bucket to bucket": (scans, f"{place}/clean"),
        "folder to bucket": (digits, f"{place}/clean2"),
        "bucket to folder": (scans, tmp_path / "two"),
    }
    for way, (source, out) in ways.items():
        arguments = (source, "--out", out, "--model", model)
        outcome = run(*arguments, "--cluster", "local:2")
        assert (outcome.returncode, f"{FILES} cleaned" in outcome.stderr) == (0, True), (way, outcome.stderr)
        assert "numpy on 2 workers of local:2" in outcome.stderr
        made = results(out)
        assert made == cleaned, way
        assert f"{FILES} up to date" in run(*arguments).stderr
    # What showed the workers that they see the same bucket is gone.
    assert not [name for name in Seen(f"{place}/clean").all() if "probe" in name]
    assert seaweed.SECRET not in "".join(map(str, Seen(f"{place}/clean").record()))


def test_a_worker_that_is_killed_costs_nothing(
    scans: str, model: Path, cleaned: dict[str, bytes], place: str, tmp_path: Path
) -> None:
    killer = plugin(
        tmp_path,
        "import os, signal\n"
        "    if page.path.name == '22.png' and not (HERE / 'once').exists():\n"
        "        (HERE / 'once').touch()\n"
        "        os.kill(os.getpid(), signal.SIGKILL)",
    )
    arguments = (scans, "--out", f"{place}/clean", "--model", model, "--plugin", killer)
    outcome = run(*arguments, "--cluster", "local:2")
    assert (tmp_path / "once").exists()
    assert (outcome.returncode, f"{FILES} cleaned" in outcome.stderr) == (0, True), outcome.stderr
    seen = Seen(f"{place}/clean")
    assert seen.images() == cleaned
    assert f"{FILES} up to date" in run(*arguments).stderr


def test_an_object_that_ends_its_workers_fails_alone(
    scans: str, model: Path, cleaned: dict[str, bytes], place: str, tmp_path: Path
) -> None:
    killer = plugin(
        tmp_path, "import os, signal\n    if page.path.name == '22.png': os.kill(os.getpid(), signal.SIGKILL)"
    )
    arguments = (scans, "--out", f"{place}/clean", "--model", model, "--plugin", killer)
    outcome = run(*arguments, "--cluster", "local:2")
    assert outcome.returncode == 1, outcome.stderr
    assert "22.png can't be done: again and again, the worker at it was lost." in outcome.stderr
    assert Seen(f"{place}/clean").images() == {
        name: content for name, content in cleaned.items() if not name.endswith("/22.png")
    }


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_records_all_that_is_put(
    scans: str,
    model: Path,
    cleaned: dict[str, bytes],
    place: str,
    slow: Path,
    empty: Dask,
    monkeypatch: pytest.MonkeyPatch,
    how: signal.Signals,
) -> None:
    arguments = (scans, "--out", f"{place}/clean", "--model", model, "--plugin", slow)
    monkeypatch.setenv("SLOW", "0.5")
    address = "local:2"
    if how == signal.SIGTERM:  # as a batch system does, on workers of other machines
        address = empty.address
        empty.work()
        empty.work()
    process = subprocess.Popen(
        command(*arguments, "--cluster", address),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    seen = Seen(f"{place}/clean")
    wait_for_images(seen, 5, process)
    if how == signal.SIGINT:  # as a terminal does: the workers get it, too
        os.killpg(process.pid, how)
    else:
        process.send_signal(how)
    told = process.communicate(timeout=90)[1]
    assert process.returncode == 130, told
    assert "Traceback" not in told, told
    assert "The same command goes on from here." in told
    there = seen.images()
    assert 5 <= len(there) < FILES
    assert there == {name: cleaned[name] for name in there}
    others = {name: content for name, content in seen.all().items() if name not in there}
    assert all(name.endswith(".jsonl") and content.endswith(b"\n") for name, content in others.items())
    recorded = {line["output"] for line in seen.record() if "sha256" in line}  # each line is whole
    assert recorded == set(there)
    monkeypatch.delenv("SLOW")
    outcome = run(*arguments)
    assert f"{FILES - len(there)} cleaned, {len(there)} up to date" in outcome.stderr
    assert seen.images() == cleaned


def test_a_run_that_is_killed_is_finished_by_another_which_removes_what_it_left(
    denoise: Denoise,
    scans: str,
    model: Path,
    cleaned: dict[str, bytes],
    place: str,
    slow: Path,
    empty: Dask,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SLOW", "0.5")
    empty.work()
    arguments = (scans, "--out", f"{place}/clean", "--model", model, "--plugin", slow)
    seen = Seen(f"{place}/clean")
    process = subprocess.Popen(
        command(*arguments, "--cluster", empty.address), stderr=subprocess.PIPE, text=True
    )
    wait_for_images(seen, 5, process)
    process.kill()
    process.communicate(timeout=60)
    assert len(seen.images()) < FILES
    empty.workers[0].kill()  # or it would go on with what it has
    monkeypatch.delenv("SLOW")

    def probes() -> list[str]:
        return [name for name in seen.all() if "probe" in name]

    left = probes()
    assert len(left) == 1
    run_id, written = seen.all()[left[0]].split()
    assert time.time() - int(written) < 3600
    seen.put(f"{left[0]}-0123abcd", b"%b %d" % (run_id, time.time() - 90_000))  # of a worker, a day ago
    outcome = denoise(*arguments)
    assert outcome.code == 0, outcome.err
    assert seen.images() == cleaned
    assert probes() == left  # it may be of a run that is at work
    seen.put(left[0], b"%b %d" % (run_id, time.time() - 90_000))
    assert f"{FILES} up to date" in denoise(*arguments, "--dry-run").err
    assert probes() == left
    assert f"{FILES} up to date" in denoise(*arguments).err
    assert probes() == []


def test_a_worker_uses_its_own_environment_and_says_what_it_lacks(
    scans: str, model: Path, place: str, tmp_path: Path, empty: Dask
) -> None:
    arguments = (scans, "--out", f"{place}/clean", "--model", model, "--cluster", empty.file)
    where = "Error: The worker at tcp://127.0.0.1:"
    nothing = tmp_path / "without"
    nothing.mkdir()
    (nothing / "sitecustomize.py").write_text("import sys\nsys.modules['obstore'] = None\n")
    cases: dict[str, tuple[dict[str, str], str]] = {
        "no extra": ({}, "needs the package obstore, which is not installed. Install it:"),
        "other credentials": ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "the credentials are refused."),
        "another server": ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "can't be reached"),
    }
    for case, (options, text) in cases.items():
        before = dict(os.environ)
        os.environ.update(options)
        try:
            empty.work(path=None if options else nothing)
        finally:
            os.environ.update(before)
        told = error(run(*arguments))
        assert told.startswith(where), (case, told)
        assert text in told, (case, told)
        empty.workers[-1].terminate()
        empty.workers[-1].wait(30)
    assert not [name for name in Seen(f"{place}/clean").all() if "probe" not in name]


def test_a_worker_without_the_plugin_of_the_storage_is_named(
    digits: Path, model: Path, tmp_path: Path, empty: Dask
) -> None:
    folder = tmp_path / "only_here"
    folder.mkdir()
    (folder / "own_storage.py").write_text(
        "from pathlib import Path\n"
        "from denoiser import hookimpl\n"
        "from denoiser.storage.local import LocalStorage\n"
        "class Own(LocalStorage):\n"
        "    @property\n"
        "    def url(self):\n"
        "        return f'own://{super().url}'\n"
        "@hookimpl\n"
        "def open_storage(url):\n"
        "    return Own(Path(url.removeprefix('own://'))) if url.startswith('own://') else None\n"
    )
    own = os.pathsep.join((str(folder), os.environ.get("PYTHONPATH", "")))
    arguments = (digits, "--out", f"own://{tmp_path}/clean", "--model", model, "--plugin", "own_storage")
    empty.work()
    told = error(run(*arguments, "--cluster", empty.file, PYTHONPATH=own))
    assert told.startswith("Error: The worker at tcp://127.0.0.1:")
    assert "can't load the plugins: There is no plugin own_storage" in told
    outcome = run(*arguments, "--cluster", "local:1", PYTHONPATH=own)
    assert f"{FILES} cleaned" in outcome.stderr, outcome.stderr

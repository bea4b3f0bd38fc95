"""A run on a real Dask cluster: the same bytes, whatever happens to a worker, the scheduler or the driver."""

from __future__ import annotations

import json
import mmap
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from denoiser.pipeline import cluster
from denoiser.pipeline.cluster_pool import TASK_BYTES, TASK_FILES, ClusterPool, Cutter
from denoiser.pipeline.outcomes import Outcome
from denoiser.pipeline.plan import Job
from denoiser.pipeline.pool import Chunk
from tests.helpers import fakes
from tests.helpers.command import Denoise
from tests.helpers.dask import Dask, dask
from tests.helpers.files import noise_images, recorded, tree
from tests.helpers.processes import command, error_of, run

pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="signals are sent to processes"),
]

FILES = 60
SLOW = "time.sleep(float(os.environ.get('SLOW', '0')))"
"""Body of a plugin that is slow where a run is to be stopped, and fast where another finishes it."""

PLUGIN = """
import os, signal, time
from pathlib import Path
from denoiser import hookimpl
HERE = Path({here!r})
@hookimpl
def preprocess(image, page):
    {body}
"""


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """A few small images in two folders, and something larger among them."""
    return noise_images(
        tmp_path / "in", FILES, lambda index: f"{'a' if index % 3 else 'b'}/{index}.png", larger={7: 200}
    )


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return fakes.sensitive(tmp_path / "random.keras")


def plugin(folder: Path, body: str) -> Path:
    path = folder / "odd.py"
    path.write_text(PLUGIN.format(here=str(folder), body=body))
    return path


def same(one: Path, other: Path) -> None:
    assert tree(one) == tree(other)
    for name in tree(one):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def test_the_same_bytes_order_and_record_as_on_one_machine(digits: Path, model: Path, tmp_path: Path) -> None:
    told = plugin(tmp_path, "return 1 - image")
    results = {}
    for name, options in (("one", []), ("two", ["--cluster", "local:2"])):
        outcome = run(
            digits, "--out", tmp_path / name, "--model", model, "--plugin", told, "--json", *options
        )
        assert outcome.returncode == 0, outcome.stderr
        rows: list[dict[str, Any]] = [json.loads(line) for line in outcome.stdout.splitlines()]
        for row in rows:
            row.pop("seconds", None)
            row.pop("output", None)
        lines = [json.loads(line) for line in recorded(tmp_path / name)]
        finished = [line for line in lines if "sha256" in line]
        assert all(line.pop("output_mtime_ns") for line in finished)
        results[name] = rows, finished
    assert "2 workers of local:2" in outcome.stderr
    assert "Note" not in outcome.stderr
    assert results["one"] == results["two"]
    same(tmp_path / "one", tmp_path / "two")
    again = run(digits, "--out", tmp_path / "two", "--model", model, "--plugin", told)
    assert f"{FILES} up to date" in again.stderr


def test_a_worker_that_is_killed_costs_nothing(digits: Path, model: Path, tmp_path: Path) -> None:
    assert run(digits, "--out", tmp_path / "one", "--model", model).returncode == 0
    killer = plugin(
        tmp_path,
        "if page.path.name == '22.png' and not (HERE / 'once').exists():\n"
        "        (HERE / 'once').touch()\n"
        "        os.kill(os.getpid(), signal.SIGKILL)",
    )
    outcome = run(
        digits, "--out", tmp_path / "two", "--model", model, "--cluster", "local:2", "--plugin", killer
    )
    assert (tmp_path / "once").exists()
    assert outcome.returncode == 0, outcome.stderr
    assert f"{FILES} cleaned" in outcome.stderr
    assert "distributed" not in outcome.stderr
    same(tmp_path / "one", tmp_path / "two")  # and no temporary file is left


def test_a_file_that_ends_its_workers_fails_alone(digits: Path, model: Path, tmp_path: Path) -> None:
    killer = plugin(tmp_path, "if page.path.name == '22.png': os.kill(os.getpid(), signal.SIGKILL)")
    outcome = run(
        digits, "--out", tmp_path / "o", "--model", model, "--cluster", "local:2", "--plugin", killer
    )
    assert outcome.returncode == 1, outcome.stderr
    assert "22.png can't be done: again and again, the worker at it was lost." in error_of(outcome)
    assert f"{FILES - 1} cleaned, 1 failed" in outcome.stderr
    assert tree(tmp_path / "o") == [name for name in tree(digits) if name != "a/22.png"]


def test_a_worker_that_is_long_in_coming_back_is_waited_for(
    digits: Path, model: Path, tmp_path: Path
) -> None:
    """Dask gives a worker of its local cluster up for good if it isn't there so long after any of its ends.

    That are 15 s, which a busy machine takes to start one, and in which one that ends often may be away anew.
    """
    killer = plugin(tmp_path, "if page.path.name == '22.png': os.kill(os.getpid(), signal.SIGKILL)")
    outcome = run(
        *(digits, "--out", tmp_path / "o", "--model", model, "--cluster", "local:1", "--plugin", killer),
        DASK_DISTRIBUTED__DEPLOY__LOST_WORKER_TIMEOUT="100ms",
    )
    assert outcome.returncode == 1, outcome.stderr
    assert "22.png can't be done: again and again, the worker at it was lost." in error_of(outcome)
    assert f"{FILES - 1} cleaned, 1 failed" in outcome.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator of glibc is told")
def test_workers_keep_the_memory_that_they_free(digits: Path, model: Path, tmp_path: Path) -> None:
    # Pages that are given back to the system come again cleared, with a fault each.
    told = plugin(
        tmp_path,
        "import resource\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    for _ in range(20): b'x' * (1 << 20)\n"
        "    after = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    (HERE / 'faults').write_text(str(after - before))",
    )
    outcome = run(digits, "--out", tmp_path / "o", "--model", model, "--cluster", "local:1", "--plugin", told)
    assert outcome.returncode == 0, outcome.stderr
    assert int((tmp_path / "faults").read_text()) < 10 * (1 << 20) // mmap.PAGESIZE


def test_a_worker_of_another_version_is_refused_before_anything_is_written(
    digits: Path, model: Path, tmp_path: Path, empty: Dask
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "sitecustomize.py").write_text("import denoiser\ndenoiser.__version__ = '0.0.1'\n")
    empty.work()
    empty.work(path=other)
    empty.wait_for_workers()
    outcome = run(digits, "--out", tmp_path / "o", "--model", model, "--cluster", empty.file)
    assert outcome.returncode == 3
    told = error_of(outcome)
    assert "The worker at tcp://127.0.0.1:" in told
    assert "has denoiser 0.0.1, and here it is" in told
    assert not (tmp_path / "o").exists()


def test_a_scheduler_that_is_lost_ends_the_run_which_goes_on_later(
    digits: Path, model: Path, tmp_path: Path, empty: Dask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLOW", "0.5")
    empty.work()
    slow = plugin(tmp_path, SLOW)
    arguments = (digits, "--out", tmp_path / "o", "--model", model, "--plugin", slow)
    process = subprocess.Popen(
        command(*arguments, "--cluster", empty.address), stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: any((tmp_path / "o").rglob("*.png")), process)
    empty.scheduler.kill()
    told = process.communicate(timeout=120)[1]
    assert process.returncode == 3, told
    assert "Traceback" not in told, told
    assert "Error: The cluster is gone. The same command goes on from here.\n" in told
    assert len(tree(tmp_path / "o")) < FILES
    monkeypatch.delenv("SLOW")
    assert run(*arguments).returncode == 0
    assert run(digits, "--out", tmp_path / "one", "--model", model).returncode == 0
    same(tmp_path / "one", tmp_path / "o")


class _Future:
    """A task that is done; Ctrl-C comes while its result is asked for the first time."""

    key = "task"

    def __init__(self) -> None:
        self.asked = self.released = 0

    def add_done_callback(self, call: Callable[[_Future], None]) -> None:
        call(self)

    def done(self) -> bool:
        return True

    def result(self) -> tuple[list[Outcome], float]:
        self.asked += 1
        if self.asked == 1:
            raise KeyboardInterrupt
        assert not self.released
        return [Outcome(), Outcome()], 0.1

    def release(self) -> None:
        self.released += 1


class _Cluster:
    """A cluster of one thread, as far as a pool sees it."""

    threads, due, lost = 1, False, False

    def __init__(self) -> None:
        self.future = _Future()

    def look(self) -> set[str]:
        return {"worker"}

    def submit(self, jobs: Sequence[Job]) -> _Future:
        return self.future

    def stop(self) -> None:
        pass


def test_ctrl_c_while_a_result_is_received_loses_nothing(tmp_path: Path) -> None:
    """The worker has put its files already: what is not told would not be recorded."""
    jobs = [Job(tmp_path / f"{each}.png", tmp_path / f"o{each}.png", f"{each}.png") for each in range(2)]
    fake = _Cluster()
    pool = ClusterPool(cast("Any", fake), Cutter(iter(jobs), 1))
    pool.submit(Chunk(0, tuple(jobs)))
    with pytest.raises(KeyboardInterrupt):
        next(pool.outcomes())
    assert [number for number, _ in pool.close()] == [0, 1]
    assert fake.future.released == 1


PREPARED = """
import os, time
from pathlib import Path
from denoiser import hookimpl
begun = Path({here!r}) / f"loaded-{{os.getpid()}}"
begun.touch()
while len(list(begun.parent.glob("loaded-*"))) > 1:  # on the worker: the other is the run itself
    time.sleep(0.1)
@hookimpl
def preprocess(image, page):
    pass
"""


def test_a_scheduler_that_is_lost_while_workers_are_prepared_is_one_line(
    digits: Path, model: Path, tmp_path: Path, empty: Dask
) -> None:
    empty.work()
    slow = tmp_path / "prepared.py"
    slow.write_text(PREPARED.format(here=str(tmp_path)))
    arguments = (digits, "--out", tmp_path / "o", "--model", model, "--plugin", slow)
    process = subprocess.Popen(
        command(*arguments, "--cluster", empty.address), stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: len(list(tmp_path.glob("loaded-*"))) > 1, process)
    empty.scheduler.kill()
    told = process.communicate(timeout=120)[1]
    for path in tmp_path.glob("loaded-*"):
        path.unlink()  # the worker may end
    assert process.returncode == 3, told
    assert told.splitlines()[-1] == "Error: The cluster is gone. The same command goes on from here."
    assert not tree(tmp_path / "o")


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 90
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.05)


def test_ctrl_c_keeps_what_is_finished(
    digits: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLOW", "0.5")
    slow = plugin(tmp_path, SLOW)
    arguments = (digits, "--out", tmp_path / "o", "--model", model, "--plugin", slow)
    process = subprocess.Popen(
        command(*arguments, "--cluster", "local:2"),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    wait_for(lambda: any("sha256" in line for line in recorded(tmp_path / "o")), process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers get it too
    told = process.communicate(timeout=120)[1]
    assert process.returncode == 130, told
    assert "Traceback" not in told, told
    assert "The same command goes on from here." in told
    done = {json.loads(line)["output"] for line in recorded(tmp_path / "o") if "sha256" in line}
    assert 0 < len(done) < FILES
    assert sorted(done) == tree(tmp_path / "o")  # none was written in vain, and none is half-written
    monkeypatch.delenv("SLOW")
    outcome = run(*arguments)
    assert f"{FILES - len(done)} cleaned, {len(done)} up to date" in outcome.stderr


def test_a_plugin_that_is_a_module_must_be_installed_there(
    digits: Path, model: Path, tmp_path: Path, empty: Dask
) -> None:
    (tmp_path / "only_here").mkdir()
    plugin(tmp_path / "only_here", "return None").rename(tmp_path / "only_here/oddly.py")
    empty.work()
    outcome = run(
        *(digits, "--out", tmp_path / "o", "--model", model),
        *("--cluster", empty.address, "--plugin", "oddly"),
        PYTHONPATH=os.pathsep.join((str(tmp_path / "only_here"), os.environ.get("PYTHONPATH", ""))),
    )
    assert outcome.returncode == 3
    told = error_of(outcome)
    assert "The worker at tcp://127.0.0.1:" in told
    assert "can't load the plugins: There is no plugin oddly" in told
    assert tree(tmp_path / "o") == []


def test_a_worker_must_see_the_folders(digits: Path, model: Path, tmp_path: Path, empty: Dask) -> None:
    empty.work("--nthreads", "3")
    arguments = (digits, "--out", tmp_path / "o", "--model", model, "--cluster", empty.address)
    outcome = run(*arguments, "--path-map", f"{tmp_path}=/not/there")
    assert outcome.returncode == 3
    assert "can't see /not/there/o. Is it shared?" in error_of(outcome)
    assert "--path-map HERE=THERE" in outcome.stderr
    assert tree(tmp_path / "o") == []
    outcome = run(*arguments, "--path-map", f"{digits}=/not/there")
    assert "can't see /not/there/a/1.png." in error_of(outcome)
    # Another name for the same, as where a share is mounted elsewhere; and one image at a time for plugins.
    (tmp_path / "mounted").symlink_to(tmp_path)
    alone = plugin(
        tmp_path,
        "assert str(page.path).startswith(str(HERE / 'mounted'))\n"
        "    os.mkdir(HERE / 'busy')\n"
        "    time.sleep(0.01)\n"
        "    os.rmdir(HERE / 'busy')",
    )
    outcome = run(*arguments, "--path-map", f"{tmp_path}={tmp_path / 'mounted'}", "--plugin", alone)
    assert outcome.returncode == 0, outcome.stderr
    here = run(*arguments[:5], "--plugin", alone)
    assert f"{FILES} up to date" in here.stderr


def test_what_can_not_be_reached_or_is_no_address(digits: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{}")
    cases = {
        "nonsense": (2, "--cluster nonsense: it must be local:N, tcp://HOST:PORT"),
        "local:0": (2, "--cluster local:0: it must be"),
        "tcp://127.0.0.1:9": (3, "The cluster at tcp://127.0.0.1:9 can't be reached"),
        "tcp://nowhere": (2, "--cluster tcp://nowhere: it must be"),
        "tls://127.0.0.1:9": (3, "Dask's configuration names no certificates"),
        str(tmp_path / "no.json"): (3, "The scheduler's file"),
        str(tmp_path / "bad.json"): (3, "is not a scheduler's file"),
    }
    for address, (code, text) in cases.items():
        outcome = run(digits, "--out", tmp_path / "o", "--model", model, "--cluster", address)
        assert outcome.returncode == code, outcome.stderr
        assert text in error_of(outcome)
        assert not (tmp_path / "o").exists()


def test_a_cluster_without_workers(
    denoise: Denoise, digits: Path, model: Path, tmp_path: Path, empty: Dask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "WORKERLESS_SECONDS", 0.5)
    outcome = denoise(digits, "--out", tmp_path / "o", "--model", model, "--cluster", empty.file)
    assert outcome.code == 3
    assert "has no workers." in outcome.err
    assert not (tmp_path / "o").exists()


def test_what_goes_without_a_cluster(
    denoise: Denoise, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = (digits, "--out", tmp_path / "o")
    for extra, text in (
        (("--compare", tmp_path / "c"), "--compare goes without --cluster."),
        (("--jobs", 2), "--jobs is for this machine"),
        (("--engine", "keras"), "compute with the numpy engine"),
        (("--path-map", "nothing"), "--path-map nothing: it must be HERE=THERE."),
    ):
        outcome = denoise(*arguments, "--cluster", "local:2", *extra)
        assert (outcome.code, text in outcome.err) == (2, True), outcome.err
    assert "--path-map is for the workers" in denoise(*arguments, "--path-map", "a=b").err
    monkeypatch.setitem(sys.modules, "distributed", None)  # as without the extra
    outcome = denoise(*arguments, "--cluster", "local:2")
    assert outcome.code == 3
    assert "python -m pip install 'denoiser[cluster]'" in outcome.err
    assert not (tmp_path / "o").exists()


@given(
    folders=st.lists(st.integers(1, 700), min_size=1, max_size=4),
    threads=st.integers(1, 300),
    seconds=st.floats(0.001, 1000),
)
def test_tasks_hold_each_file_once_of_one_folder_and_not_too_many(
    folders: list[int], threads: int, seconds: float
) -> None:
    jobs = [
        Job(Path("/nowhere/x"), Path("/out"), f"{folder}/{index}.png")
        for folder, count in enumerate(folders)
        for index in range(count)
    ]
    cutter = Cutter(iter(jobs), threads, files=min(100, len(jobs)))
    numbers: list[int] = []
    seen: list[Job] = []
    for chunk in cutter:
        assert 0 < len(chunk) <= TASK_FILES
        assert len({job.relative.split("/")[0] for job in chunk.jobs}) == 1
        numbers += chunk.numbers
        seen += chunk.jobs
        cutter.measured(chunk, seconds)
    assert numbers == list(range(len(jobs)))
    assert seen == jobs


def test_tasks_become_as_large_as_the_workers_are_fast(tmp_path: Path) -> None:
    content = tmp_path / "x"
    content.write_bytes(bytes(1 << 20))
    jobs = [Job(content, content, f"{index}.png") for index in range(1000)]
    fast, slow = (Cutter(iter(jobs), 1, files=1000) for _ in range(2))
    first, other = next(fast), next(slow)
    assert len(first) == len(other) == 1
    fast.measured(first, 0.001)
    slow.measured(other, 2.0)
    assert len(next(fast)) == TASK_BYTES >> 20
    assert len(next(slow)) == 2
    content.write_bytes(bytes(TASK_BYTES + 1))
    assert len(next(fast)) == 1


def test_a_scheduler_that_was_started_just_now_is_waited_for(
    digits: Path, model: Path, tmp_path: Path
) -> None:
    file = tmp_path / "dask/scheduler.json"
    file.parent.mkdir()
    arguments = command(digits, "--out", tmp_path / "o", "--model", model, "--cluster", file)[3:]
    code = (  # with more patience than it has, for machines that are busy
        "import sys; from denoiser.pipeline import cluster; cluster.CONNECT_SECONDS = 90.0;"
        f"sys.argv = {['denoise', *arguments]!r}; from denoiser.__main__ import main; main()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    with dask(file.parent) as started:
        started.work()
        assert process.wait(120) == 0, process.communicate()[1]
    assert process.stderr is not None
    process.stderr.close()
    assert len(tree(tmp_path / "o")) == FILES

"""Many small files over processes: the same results, in order, whatever happens to a process."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from denoiser.pipeline import pipeline
from denoiser.pipeline.outcomes import Outcome
from denoiser.pipeline.plan import Job
from denoiser.pipeline.pool import Chunk
from denoiser.pipeline.process_pool import ProcessPool
from denoiser.system import atomic
from tests.helpers import fakes
from tests.helpers.files import noise_images, recorded, tree
from tests.helpers.processes import command, run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")

FILES = pipeline.PROCESSES_FROM + 70


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """So many small images that processes are worth their while, and something larger among them."""
    return noise_images(tmp_path / "in", FILES, larger={100: 400})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A network whose results depend on every bit of what it is given."""
    rng = np.random.default_rng(3)
    config = {"channels": 12, "blocks": 1, "groups": 3, "channel_hidden": 16}
    return fakes.write_model(
        tmp_path / "random.keras", "PatchAutoencoder", config, lambda name, shape: rng.normal(0, 0.2, shape)
    )


def rows(outcome: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in outcome.stdout.splitlines()]


def test_rows_of_a_report_come_from_the_processes(digits: Path, model: Path) -> None:
    look = digits.parent / "look"
    outcome = run(digits, "--out", digits.parent / "out", "--model", model, "--jobs", 2, "--report", look)
    assert outcome.returncode == 0, outcome.stderr
    lines = [json.loads(line) for line in (look / "results.jsonl").read_text().splitlines()]
    assert len(lines) == FILES
    assert all(line["harm"] is not None and line["pages"] == 1 for line in lines)
    (large,) = [line for line in lines if line["width"] == 400]
    assert large["name"] == "100.png"
    assert len(list((look / "img").iterdir())) == 2


def plugin(folder: Path, body: str) -> Path:
    path = folder / "odd.py"
    path.write_text(f"import os, sys, time\nfrom denoiser import hookimpl\nparent = os.getpid()\n{body}")
    return path


def children(process: int) -> set[int]:
    return {int(each) for each in Path(f"/proc/{process}/task/{process}/children").read_text().split()}


def running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


TELL = """
@hookimpl
def preprocess(image, page):
    sys.stderr.write(f"worker {os.getpid() != parent and os.getpid()}\\n")
"""


def test_the_same_bytes_order_and_record_whatever_the_jobs(digits: Path, model: Path, tmp_path: Path) -> None:
    told = plugin(tmp_path, TELL)
    outcomes = {
        jobs: run(
            digits,
            "--out",
            tmp_path / str(jobs),
            "--model",
            model,
            "--json",
            "--jobs",
            jobs,
            "--plugin",
            told,
        )
        for jobs in (1, 3)
    }
    for jobs, outcome in outcomes.items():
        assert outcome.returncode == 0, outcome.stderr
        workers = {line for line in outcome.stderr.splitlines() if line.startswith("worker")}
        assert "worker False" not in workers
        assert len(workers) > 1 if jobs > 1 else len(workers) == 1
    one, many = (rows(outcomes[jobs]) for jobs in (1, 3))
    assert [Path(row["source"]).name for row in many[:-1]] == [f"{index}.png" for index in range(FILES)]
    for row in (*one, *many):
        row.pop("seconds", None)
        row.pop("output", None)
    assert one == many
    for name in tree(digits):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "3" / name).read_bytes(), name
    records = [[json.loads(line) for line in recorded(tmp_path / jobs)] for jobs in "13"]
    first, second = ([each for each in record if "sha256" in each] for record in records)
    for line in (*first, *second):
        assert line.pop("output_mtime_ns")
    assert first == second
    assert (
        f"{FILES} up to date"
        in run(digits, "--out", tmp_path / "3", "--model", model, "--plugin", told).stderr
    )


@pytest.mark.parametrize("plugins", [True, False])
def test_a_few_files_start_a_process_only_where_a_plugin_could_crash_it(
    model: Path, tmp_path: Path, plugins: bool
) -> None:
    (tmp_path / "in").mkdir()
    for index in range(40):
        Image.new("L", (28, 28), index).save(tmp_path / f"in/{index}.png")
    arguments = ["denoise", tmp_path / "in", "--out", tmp_path / "o", "--model", model]
    arguments += ["--plugin", plugin(tmp_path, TELL)] if plugins else []
    code = f"""
import os, sys
from denoiser.__main__ import main
fork, calls = os.fork, []
def counted():
    calls.append(0)
    return fork()
os.fork = counted
sys.argv = {list(map(str, arguments))}
try:
    main()
finally:
    print("forks:", len(calls))
"""
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert outcome.returncode == 0, outcome.stderr
    assert f"forks: {int(plugins)}" in outcome.stdout
    assert "worker True" not in outcome.stderr


def test_where_there_are_threads_nothing_is_forked(digits: Path, model: Path, tmp_path: Path) -> None:
    thread = "import threading\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
    told = plugin(tmp_path, thread + TELL)
    outcome = run(digits, "--out", tmp_path / "o", "--model", model, "--plugin", told, "--jobs", 2)
    assert outcome.returncode == 0
    assert "worker True" not in outcome.stderr


@pytest.mark.parametrize("how", ["os._exit(7)", "os.kill(os.getpid(), 9)"])
def test_a_worker_that_dies_costs_the_file_that_kills_it_alone(
    digits: Path, model: Path, tmp_path: Path, how: str
) -> None:
    body = f"""
@hookimpl
def preprocess(image, page):
    if page.path.name in ("5.png", "150.png"):
        sys.stderr.write(f"at {{page.path.name}}\\n")
        {how}
"""
    out = tmp_path / "o"
    outcome = run(
        digits, "--out", out, "--model", model, "--json", "--jobs", 2, "--plugin", plugin(tmp_path, body)
    )
    assert outcome.returncode == 1
    *each, last = rows(outcome)
    assert [Path(row["source"]).name for row in each] == [f"{index}.png" for index in range(FILES)]
    failed = {Path(row["source"]).name: row["error"] for row in each if row["status"] == "failed"}
    assert set(failed) == {"5.png", "150.png"}
    assert all("twice" in error for error in failed.values())
    assert last["summary"]["done"] == FILES - 2
    assert outcome.stderr.count("at 5.png") == outcome.stderr.count("at 150.png") == 2
    assert len(tree(out)) == FILES - 2
    again = run(digits, "--out", out, "--model", model, "--plugin", tmp_path / "odd.py", "--dry-run")
    assert f"{FILES - 2} up to date" in again.stderr


def test_a_worker_that_dies_once_costs_nothing(digits: Path, model: Path, tmp_path: Path) -> None:
    body = f"""
@hookimpl
def postprocess(image, page):
    flag = {str(tmp_path / "flag")!r}
    if page.path.name == "70.png" and not os.path.exists(flag):
        open(flag, "w").close()
        os._exit(1)
"""
    outcome = run(
        digits, "--out", tmp_path / "o", "--model", model, "--jobs", 2, "--plugin", plugin(tmp_path, body)
    )
    assert outcome.returncode == 0, outcome.stderr
    assert f"{FILES} cleaned" in outcome.stderr
    assert len(tree(tmp_path / "o")) == FILES


def test_a_bad_file_fails_alone_and_fail_fast_stops(digits: Path, model: Path, tmp_path: Path) -> None:
    (digits / "90.png").write_bytes((digits / "90.png").read_bytes()[:-30])
    outcome = run(digits, "--out", tmp_path / "o", "--model", model, "--jobs", 2)
    assert outcome.returncode == 1
    assert f"{FILES - 1} cleaned, 1 failed" in outcome.stderr
    assert "90.png can't be decoded" in outcome.stderr
    outcome = run(digits, "--out", tmp_path / "f", "--model", model, "--jobs", 2, "--fail-fast", "--json")
    assert outcome.returncode == 1
    *each, last = rows(outcome)
    assert [row["status"] for row in each[:91]] == ["done"] * 90 + ["failed"]
    assert last["summary"]["failed"] == 1
    # What the processes had finished beyond it is told of, and not made again. Each of the two may have been
    # stopped between giving a file its name and telling of it.
    done = sum(row["status"] == "done" for row in each)
    assert last["summary"]["done"] == done
    assert done <= len(tree(tmp_path / "f")) <= done + 2
    again = run(digits, "--out", tmp_path / "f", "--model", model, "--jobs", 2)
    assert f"{done} up to date" in again.stderr


def test_damaged_weights_found_by_a_worker_stop_everything(digits: Path, tmp_path: Path) -> None:
    body = """
from denoiser.errors import ModelError
from denoiser.inference import denoiser
def broken(*_, **__):
    raise ModelError("The model is broken.")
denoiser.Denoiser.clean = broken

@hookimpl
def preprocess(image):
    return None
"""
    outcome = run(digits, "--out", tmp_path / "o", "--plugin", plugin(tmp_path, body), "--jobs", 2)
    assert outcome.returncode == 3
    assert outcome.stderr.splitlines()[-1] == "Error: The model is broken."


def test_a_signal_while_a_message_is_received_loses_nothing() -> None:
    """Half a message read would be lost, and make nonsense of all that come after it."""

    class Worker:
        def receive(self) -> list[tuple[int, Outcome]]:
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)  # pytest may have other threads
            return [(0, Outcome())]

    pool: Any = ProcessPool(cast("Any", None), 1)
    with pytest.raises(KeyboardInterrupt):
        pool._receive(Worker())
    assert pool.close() == [(0, Outcome())]


def test_a_signal_on_the_way_into_telling_loses_nothing(digits: Path) -> None:
    """What a worker has finished is told, even if the signal comes where it begins to tell of the last."""

    class Works:
        meter: Any = None

        def threads(self, count: int | None) -> None:
            pass

        def outcomes(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
            yield from (Outcome(pages=1) for _ in jobs)

            def interrupt(frame: FrameType, event: str, _: object) -> None:
                if event == "call" and frame.f_code.co_name == "flush":
                    sys.setprofile(None)
                    os.kill(os.getpid(), signal.SIGTERM)

            sys.setprofile(interrupt)

    pool = ProcessPool(Works(), 1)
    pool.submit(Chunk(0, tuple(Job(digits / f"{index}.png", digits, f"{index}") for index in range(3))))
    assert list(pool.outcomes()) == [(index, Outcome(pages=1)) for index in range(3)]
    pool.close()


WAITING = """
@hookimpl
def preprocess(image, page):
    while int(page.path.stem) >= 128 and not os.path.exists({go!r}):
        time.sleep(0.01)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_run_leaves_no_process_and_no_half_file(
    digits: Path, model: Path, tmp_path: Path, how: signal.Signals
) -> None:
    """The workers finish the first two chunks, and wait in the next ones for a file that isn't there yet."""
    out, go = tmp_path / "o", tmp_path / "go"
    waiting = plugin(tmp_path, WAITING.format(go=str(go)))
    arguments = (digits, "--out", out, "--model", model, "--jobs", 2, "--plugin", waiting)
    process = subprocess.Popen(command(*arguments), stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 120
    while not (out / "70.png").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    workers = children(process.pid)
    assert len(workers) == 2
    if how == signal.SIGINT:
        os.killpg(process.pid, how)  # as a terminal does
    else:
        process.send_signal(how)
    errors = process.communicate(timeout=120)[1]
    deadline = time.monotonic() + 60
    while any(map(running, workers)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(map(running, workers))
    finished = tree(out)
    assert 1 < len(finished) < FILES
    if how != signal.SIGKILL:
        assert process.returncode == 130
        assert "The same command goes on from here" in errors
        assert not list(out.rglob(f"*{atomic.SUFFIX}"))
        assert "Traceback" not in errors
    go.touch()
    again = run(*arguments)
    assert again.returncode == 0
    assert tree(out) == tree(digits)
    if how != signal.SIGKILL:
        # Each worker may have been on its way to tell of a file.
        known = re.search(r"(\d+) up to date", again.stderr)
        assert known
        assert len(finished) - 2 <= int(known[1]) <= len(finished)

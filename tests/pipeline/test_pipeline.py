"""The order of recording and telling, whoever cleans."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from denoiser.imaging.source import Fingerprint
from denoiser.inference.denoiser import Denoiser
from denoiser.pipeline.outcomes import Outcome, Result
from denoiser.pipeline.pipeline import Pipeline
from denoiser.pipeline.plan import Job
from denoiser.pipeline.pool import Chunk
from denoiser.pipeline.record import Record
from denoiser.system.atomic import Written
from tests.helpers.files import recorded


class Batches:
    """A pool that is given one chunk, and has outcomes at hand in batches of so many."""

    ready = True

    def __init__(self, sizes: list[int], failing: int | None = None) -> None:
        self._sizes, self._failing = sizes, failing
        self._finished: deque[tuple[int, Outcome]] = deque()

    def submit(self, chunk: Chunk) -> None:
        self.ready = False

    @property
    def at_hand(self) -> int:
        return len(self._finished)

    def outcomes(self) -> Iterator[tuple[int, Outcome]]:
        first = 0
        for size in self._sizes:
            self._finished += [(number, self._outcome(number)) for number in range(first, first + size)]
            first += size
            while self._finished:
                yield self._finished.popleft()

    def _outcome(self, number: int) -> Outcome:
        if number == self._failing:
            return Outcome(error="is broken.")
        return Outcome(pages=1, fingerprint=Fingerprint(1, number, "0"), written=Written(2, number))

    def close(self) -> list[tuple[int, Outcome]]:
        return list(self._finished)


def run(out: Path, pool: Batches, count: int, tell: Callable[[Result], None], **options: Any) -> None:
    record = Record(out)
    pipeline = Pipeline(Denoiser("digits"), record=record)
    given = [Job(Path(f"{each}.png"), out / f"{each}.png", f"{each}.png") for each in range(count)]

    def only_chunk() -> Iterator[Chunk]:
        yield Chunk(0, tuple(given))

    vars(pipeline)["_pool"] = lambda *_: (pool, only_chunk())
    try:
        pipeline.run(given, tell, **options)
    finally:
        record.close()


def finished(out: Path) -> list[str]:
    """Outputs that the record has a finishing or failing line of, in order."""
    rows = [json.loads(line) for line in recorded(out)]
    return [row["output"] for row in rows if "begun" not in row]


def test_all_that_is_at_hand_is_recorded_before_any_of_it_is_told(tmp_path: Path) -> None:
    told: list[tuple[str, int]] = []
    run(
        tmp_path,
        Batches([3, 1, 2]),
        6,
        lambda result: told.append((str(result.source), len(finished(tmp_path)))),
    )
    assert told == [("0.png", 3), ("1.png", 3), ("2.png", 3), ("3.png", 4), ("4.png", 6), ("5.png", 6)]
    assert finished(tmp_path) == [f"{each}.png" for each in range(6)]


@pytest.mark.parametrize("when", range(4))
def test_an_interruption_while_telling_loses_and_repeats_no_line(when: int, tmp_path: Path) -> None:
    told: list[str] = []

    def tell(result: Result) -> None:
        told.append(str(result.source))
        if len(told) == when + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Batches([2, 2]), 4, tell)
    expected = [f"{each}.png" for each in range(2 if when < 2 else 4)]
    assert (told, finished(tmp_path)) == (expected, expected)


def test_fail_fast_tells_what_was_finished_besides(tmp_path: Path) -> None:
    told: list[str] = []
    run(
        tmp_path,
        Batches([3, 1], failing=1),
        4,
        lambda result: told.append(f"{result.source} {result.status}"),
        fail_fast=True,
    )
    assert told == ["0.png done", "1.png failed", "2.png done"]
    assert finished(tmp_path) == ["0.png", "1.png", "2.png"]


class _Interrupt:
    """Raises KeyboardInterrupt before one step of a function, as a signal would."""

    def __init__(self, function: Callable[..., Any], step: int) -> None:
        self._code, self._left = function.__code__, step
        self.came = False

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code is not self._code:
            return None
        if event == "call":
            frame.f_trace_opcodes = True
            sys.settrace(self)  # Python 3.12 looks at the line above only then
        if event == "opcode" and not self.came:
            self._left -= 1
            if self._left < 0:
                self.came = True
                raise KeyboardInterrupt
        return self


def test_ctrl_c_between_any_two_steps_tells_nothing_twice_and_is_all_that_comes_out(tmp_path: Path) -> None:
    jobs = [Job(Path(f"{each}.png"), tmp_path / f"{each}.png", f"{each}.png") for each in range(3)]
    pipeline, before, step, came = Pipeline(Denoiser("digits")), sys.gettrace(), 0, True
    while came:
        told: list[str] = []
        announced: set[str] = set()
        pipeline._pool = lambda *_: (Batches([2, 1]), iter([Chunk(0, tuple(jobs))]))  # type: ignore[method-assign]
        interrupt = _Interrupt(Pipeline.work, step)
        sys.settrace(interrupt)
        try:
            pipeline.work(
                jobs,
                lambda job, _, told=told: told.append(job.relative),  # type: ignore[misc]
                first=lambda pairs, names=announced: names.update(job.relative for job, _ in pairs),  # type: ignore[misc]
            )
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        assert len(told) == len(set(told)), step
        assert set(told) <= announced, step
        came = interrupt.came
        step += 1
    assert told == [job.relative for job in jobs]
    assert step > 30  # how many there are depends on the version of Python

"""Counting results: the number is the exit code, the text the summary."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from denoiser.errors import ExitCode
from denoiser.pipeline.outcomes import Outcome, Report, Result, Status


def result(status: Status, **facts: object) -> Result:
    return Result(Path("in.png"), Path("out.png"), status, Outcome(**facts))  # type: ignore[arg-type]


def test_nothing_is_success() -> None:
    assert Report().exit_code is ExitCode.OK
    assert str(Report()) == "nothing to do"


def test_one_failure_decides_the_exit_code() -> None:
    report = Report()
    report.add(result(Status.DONE, pages=3, models={"general": 3}))
    report.add(result(Status.UP_TO_DATE))
    assert report.exit_code is ExitCode.OK
    report.add(result(Status.FAILED, error="is empty."))
    assert report.exit_code is ExitCode.SOME_FAILED
    assert str(report) == "1 cleaned (3 pages), 1 up to date, 1 failed; general: 3"
    report.interrupted = True
    assert report.exit_code is ExitCode.INTERRUPTED


def test_a_note_is_fresh_once() -> None:
    report = Report()
    assert report.add(result(Status.DONE, notes=("a", "b"))) == ["a", "b"]
    assert report.add(result(Status.DONE, notes=("b", "c"))) == ["c"]


def test_all_of_it_is_json() -> None:
    report = Report()
    one = result(Status.FAILED, error="is empty.", notes=("a",), models={"general": 1})
    report.add(one)
    assert json.loads(json.dumps(one.as_dict()))["error"] == "is empty."
    assert json.loads(json.dumps(report.as_dict()))["summary"]["failed"] == 1


def test_files_that_were_not_tried_are_counted_before_the_models() -> None:
    report = Report(untried=3)
    assert str(report) == "0 cleaned, 3 not tried"
    report.add(result(Status.DONE, pages=1, models={"general": 1}))
    report.add(result(Status.FAILED, error="is empty."))
    assert str(report) == "1 cleaned, 1 failed, 3 not tried; general: 1"


@pytest.mark.parametrize("known", [None, 2])
def test_a_run_that_comes_to_its_end_leaves_no_file(known: int | None) -> None:
    for interrupted, refused, left in ((False, False, 0), (True, False, known), (False, True, known)):
        report = Report(untried=known, interrupted=interrupted, refused=refused)
        report.end(fail_fast=True)
        assert report.as_dict()["summary"]["not_tried"] == left
    for fail_fast, left in ((False, 0), (True, known)):
        report = Report(untried=known)
        report.add(result(Status.FAILED, error="is empty."))
        report.end(fail_fast=fail_fast)
        assert report.as_dict()["summary"]["not_tried"] == left

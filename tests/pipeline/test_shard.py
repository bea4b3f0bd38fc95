"""Parts of a job: each file in one of them, and which one a task of an array does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from denoiser.errors import UsageError
from denoiser.pipeline.shard import BLOCK, Shard, parse


@given(st.integers(1, 9), st.lists(st.integers(0, 5 * BLOCK), max_size=6))
def test_each_file_is_in_one_part_whatever_the_folders(count: int, folders: list[int]) -> None:
    total = sum(folders)
    owners: list[list[int]] = [[] for _ in range(total)]
    for index in range(count):
        shard, first, mine = Shard(index, count), 0, 0
        for length in folders:
            for part in shard.indices(first, length):
                assert part
                assert 0 <= part.start < part.stop <= length
                mine += len(part)
                for each in part:
                    owners[first + each].append(index)
            first += length
        assert shard.share(total) == mine
    assert owners == [[number // BLOCK % count] for number in range(total)]


TASKS = {
    "text": ("3/8", {}, "3/8"),
    "slurm": (
        "auto",
        {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "5", "SLURM_ARRAY_TASK_COUNT": "4"},
        "2/4",
    ),
    "slurm again": ("auto/16", {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "7"}, "7/16"),
    "kubernetes": ("auto/4", {"JOB_COMPLETION_INDEX": "0"}, "0/4"),
    "aws": ("auto", {"AWS_BATCH_JOB_ARRAY_INDEX": "1", "AWS_BATCH_JOB_ARRAY_SIZE": "3"}, "1/3"),
    "aws, older": ("auto/3", {"AWS_BATCH_JOB_ARRAY_INDEX": "1"}, "1/3"),
}


@pytest.mark.parametrize("case", TASKS)
def test_a_task_knows_its_part(case: str) -> None:
    text, environment, wanted = TASKS[case]
    assert str(parse(text, environment)) == wanted


WRONG = {
    "no part": ("3", {}, "is no part of a whole"),
    "words": ("first/8", {}, "is no part of a whole"),
    "from one": ("8/8", {}, "there is no part 8 of 8; the first of 8 is 0"),
    "of none": ("0/0", {}, "at least one part"),
    "no array": ("auto", {}, "this is no task of an array"),
    "how many": ("auto", {"JOB_COMPLETION_INDEX": "0"}, "doesn't say how many"),
    "no number": ("auto/3", {"JOB_COMPLETION_INDEX": "x"}, "JOB_COMPLETION_INDEX is 'x'"),
    "slurm from one": ("auto/3", {"SLURM_ARRAY_TASK_ID": "3"}, "no part 3 of 3"),
    "gaps": (
        "auto",
        {
            "SLURM_ARRAY_TASK_ID": "7",
            "SLURM_ARRAY_TASK_MIN": "3",
            "SLURM_ARRAY_TASK_MAX": "7",
            "SLURM_ARRAY_TASK_COUNT": "2",
        },
        "have gaps",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_part_is_one_line(case: str) -> None:
    text, environment, message = WRONG[case]
    with pytest.raises(UsageError, match=message):
        parse(text, environment)

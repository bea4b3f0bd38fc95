"""What holds a storage's record in memory: numbers by texts, and sets of numbers."""

from __future__ import annotations

import sys
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from denoiser.pipeline import segments
from denoiser.pipeline.segments import Index, Numbers

TEXTS = st.sampled_from("abcdefgh")
VALUES = st.integers(0, 3) | st.integers(0, 2**64 - 1)


@given(st.lists(st.tuples(TEXTS, VALUES, st.booleans())), st.booleans(), st.integers(1, 5))
def test_an_index_has_all_numbers_of_a_text_or_the_last(
    steps: list[tuple[str, int, bool]], last: bool, unsorted: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "_UNSORTED", unsorted)
        index, wanted = Index(last=last), defaultdict[str, list[int]](list)
        for text, value, look in steps:
            index.add(text, value)
            wanted[text].append(value)
            if look:
                assert index.get(text) == (None if last and not value else value)
        for text in "abcdefgh":
            held = wanted[text]
            if last:  # and 0 stands for none
                held = [value for value in held[-1:] if value]
            assert index.get(text) == (held[-1] if held else None)
            for value in {*wanted[text], 1}:
                assert index.has(text, value) == (value in held)


@given(st.lists(st.integers(0, 40) | st.integers(0, 2**64 - 1)), st.integers(1, 5))
def test_a_number_is_new_once(values: list[int], unsorted: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "_UNSORTED", unsorted)
        numbers, seen = Numbers(), set[int]()
        for value in values:
            assert numbers.add(value) == (value not in seen)
            seen.add(value)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="measures as Linux does")
def test_numbers_take_the_bytes_that_they_say() -> None:
    import tracemalloc

    tracemalloc.start()
    try:
        index, numbers, unfinished = Index(), Numbers(), Index(last=True)
        for number in range(400_000):
            text = str(number)
            index.add(text, number)
            unfinished.add(text, 1)
            unfinished.add(text, 0)
            numbers.add(segments.number(text))
        most = tracemalloc.get_traced_memory()[1]
        numbers._sort()
        # Some are not sorted yet, at most a fourth; and what is finished takes nothing.
        assert tracemalloc.get_traced_memory()[0] < 400_000 * (16 + 8) * 1.25 + 1_000_000
        assert most < 400_000 * (16 + 8) * 1.5 + 1_000_000
    finally:
        tracemalloc.stop()

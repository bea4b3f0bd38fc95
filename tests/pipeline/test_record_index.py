"""The lines of an output are found, wherever they are in however many files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from denoiser.pipeline import record_index
from denoiser.pipeline.record_index import Index
from denoiser.pipeline.record_lines import Lines

OUTPUTS = st.sampled_from(["a.png", "b.png", "x/a.png", "x/y/ü.png", 'x/"q".png', "z/\udcff.png"])
KINDS = st.sampled_from(["begun", "failed", "done"])


def line(output: str, kind: str, number: int) -> bytes:
    fields: dict[str, object] = {"output": output}
    if kind == "begun":
        fields["begun"] = number
    elif kind == "failed":
        fields |= {"failed": True, "error": f"no. {number}"}
    else:
        fields |= {"source": "/s", "size": number, "mtime_ns": 1, "sha256": None, "made_with": "m"}
        fields |= {"output_size": number, "output_mtime_ns": number}
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def reader(path: Path) -> int:
    return os.open(path, os.O_RDONLY)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Limits that a few lines reach."""
    for name, value in (
        ("GROUPS", 2),
        ("GAP", 60),
        ("PIECE", 2),
        ("RECENT", 3),
        ("_OPEN", 1),
        ("_BLOCK", 50),
    ):
        monkeypatch.setattr(record_index, name, value)
    return iter(())


@pytest.mark.usefixtures("small")
@given(
    st.lists(st.lists(st.tuples(OUTPUTS, KINDS, st.integers(1, 99)), max_size=12), min_size=1, max_size=3),
    st.integers(0, 12),
    st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_index_tells_what_all_lines_together_tell(
    tmp_path_factory: pytest.TempPathFactory,
    files: list[list[tuple[str, str, int]]],
    known: int,
    ask: bool,
) -> None:
    folder = tmp_path_factory.mktemp("record")
    paths = [folder / f"{number}.jsonl" for number in range(len(files))]
    index = Index(reader)
    contents = [[line(*each) for each in lines] for lines in files]
    everything = Lines()
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(b"".join(content[:known]) + b"\r[]\n")
    assert index.update(paths)
    if ask:
        for output in {output for lines in files for output, *_ in lines}:
            index.lines(output)
    for path, content in zip(paths, contents, strict=True):
        with path.open("ab") as file:
            file.write(b"".join(content[known:]) + b'{"output":"torn')
    assert index.update(paths)
    for path, content in zip(paths, contents, strict=True):
        everything.read(content, path.stat().st_mtime_ns)
    try:
        told: dict[str, dict[str, object]] = {
            name: getattr(everything, name) for name in ("done", "begun", "failed")
        }
        for name, of_all in told.items():
            for output in {output for lines in files for output, *_ in lines}:
                of_one = getattr(index.lines(output), name)
                assert of_one.get(output) == of_all.get(output), (name, output)
                assert set(of_one) <= {output}
            pieces = [getattr(piece, name) for piece in index.pieces()]
            assert sum(map(len, pieces)) == len(of_all)
            assert {output: told for piece in pieces for output, told in piece.items()} == of_all
    finally:
        index.close()


def test_a_file_that_is_gone_or_another_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(line("a.png", "done", 1))
    index = Index(reader)
    assert index.update([path])
    index.close()
    path.rename(tmp_path / "b.jsonl")
    assert not index.update([path])
    with pytest.raises(FileNotFoundError):
        index.lines("a.png")
    path.write_bytes(line("a.png", "done", 1) + line("b.png", "done", 2))
    assert not index.update([path])
    index.close()

"""The record of finished outputs."""

from __future__ import annotations

import json
import os
from pathlib import Path

from denoiser.pipeline.record import NAME, Record, Stamp, digest


def stamp(path: Path) -> Stamp:
    import hashlib

    status = path.stat()
    return Stamp(status.st_size, status.st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())


def made(folder: Path, source: Path, output: str = "a.png", made_with: str = "m") -> Record:
    record = Record(folder)
    record.begin([output])
    (folder / output).parent.mkdir(parents=True, exist_ok=True)
    (folder / output).write_bytes(b"12345")
    record.done(output, source, stamp(source), made_with, output_size=5)
    record.close()
    return Record(folder)


def source_file(tmp_path: Path) -> Path:
    source = tmp_path / "a.png"
    source.write_bytes(b"content")
    return source


def test_nothing_is_created_by_looking(tmp_path: Path) -> None:
    assert not Record(tmp_path / "out").knows("a.png")
    assert not (tmp_path / "out").exists()


def test_same_input_same_settings_is_up_to_date(tmp_path: Path) -> None:
    out = tmp_path / "out"
    source = source_file(tmp_path)
    record = made(tmp_path / "out", source)
    assert record.up_to_date("a.png", source, out / "a.png", "m")
    assert not record.up_to_date("a.png", source, out / "a.png", "other settings")
    assert not record.up_to_date("b.png", source, out / "b.png", "m")


def test_changed_content_is_not(tmp_path: Path) -> None:
    out = tmp_path / "out"
    source = source_file(tmp_path)
    record = made(tmp_path / "out", source)
    source.write_bytes(b"CONTENT")
    assert not record.up_to_date("a.png", source, out / "a.png", "m")
    source.write_bytes(b"more content")
    assert not record.up_to_date("a.png", source, out / "a.png", "m")


def test_a_touched_or_moved_file_of_the_same_content_is(tmp_path: Path) -> None:
    out = tmp_path / "out"
    source = source_file(tmp_path)
    record = made(tmp_path / "out", source)
    os.utime(source, ns=(1, 1))
    assert record.up_to_date("a.png", source, out / "a.png", "m")
    assert record.up_to_date("a.png", source.rename(tmp_path / "moved.png"), out / "a.png", "m")


def test_another_file_of_the_same_size_and_time_is_not(tmp_path: Path) -> None:
    out = tmp_path / "out"
    source = source_file(tmp_path)
    other = tmp_path / "other.png"
    other.write_bytes(b"CONTENT")
    for path in (source, other):
        os.utime(path, ns=(5, 5))
    assert not made(tmp_path / "out", source).up_to_date("a.png", other, out / "a.png", "m")


def test_a_kill_before_the_end_leaves_the_output_ours_but_not_up_to_date(tmp_path: Path) -> None:
    out = tmp_path / "out"
    source = source_file(tmp_path)
    record = made(tmp_path / "out", source)
    record.begin(["a.png", "b.png"])
    record.close()
    again = Record(tmp_path / "out")
    assert again.knows("a.png")
    assert again.knows("b.png")
    assert not again.up_to_date("a.png", source, out / "a.png", "m")


def test_a_torn_last_line_costs_that_file_only(tmp_path: Path) -> None:
    out = tmp_path / "out"
    source = source_file(tmp_path)
    made(tmp_path / "out", source)
    path = tmp_path / "out" / NAME
    with path.open("a") as file:
        file.write('{"output":"b.png","si')
    record = Record(tmp_path / "out")
    assert record.up_to_date("a.png", source, out / "a.png", "m")
    (tmp_path / "out/c.png").write_bytes(b"123")
    record.done("c.png", source, stamp(source), "m", output_size=3)
    record.close()
    assert Record(tmp_path / "out").up_to_date("c.png", source, out / "c.png", "m")


def test_lines_that_are_not_ours_do_no_harm(tmp_path: Path) -> None:
    out = tmp_path
    (tmp_path / NAME).write_bytes(b'[]\n1\n"x"\n\xff\xfe\n{"output": "a.png"}\n')
    record = Record(tmp_path)
    assert not record.up_to_date("a.png", source_file(tmp_path), out / "a.png", "m")


def test_one_line_a_write(tmp_path: Path) -> None:
    source = source_file(tmp_path)
    made(tmp_path / "out", source, "zoë/ü.png")
    lines = (tmp_path / "out" / NAME).read_text("utf-8").splitlines()
    assert [json.loads(line)["output"] for line in lines] == ["zoë/ü.png"] * 2


def test_digest_ignores_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})


def test_an_emptied_output_is_made_again(tmp_path: Path) -> None:
    source = source_file(tmp_path)
    record = made(tmp_path / "out", source)
    (tmp_path / "out/a.png").write_bytes(b"")
    assert not record.up_to_date("a.png", source, tmp_path / "out/a.png", "m")
    assert record.knows("a.png")


def test_what_failed_is_not_ours_but_what_was_there_before_is(tmp_path: Path) -> None:
    source = source_file(tmp_path)
    record = made(tmp_path / "out", source)
    record.begin(["a.png", "b.png"])
    record.failed("a.png")
    record.failed("b.png")
    record.close()
    again = Record(tmp_path / "out")
    assert again.up_to_date("a.png", source, tmp_path / "out/a.png", "m")
    assert not again.knows("b.png")


def test_names_that_are_no_text_survive(tmp_path: Path) -> None:
    name = "bad\udcff.png"
    record = Record(tmp_path / "out")
    record.begin([name])
    record.close()
    assert Record(tmp_path / "out").knows(name)

"""The record of finished outputs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from denoiser.imaging.source import Fingerprint
from denoiser.pipeline.record import FOLDER, MOST_FILES, NAME, Record, digest
from denoiser.system.atomic import Written
from tests.helpers.files import recorded


def fingerprint(path: Path) -> Fingerprint:
    import hashlib

    status = path.stat()
    return Fingerprint(status.st_size, status.st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())


def written(path: Path, content: bytes = b"12345") -> Written:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return Written(len(content), path.stat().st_mtime_ns)


def made(folder: Path, source: Path, output: str = "a.png", made_with: str = "m") -> Record:
    record = Record(folder)
    record.begin([output])
    record.done(output, source, fingerprint(source), made_with, written(folder / output))
    record.close()
    return Record(folder)


def only(folder: Path) -> Path:
    """The one file of a record."""
    (path,) = (folder / FOLDER).iterdir()
    return path


def source_file(tmp_path: Path) -> Path:
    source = tmp_path / "a.png"
    source.write_bytes(b"content")
    return source


def test_nothing_is_created_by_looking(tmp_path: Path) -> None:
    assert not Record(tmp_path / "out").is_recorded("a.png")
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
    assert again.is_recorded("a.png")
    assert again.is_recorded("b.png")
    assert again.up_to_date("a.png", source, out / "a.png", "m")
    (out / "a.png").write_bytes(b"renamed, and killed before the line")
    assert again.is_ours("a.png", out / "a.png")
    assert not again.up_to_date("a.png", source, out / "a.png", "m")


def test_a_torn_last_line_costs_that_file_only(tmp_path: Path) -> None:
    out = tmp_path / "out"
    source = source_file(tmp_path)
    made(tmp_path / "out", source)
    with only(out).open("a") as file:
        file.write('{"output":"b.png","si')
    record = Record(tmp_path / "out")
    assert record.up_to_date("a.png", source, out / "a.png", "m")
    record.done("c.png", source, fingerprint(source), "m", written(out / "c.png", b"123"))
    record.close()
    assert Record(tmp_path / "out").up_to_date("c.png", source, out / "c.png", "m")


def test_lines_that_are_not_ours_do_no_harm(tmp_path: Path) -> None:
    out = tmp_path
    content = (
        b'[]\n1\n"x"\n\xff\xfe\n{"output": "a.png"}\n{"output": 3, "begun": 4}\n{"output":"b","begun":"x"}\n'
    )
    (tmp_path / NAME).write_bytes(content)
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "0.jsonl").write_bytes(content + b'{"output": "a.png", "size": "1", "source": 2}\n')
    record = Record(tmp_path)
    assert not record.up_to_date("a.png", source_file(tmp_path), out / "a.png", "m")
    assert not record.is_recorded("a.png")


def test_one_line_a_write(tmp_path: Path) -> None:
    source = source_file(tmp_path)
    made(tmp_path / "out", source, "zoë/ü.png")
    assert [json.loads(line)["output"] for line in recorded(tmp_path / "out")] == ["zoë/ü.png"] * 2


def test_digest_ignores_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})


def test_an_emptied_output_is_made_again(tmp_path: Path) -> None:
    source = source_file(tmp_path)
    record = made(tmp_path / "out", source)
    (tmp_path / "out/a.png").write_bytes(b"")
    assert not record.up_to_date("a.png", source, tmp_path / "out/a.png", "m")
    assert record.is_recorded("a.png")


def test_what_failed_is_not_ours_but_what_was_there_before_is(tmp_path: Path) -> None:
    source = source_file(tmp_path)
    record = made(tmp_path / "out", source)
    record.begin(["a.png", "b.png"])
    record.failed("a.png")
    record.failed("b.png")
    record.close()
    again = Record(tmp_path / "out")
    assert again.up_to_date("a.png", source, tmp_path / "out/a.png", "m")
    assert not again.is_recorded("b.png")


def test_names_that_are_no_text_survive(tmp_path: Path) -> None:
    name = "bad\udcff.png"
    record = Record(tmp_path / "out")
    record.begin([name])
    record.close()
    assert Record(tmp_path / "out").is_recorded(name)


def test_an_output_of_another_time_is_not_ours(tmp_path: Path) -> None:
    source, path = source_file(tmp_path), tmp_path / "out/a.png"
    record = made(tmp_path / "out", source)
    status = path.stat()
    assert record.is_ours("a.png", path)
    path.write_bytes(b"54321")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert not record.up_to_date("a.png", source, path, "m")
    assert not record.is_ours("a.png", path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert record.is_ours("a.png", path)


def test_of_several_lines_the_file_says_which_is_true(tmp_path: Path) -> None:
    source, path = source_file(tmp_path), tmp_path / "out/a.png"
    first, second = Record(tmp_path / "out"), Record(tmp_path / "out")
    for record in (first, second):
        record.begin(["a.png"])
    earlier = written(path)
    later = Written(5, earlier.mtime_ns + 1)
    os.utime(path, ns=(1, later.mtime_ns))
    second.done("a.png", source, fingerprint(source), "two", later)
    first.done("a.png", source, fingerprint(source), "one", earlier)
    for record in (first, second):
        record.close()
    assert len(list((tmp_path / "out" / FOLDER).iterdir())) == 2
    again = Record(tmp_path / "out")
    assert again.up_to_date("a.png", source, path, "two")
    assert not again.up_to_date("a.png", source, path, "one")


def test_a_run_goes_on_in_the_file_of_one_that_has_ended(tmp_path: Path) -> None:
    source, out = source_file(tmp_path), tmp_path / "out"
    made(out, source)
    ended = only(out)
    first = Record(out)
    first.begin(["b.png"])
    second = Record(out)
    second.begin(["c.png"])
    assert len(list((out / FOLDER).iterdir())) == 2
    assert "b.png" in ended.read_text()
    assert "c.png" not in ended.read_text()


def test_the_file_of_earlier_versions_is_merged_once(tmp_path: Path) -> None:
    source, out = source_file(tmp_path), tmp_path / "out"
    path = out / "a.png"
    written(path)
    status = source.stat()
    line = {
        "output": "a.png",
        "source": str(source),
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "sha256": None,
        "made_with": "m",
        "output_size": 5,
    }
    (out / NAME).write_text(json.dumps(line) + '\n{"output":"b.png","begun":true}\n')
    record = Record(out)
    assert record.up_to_date("a.png", source, path, "m")
    assert record.is_recorded("b.png")
    record.begin(["c.png"])
    record.close()
    assert not (out / NAME).exists()
    again = Record(out)
    assert again.up_to_date("a.png", source, path, "m")
    assert again.is_recorded("b.png")
    assert len(recorded(out)) == 3


def test_too_many_files_become_one_and_lose_nothing(tmp_path: Path) -> None:
    source, out = source_file(tmp_path), tmp_path / "out"
    records = [Record(out) for _ in range(MOST_FILES + 3)]
    for index, record in enumerate(records):
        name = f"{index}.png"
        record.begin([name, f"begun{index}.png"])
        record.done(name, source, fingerprint(source), "m", written(out / name))
    living = records.pop()
    for record in records:
        record.close()
    last = Record(out)
    last.begin(["last.png"])
    assert len(list((out / FOLDER).iterdir())) == 2
    for name in ("0.png", f"{MOST_FILES + 2}.png"):
        living.begin([name])
    again = Record(out)
    for index in range(MOST_FILES + 3):
        assert again.up_to_date(f"{index}.png", source, out / f"{index}.png", "m")
        assert again.is_recorded(f"begun{index}.png")


def test_a_line_of_what_was_only_begun_does_not_outlive_a_finished_one(tmp_path: Path) -> None:
    source, out = source_file(tmp_path), tmp_path / "out"
    killed = Record(out)
    killed.begin(["a.png"])
    made(out, source)
    again = Record(out)
    (out / "a.png").write_bytes(b"a user's own")
    assert not again.is_ours("a.png", out / "a.png")
    killed.close()


@pytest.mark.parametrize("damage", [10, 100, 250])
def test_a_record_that_is_cut_off_anywhere_is_still_a_record(tmp_path: Path, damage: int) -> None:
    source, out = source_file(tmp_path), tmp_path / "out"
    made(out, source)
    path = only(out)
    path.write_bytes(path.read_bytes()[:damage])
    record = made(out, source, "b.png")
    assert record.up_to_date("b.png", source, out / "b.png", "m")


def test_a_named_writer_has_its_own_file_and_goes_on_in_it(tmp_path: Path) -> None:
    source, out = source_file(tmp_path), tmp_path / "out"
    made(out, source)
    records = [Record(out, writer=f"shard-{index}-of-2") for index in (0, 1)]
    for index, record in enumerate(records):
        record.begin([f"{index}.png"])
    assert [path.name for path in sorted((out / FOLDER).glob("shard*"))] == [
        "shard-0-of-2.jsonl",
        "shard-1-of-2.jsonl",
    ]
    records[0].close()
    again = Record(out, writer="shard-0-of-2")
    again.begin(["2.png"])
    assert len(list((out / FOLDER).iterdir())) == 3
    assert "2.png" in (out / FOLDER / "shard-0-of-2.jsonl").read_text()
    twin = Record(out, writer="shard-1-of-2")  # the first of the two still runs
    twin.begin(["3.png"])
    assert len(list((out / FOLDER).iterdir())) == 4
    assert all(Record(out).is_recorded(name) for name in ("a.png", "0.png", "1.png", "2.png", "3.png"))


def test_what_is_recorded_together_is_written_at_the_end_or_not_at_all(tmp_path: Path) -> None:
    out, record = tmp_path / "out", Record(tmp_path / "out")
    record.begin(["a.png", "b.png"])
    with record.together():
        record.failed("a.png")
        record.failed("b.png")
        assert len(recorded(out)) == 2
    assert len(recorded(out)) == 4

    def interrupted() -> None:
        with record.together():
            record.failed("a.png")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    record.failed("b.png")
    assert len(recorded(out)) == 5

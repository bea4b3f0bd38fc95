"""The planner: which file becomes which."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from denoiser.errors import ExitCode, UsageError
from denoiser.pipeline.plan import Job, plan
from denoiser.pipeline.walk import Walk, name_of, natural_key, sort_key


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def jobs(*inputs: object, out: Path, **options: object) -> list[Job]:
    planned = plan([str(each) for each in inputs], out, **options)  # type: ignore[arg-type]
    found = [job for folder in planned for job in folder]
    assert sum(planned.count()) == len(found)
    return found


def relatives(*inputs: object, out: Path, **options: object) -> list[str]:
    return [job.relative for job in jobs(*inputs, out=out, **options)]


def test_one_folder_goes_straight_into_out_with_its_tree(tmp_path: Path) -> None:
    scans = touch(tmp_path / "scans", "page10.png", "page9.png", "box/a.tif", "box/deep/b.JPG", "notes.txt")
    out = tmp_path / "out"
    assert relatives(scans, out=out) == ["page9.png", "page10.png", "box/a.tif", "box/deep/b.JPG"]
    assert jobs(scans, out=out)[0].destination == out / "page9.png"


def test_one_file_goes_to_its_name_whatever_its_ending(tmp_path: Path) -> None:
    touch(tmp_path, "in/scan.dat")
    assert relatives(tmp_path / "in/scan.dat", out=tmp_path / "out") == ["scan.dat"]


def test_several_inputs_keep_their_names(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "b/1.png", "c.png")
    got = relatives(tmp_path / "a", tmp_path / "b", tmp_path / "c.png", out=tmp_path / "out")
    assert got == ["a/1.png", "b/1.png", "c.png"]


def test_the_current_folder_has_a_name_beside_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "here/1.png", "b/1.png")
    monkeypatch.chdir(tmp_path / "here")
    assert relatives(".", "../b", out=tmp_path / "out") == ["here/1.png", "b/1.png"]


def test_the_same_file_named_twice_is_one_job(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png")
    assert relatives(*[tmp_path / "a/1.png"] * 2, out=tmp_path / "out") == ["1.png"]


def test_patterns_are_expanded_where_the_shell_did_not(tmp_path: Path) -> None:
    touch(tmp_path, "s/a1.png", "s/a2.png", "s/b.png")
    assert relatives(tmp_path / "s/a*.png", out=tmp_path / "out") == ["a1.png", "a2.png"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    touch(tmp_path, "s/a[1].png", "s/a1.png")
    assert relatives(tmp_path / "s/a[1].png", out=tmp_path / "out") == ["a[1].png"]


def test_walk_options(tmp_path: Path) -> None:
    scans = touch(tmp_path / "s", "a_raw.png", "a.png", "sub/b_raw.png", ".hidden.png", ".cache/c.png")
    out = tmp_path / "out"
    assert relatives(scans, out=out, walk=Walk(patterns=("*_raw.png",))) == ["a_raw.png", "sub/b_raw.png"]
    assert relatives(scans, out=out, walk=Walk(patterns=("sub/*",))) == ["sub/b_raw.png"]
    assert relatives(scans, out=out, walk=Walk(recursive=False)) == ["a.png", "a_raw.png"]


def test_linked_folders_are_walked_only_when_asked_and_never_for_ever(tmp_path: Path) -> None:
    scans = touch(tmp_path / "s", "a.png")
    touch(tmp_path / "elsewhere", "b.png")
    (scans / "link").symlink_to(tmp_path / "elsewhere")
    (scans / "loop").symlink_to(scans)
    out = tmp_path / "out"
    assert relatives(scans, out=out) == ["a.png"]
    assert relatives(scans, out=out, walk=Walk(follow_links=True)) == ["a.png", "link/b.png"]


def test_a_link_to_a_folder_that_is_walked_anyhow_displaces_no_results(tmp_path: Path) -> None:
    scans = touch(tmp_path / "s", "real/b.png", ".hidden/c.png")
    for link, target in (("alias", "real"), ("zz", "real"), ("real/up", ""), ("shown", ".hidden")):
        (scans / link).symlink_to(scans / target)
    got = relatives(scans, out=tmp_path / "out", walk=Walk(follow_links=True))
    assert got == ["real/b.png", "shown/c.png"]


def test_outputs_inside_an_input_are_left_out(tmp_path: Path) -> None:
    scans = touch(tmp_path / "s", "a.png", "clean/a.png", "look/a.png")
    assert relatives(scans, out=scans / "clean", aside=(scans / "look",)) == ["a.png"]


@pytest.mark.parametrize("suffixes", [(".png",), (".tif", ".tiff")])
def test_a_given_format_changes_endings_but_keeps_its_own(tmp_path: Path, suffixes: tuple[str, ...]) -> None:
    touch(tmp_path, "s/a.jpg", "s/b.tiff", "s/c.PNG")
    got = relatives(tmp_path / "s", out=tmp_path / "out", suffixes=suffixes)
    assert got == (["a.png", "b.png", "c.PNG"] if ".png" in suffixes else ["a.tif", "b.tiff", "c.tif"])


def refused(*inputs: object, out: Path, **options: object) -> str:
    with pytest.raises(UsageError) as caught:
        relatives(*inputs, out=out, **options)
    assert caught.value.exit_code is ExitCode.USAGE
    return str(caught.value)


def test_two_inputs_for_one_output_are_both_named(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "b/1.png", "s/x.jpg", "s/x.png")
    text = refused(tmp_path / "a/1.png", tmp_path / "b/1.png", out=tmp_path / "out")
    assert "a/1.png" in text
    assert "b/1.png" in text
    text = refused(tmp_path / "s", out=tmp_path / "out", suffixes=(".png",))
    assert "x.jpg" in text
    assert "x.png" in text


def test_inputs_are_never_outputs(tmp_path: Path) -> None:
    touch(tmp_path, "s/a.png")
    assert "is the input folder" in refused(tmp_path / "s", out=tmp_path / "s")
    assert "is the input folder" in refused(tmp_path / "s", out=tmp_path / "s/../s")
    assert "never written to" in refused(tmp_path / "s/a.png", out=tmp_path / "s")
    (tmp_path / "alias").symlink_to(tmp_path / "s")
    assert "never written to" in refused(tmp_path / "s/a.png", out=tmp_path / "alias")


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    touch(tmp_path, "file")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere")
    assert "nope: no such file or folder" in refused(tmp_path / "nope", out=tmp_path / "out")
    assert "No images found in" in refused(tmp_path / "empty", out=tmp_path / "out")
    assert "No file matches" in refused(tmp_path / "*.xyz", out=tmp_path / "out")
    assert "is a file, not a folder" in refused(tmp_path / "empty", out=tmp_path / "file")
    assert "link to nothing" in refused(tmp_path / "dangling.png", out=tmp_path / "out")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions don't bind root")
def test_a_closed_folder_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "s/shut/a.png")
    (tmp_path / "s/shut").chmod(0)
    try:
        assert "shut can't be read" in refused(tmp_path / "s", out=tmp_path / "out")
    finally:
        (tmp_path / "s/shut").chmod(0o755)


@given(st.lists(st.integers(0, 10**20), min_size=1), st.text("ab ", max_size=3))
def test_numbers_in_names_sort_as_numbers(numbers: list[int], prefix: str) -> None:
    names = [f"{prefix}{number}.png" for number in numbers]
    assert sorted(names, key=natural_key) == [f"{prefix}{number}.png" for number in sorted(numbers)]


@given(st.lists(st.text(), min_size=2, max_size=6))
def test_any_names_can_be_sorted(names: list[str]) -> None:
    order = sorted(names, key=natural_key)
    assert all(natural_key(first) <= natural_key(second) for first, second in pairwise(order))


def test_several_patterns_take_what_matches_one(tmp_path: Path) -> None:
    scans, out = touch(tmp_path / "s", "a.png", "a_raw.png", "sub/b_raw.png"), tmp_path / "out"
    walk = Walk(patterns=("a.png", "sub/*"))
    assert relatives(scans, out=out, walk=walk) == ["a.png", "sub/b_raw.png"]


@pytest.mark.parametrize("name", [".denoise", ".denoise.jsonl"])
def test_a_subfolder_with_a_record_is_left_out_unless_it_is_named(tmp_path: Path, name: str) -> None:
    scans, out = touch(tmp_path / "s", "a.png", "a_raw.png", "sub/b_raw.png"), tmp_path / "out"
    (scans / "sub" / name).mkdir()
    seen: list[Path] = []
    assert relatives(scans, out=out, walk=Walk(left_out=seen.append)) == ["a.png", "a_raw.png"]
    assert seen == [scans / "sub"]
    assert relatives(scans / "sub", out=out, walk=Walk(left_out=seen.append)) == ["b_raw.png"]
    assert len(seen) == 1


NAMES = st.text(
    st.one_of(st.sampled_from("aA01٣09.-_ \udcff"), st.characters(exclude_characters="/\0")), min_size=1
)


@given(st.lists(NAMES, min_size=2, max_size=8))
def test_keys_of_bytes_sort_as_natural_keys(names: list[str]) -> None:
    by_key = [name_of(key) for key in sorted(map(sort_key, names))]
    assert sorted(by_key) == sorted(names)
    assert list(map(natural_key, by_key)) == sorted(map(natural_key, names))


def test_folders_of_one_name_share_a_place_and_never_an_output(tmp_path: Path) -> None:
    out = tmp_path / "out"
    touch(tmp_path, "a/s/1.png", "a/s/box/3.png", "b/s/2.png", "b/s/box/4.png", "b/s/only/5.png")
    roots = (tmp_path / "a/s", tmp_path / "b/s")
    assert relatives(*roots, out=out) == [
        "s/1.png",
        "s/2.png",
        "s/box/3.png",
        "s/box/4.png",
        "s/only/5.png",
    ]
    touch(tmp_path, "b/s/box/3.png")
    text = refused(*roots, out=out)
    assert "a/s/box/3.png" in text
    assert "b/s/box/3.png" in text


def test_a_collision_is_found_before_its_folder_and_after_those_before_it(tmp_path: Path) -> None:
    touch(tmp_path, "s/a.png", "s/box/x.jpg", "s/box/x.png")
    folders = iter(plan([str(tmp_path / "s")], tmp_path / "out", suffixes=(".png",)))
    assert [job.relative for job in next(folders)] == ["a.png"]
    with pytest.raises(UsageError, match=r"would both be written"):
        next(folders)


@pytest.mark.skipif(os.name == "nt", reason="needs links")
def test_outputs_that_are_inputs_by_way_of_a_link_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "s/a.png", "s/box/b.png", "s/box/c.png", "out/real.png", "t/real.png")
    (tmp_path / "out/box").symlink_to(tmp_path / "s/box")
    assert "out/box/b.png is an input" in refused(tmp_path / "s", out=tmp_path / "out")
    # A folder of inputs inside the output folder: one of them would be written to, or none.
    touch(tmp_path, "o/sub/1.png", "u/sub/2.png")
    roots = (tmp_path / "o/sub", tmp_path / "t/real.png")
    assert "o/sub/1.png is an input" in refused(*roots, out=tmp_path / "o")
    assert relatives(tmp_path / "o/sub", out=tmp_path / "o") == ["1.png"]
    roots = (tmp_path / "u/sub", tmp_path / "o/sub/1.png")
    assert relatives(*roots, out=tmp_path / "o") == ["sub/2.png", "1.png"]
    # A link among the inputs leads to what would be an output.
    (tmp_path / "t/link.png").symlink_to(tmp_path / "out/real.png")
    assert "out/real.png is an input" in refused(tmp_path / "t", out=tmp_path / "out")

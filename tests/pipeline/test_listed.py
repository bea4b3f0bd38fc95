"""Lists of paths and of URLs: the root that is common to all, and what each file is called below it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from denoiser.pipeline.listed import FileList, Lines, ObjectList, read_list

PARTS = st.text("ab#%? .ü", min_size=1, max_size=3).filter(lambda part: part not in (".", ".."))
FOLDERS = st.lists(PARTS, max_size=3).map(tuple)
FILES = st.dictionaries(FOLDERS, st.sets(PARTS, min_size=1, max_size=3), min_size=1, max_size=4)


def common(folders: list[tuple[str, ...]]) -> tuple[str, ...]:
    """The longest beginning of all."""
    length = min(map(len, folders))
    while len({folder[:length] for folder in folders}) > 1:
        length -= 1
    return folders[0][:length]


@pytest.mark.parametrize("start", ["/archive", "s3://archive"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=FILES, null=st.booleans(), given_root=st.booleans())
def test_root_and_key_together_are_what_was_named(
    tmp_path: Path,
    start: str,
    files: dict[tuple[str, ...], set[str]],
    null: bool,
    given_root: bool,
) -> None:
    names = ["/".join((start, *folder, name)) for folder in files for name in sorted(files[folder])]
    file = tmp_path / "list"
    end = "\0" if null else "\n"
    file.write_bytes("".join(name + end for name in names).encode())
    found = read_list(str(file), null=null, root=f"{start}/" if given_root else None)
    assert isinstance(found, FileList if start.startswith("/") else ObjectList)
    assert found.total == len(names)
    assert found.root == (start if given_root else "/".join((start, *common(list(files)))))
    assert [f"{found.root}/{key}" for key in found.keys()] == names  # noqa: SIM118 - no dictionary


def test_a_file_that_is_named_twice_is_one(tmp_path: Path) -> None:
    file = tmp_path / "list"
    file.write_text("s3://a/x/1\ns3://a/x/2\ns3://a/x/1\ns3://a/y/1\n")
    found = ObjectList(Lines(str(file)))
    assert list(found.keys()) == ["x/1", "x/2", "y/1"]

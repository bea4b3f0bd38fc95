"""Our reader of HDF5 against the library's writer, and against files that somebody has spoilt."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from denoiser import hdf5


def written(fill: Callable[[Any], None], **options: Any) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", **options) as file:
        fill(file)
    return buffer.getvalue()


def typical(file: Any) -> None:
    rng = np.random.default_rng(0)
    for part in ("encoder", "decoder"):
        group = file.create_group(f"{part}/layers/dense/vars")
        group.attrs["name"] = "dense"
        group["0"] = rng.standard_normal((7, 5)).astype(np.float32)
        group["1"] = rng.standard_normal(5).astype(np.float32)
    values = rng.standard_normal((40, 30)).astype(np.float16)
    file.create_dataset("packed/vars/0", data=values, chunks=values.shape, shuffle=True, compression="gzip")


def same(content: bytes) -> dict[str, hdf5.Array]:
    found = hdf5.arrays(content)
    with h5py.File(io.BytesIO(content)) as file:
        paths: list[str] = []
        file.visititems(lambda name, item: paths.append(name) if isinstance(item, h5py.Dataset) else None)
        assert sorted(found) == sorted(paths)
        for path in paths:
            assert found[path].shape == file[path].shape
            if found[path].dtype is not None:
                assert found[path].dtype == file[path].dtype
                np.testing.assert_array_equal(found[path].read(), file[path][()])
    return found


def read_all(content: bytes) -> None:
    for array in hdf5.arrays(content).values():
        array.read()


@pytest.mark.parametrize("low", ["earliest", "v108", "v110"])
def test_reads_what_the_library_writes(low: str) -> None:
    def fill(file: Any) -> None:
        typical(file)
        if low != "earliest":
            del file["packed"]

    assert len(same(written(fill, libver=(low, "latest")))) >= 4


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4", ">f8"])
def test_floats_of_all_sizes(dtype: str) -> None:
    values = np.linspace(-3, 3, 12).reshape(3, 4).astype(dtype)
    found = same(written(lambda file: file.create_dataset("x", data=values)))
    assert found["x"].dtype == np.dtype(dtype)


@pytest.mark.parametrize("dtype", ["i4", "u1", "?", "c8", "S5", "V3"])
def test_other_types_are_seen_and_not_read(dtype: str) -> None:
    found = same(written(lambda file: file.create_dataset("x", data=np.zeros(3, dtype))))
    assert found["x"].dtype is None
    with pytest.raises(hdf5.UnusualError):
        found["x"].read()


def test_many_members() -> None:
    def fill(file: Any) -> None:
        for index in range(700):
            file[f"group/{index}"] = np.float32([index])

    assert len(same(written(fill))) == 700


def test_compact_and_scalar_arrays() -> None:
    def fill(file: Any) -> None:
        file["scalar"] = np.float32(2.5)
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((3,))
        made = h5py.h5d.create(file.id, b"compact", h5py.h5t.IEEE_F32LE, space, plist)
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.float32([1, 2, 3]))

    same(written(fill))


def test_groups_can_be_left_out() -> None:
    content = written(typical)
    assert list(hdf5.arrays(content, leave=frozenset({"encoder", "decoder/layers"}))) == ["packed/vars/0"]


def soft(file: Any) -> None:
    file["x"] = h5py.SoftLink("/y")


def external_link(file: Any) -> None:
    file["x"] = h5py.ExternalLink("other.h5", "/y")


def external_storage(file: Any) -> None:
    file.create_dataset("x", (4,), "f4", external=[("other.bin", 0, 16)])


def virtual(file: Any) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "y", (4,))
    file.create_virtual_dataset("x", layout)


@pytest.mark.parametrize("low", ["earliest", "v110"])
@pytest.mark.parametrize("fill", [soft, external_link, external_storage, virtual])
def test_what_leads_out_of_the_file_is_refused(fill: Any, low: str) -> None:
    content = written(fill, libver=(low, "latest"))
    with pytest.raises((hdf5.HostileError, hdf5.UnusualError)):
        hdf5.arrays(content)
    if low == "earliest":
        with pytest.raises(hdf5.HostileError):
            hdf5.arrays(content)


def test_a_group_inside_itself_is_walked_once() -> None:
    def fill(file: Any) -> None:
        group = file.create_group("a/b")
        group["c"] = file["a"]

    with pytest.raises(hdf5.DamagedError):
        hdf5.arrays(written(fill))


def test_very_deep_groups_are_refused() -> None:
    with pytest.raises(hdf5.UnusualError):
        hdf5.arrays(written(lambda file: file.create_group("/".join("a" * 500))))


@pytest.mark.parametrize(
    "options",
    [
        {"chunks": (5, 5)},
        {"chunks": (10, 10), "compression": "gzip"},
        {"chunks": (5, 10), "compression": "gzip", "shuffle": True},
        {"chunks": (10, 10), "compression": "lzf"},
        {"chunks": (10, 10), "compression": "gzip", "shuffle": True, "fletcher32": True},
        {"chunks": (20, 20), "maxshape": (None, None), "compression": "gzip", "shuffle": True},
    ],
)
def test_other_ways_of_packing_are_refused(options: Any) -> None:
    content = written(lambda file: file.create_dataset("x", data=np.ones((10, 10), "f4"), **options))
    with pytest.raises(hdf5.UnusualError):
        hdf5.arrays(content)["x"].read()


def test_an_array_without_values_is_refused() -> None:
    found = hdf5.arrays(written(lambda file: file.create_dataset("x", (1000, 1000), "f4")))
    with pytest.raises(hdf5.UnusualError):
        found["x"].read()


def test_a_chunk_unpacks_to_its_shape_and_no_further() -> None:
    def fill(file: Any) -> None:
        made = file.create_dataset("x", (10,), "f4", chunks=(10,), shuffle=True, compression="gzip")
        import zlib

        made.id.write_direct_chunk((0,), zlib.compress(bytes(50 << 20)))

    found = hdf5.arrays(written(fill))
    with pytest.raises(hdf5.DamagedError):
        found["x"].read()


@pytest.mark.parametrize("low", ["earliest", "v108"])
def test_every_cut_is_noticed(low: str) -> None:
    content = written(typical, libver=(low, "latest"))
    for length in range(0, len(content), 37):
        with pytest.raises((hdf5.DamagedError, hdf5.UnusualError)):
            read_all(content[:length])


CONTENTS = {
    low: written(
        lambda file: [file.__setitem__(f"a/{n}", np.float32([n])) for n in range(6)], libver=(low, "latest")
    )
    for low in ("earliest", "v108")
}


@settings(max_examples=300, deadline=None)
@given(
    low=st.sampled_from(sorted(CONTENTS)),
    changes=st.lists(
        st.tuples(st.integers(0, 1 << 20), st.sampled_from([0, 1, 2, 8, 0x7F, 0x80, 0xFF])),
        min_size=1,
        max_size=8,
    ),
)
def test_changed_bytes_give_nothing_but_our_errors(low: str, changes: list[tuple[int, int]]) -> None:
    content = bytearray(CONTENTS[low])
    for place, value in changes:
        content[place % len(content)] = value
    with contextlib.suppress(hdf5.DamagedError, hdf5.UnusualError, hdf5.HostileError):
        read_all(bytes(content))

"""Reading model files: what is in a good one, and what is said about each kind of bad one."""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from denoiser.errors import ExitCode, ModelError
from denoiser.weights import architectures, modelfile, store
from tests.helpers import fakes

WEIGHTS, CONFIG = "model.weights.h5", "config.json"
Members = dict[str, bytes]


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return fakes.write_model(
        tmp_path / "good.keras", "PatchAutoencoder", fakes.SMALL, lambda name, shape: 0.5, {"seed": 3}
    )


def members(path: Path) -> Members:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewrite(path: Path, content: Members, **options: Any) -> Path:
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, value in content.items():
            archive.writestr(name, value)
    return path


def with_config(path: Path, change: Callable[[Any], Any]) -> Path:
    content = members(path)
    described = json.loads(content[CONFIG])
    changed = change(described)
    text = json.dumps(described if changed is None else changed)
    return rewrite(path, {**content, CONFIG: text.encode()})


def with_setting(path: Path, name: str, value: Any) -> Path:
    return with_config(path, lambda described: described["config"].__setitem__(name, value))


def with_weights(path: Path, change: Callable[[Any], Any]) -> Path:
    content = members(path)
    buffer = io.BytesIO(content[WEIGHTS])
    with h5py.File(buffer, "r+") as file:
        change(file)
    return rewrite(path, {**content, WEIGHTS: buffer.getvalue()})


def refusal(path: Path) -> ModelError:
    """What is said about a file: always one line that names it, and what to do."""
    with pytest.raises(ModelError) as caught:
        modelfile.read(path)
    error = caught.value
    assert error.exit_code == ExitCode.CANNOT_START
    assert error.message.startswith(f"{path} ")
    assert error.message.endswith(".")
    assert "\n" not in str(error)
    assert error.hint
    return error


class TestAGoodFile:
    def test_says_what_it_is(self, good: Path) -> None:
        model = modelfile.read(good)
        assert (model.name, model.path, model.kind, model.mode) == (
            "good",
            good,
            "PatchAutoencoder",
            "tile",
        )
        assert model.card == {"seed": 3}
        assert model.config == architectures.make_config("PatchAutoencoder", fakes.SMALL)
        assert model.parameters == sum(weight.size for weight in model.weights.values())
        assert model.digest == hashlib.sha256(good.read_bytes()).hexdigest()
        assert modelfile.read(good, name="general").name == "general"

    def test_has_its_weights(self, good: Path) -> None:
        weights = modelfile.read(str(good)).weights
        layout = modelfile.read(good).config.layout()
        assert list(weights) == list(layout)
        for name, slot in layout.items():
            assert (weights[name].shape, weights[name].dtype) == (slot.shape, np.float32)
            assert (weights[name] == 0.5).all()
            with pytest.raises(ValueError, match="read-only"):
                weights[name][0] = 1

    def test_of_the_other_network(self, tmp_path: Path) -> None:
        model = modelfile.read(fakes.ink(tmp_path / "ink.keras"))
        assert (model.kind, model.mode, model.config) == (
            "Autoencoder",
            "whole",
            architectures.DenseConfig(2),
        )

    def test_may_hold_an_optimizer(self, good: Path) -> None:
        def add(file: Any) -> None:
            file["optimizer/vars/0"] = np.int64(3)
            file["optimizer/vars/1"] = np.zeros((5, 5))

        modelfile.read(with_weights(good, add))

    def test_may_have_doubles_or_halves(self, good: Path) -> None:
        for dtype in ("f8", "f2"):

            def retype(file: Any, dtype: str = dtype) -> None:
                values = file["encoder/embed/vars/0"][()]
                del file["encoder/embed/vars/0"]
                file["encoder/embed/vars/0"] = values.astype(dtype)

            assert modelfile.read(with_weights(good, retype)).weights["embed/kernel"].dtype == np.float32

    def test_needs_no_card(self, good: Path) -> None:
        assert modelfile.read(with_setting(good, "card", None)).card == {}

    def test_defaults_fill_what_it_leaves_out(self, good: Path) -> None:
        model = modelfile.read(with_config(good, lambda all_: all_["config"].pop("gain") and None))
        assert asdict(model.config)["gain"] == 4.0


def test_reads_without_keras(good: Path) -> None:
    program = (
        "import sys, denoiser.weights.modelfile as m\n"
        "m.read(sys.argv[1])\n"
        "print([name for name in ('keras', 'tensorflow', 'click') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program, good], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", store.NETWORKS)
def test_bundled_files_are_sound_and_small(name: str) -> None:
    [entry] = [each for each in store.available() if each.source == "bundled" and each.name == name]
    model = modelfile.read(entry.path)
    network = store.NETWORKS[entry.name]
    assert (model.kind, model.mode) == (network.kind, network.mode)
    assert entry.path.stat().st_size < 3_000_000
    for key in ("summary", "trained_on", "terms", "noise", "figures"):
        assert model.card[key], f"{entry.name}'s card lacks {key}"


class TestNoModelFile:
    def test_missing(self, tmp_path: Path) -> None:
        assert "does not exist" in refusal(tmp_path / "nothing.keras").message

    def test_folder(self, tmp_path: Path) -> None:
        assert "is a folder" in refusal(tmp_path).message

    def test_a_file_in_the_way_of_the_path(self, good: Path) -> None:
        assert "can't be read" in refusal(good / "below.keras").message

    def test_device(self) -> None:
        assert "not a regular file" in refusal(Path("/dev/zero")).message

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_forbidden(self, good: Path) -> None:
        good.chmod(0)
        assert "can't be read" in refusal(good).message

    def test_empty(self, good: Path) -> None:
        good.write_bytes(b"")
        assert "is empty" in refusal(good).message

    def test_too_large(self, good: Path) -> None:
        with good.open("r+b") as file:
            file.truncate(1 << 33)
        assert "far too large" in refusal(good).message

    @pytest.mark.parametrize("content", [b"not a model\n", b"\x89PNG\r\n\x1a\n" + bytes(100), b"P"])
    def test_something_else(self, good: Path, content: bytes) -> None:
        good.write_bytes(content)
        assert "is not a .keras file" in refusal(good).message

    def test_hdf5(self, good: Path) -> None:
        good.write_bytes(members(good)[WEIGHTS])
        assert "is an HDF5 file, not a .keras file" in refusal(good).message


class TestADamagedFile:
    @pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.9, 0.999])
    def test_cut_off(self, good: Path, share: float) -> None:
        content = good.read_bytes()
        good.write_bytes(content[: int(share * len(content))])
        assert "is a damaged or cut-off .keras file" in refusal(good).message

    def test_one_bit_of_a_weight(self, good: Path) -> None:
        content = bytearray(good.read_bytes())
        content[content.index(struct.pack("<4f", 0.5, 0.5, 0.5, 0.5))] ^= 1
        good.write_bytes(content)
        assert "model.weights.h5 can't be unpacked" in refusal(good).message

    @pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
    def test_a_part_is_missing(self, good: Path, name: str) -> None:
        content = members(good)
        del content[name]
        assert f"it has no {name}" in refusal(rewrite(good, content)).message

    @pytest.mark.parametrize(
        "text", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a": NaN}', b"[1]", b"null", b'"text"', b"{}"]
    )
    def test_no_description(self, good: Path, text: bytes) -> None:
        assert "is damaged" in refusal(rewrite(good, {**members(good), CONFIG: text})).message

    @pytest.mark.parametrize("content", [b"", b"no HDF5", bytes(5000)])
    def test_no_weights(self, good: Path, content: bytes) -> None:
        assert "not a sound HDF5" in refusal(rewrite(good, {**members(good), WEIGHTS: content})).message

    def test_weights_cut_off(self, good: Path) -> None:
        content = members(good)
        content[WEIGHTS] = content[WEIGHTS][:-200]
        assert "not a sound HDF5" in refusal(rewrite(good, content)).message


class TestAForeignModel:
    @pytest.mark.slow
    def test_of_keras(self, tmp_path: Path) -> None:
        keras = pytest.importorskip("keras")
        keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(tmp_path / "other.keras")
        error = refusal(tmp_path / "other.keras")
        assert "is a Keras model of class Sequential, not one of denoiser's" in error.message
        assert "denoise train" in str(error.hint)

    @pytest.mark.parametrize(
        ("registered", "name"),
        [
            ("other>Autoencoder", "Autoencoder"),
            ("denoiser>PatchEncoder", "PatchEncoder"),
            ("denoiser>Autoencoder", "Lambda"),
            (None, "Functional"),
        ],
    )
    def test_that_only_looks_like_ours(self, good: Path, registered: Any, name: str) -> None:
        changed = with_config(good, lambda all_: {**all_, "registered_name": registered, "class_name": name})
        assert f"of class {name}, not one of denoiser's" in refusal(changed).message

    @pytest.mark.parametrize("name", [None, 3, "", "two\nlines", "x" * 1000, "\x1b[31m"])
    def test_with_a_name_that_is_none(self, good: Path, name: Any) -> None:
        changed = with_config(good, lambda all_: {**all_, "registered_name": "x", "class_name": name})
        assert "describes no model" in refusal(changed).message


class TestImpossibleSettings:
    @pytest.mark.parametrize(
        ("name", "value", "words"),
        [
            ("channels", 0, "channels must be from 1"),
            ("channels", -4, "channels must be from 1"),
            ("channels", 10**9, "channels must be from 1"),
            ("channels", 10**400, "channels must be from 1"),
            ("channels", 4.0, "channels must be a whole number"),
            ("channels", "4", "channels must be a whole number"),
            ("channels", None, "channels must be a whole number"),
            ("channels", [4], "channels must be a whole number"),
            ("blocks", True, "blocks must be a whole number"),
            ("blocks", 65, "blocks must be from 1 to 64"),
            ("token", 3, "token must divide 28"),
            ("gain", 0, "gain must be from"),
            ("gain", "big", "gain must be a number"),
            ("gain", 10**400, "gain must be from"),
            ("residual", 1, "residual must be true or false"),
            ("colour", 3, "no parameter 'colour'"),
            ("x" * 5000, 3, "no parameter"),
        ],
    )
    def test_are_named(self, good: Path, name: str, value: Any, words: str) -> None:
        error = refusal(with_setting(good, name, value))
        assert words in error.message
        assert len(error.message) < 400 + len(str(good))

    def test_of_a_network_too_large_for_any_machine(self, good: Path) -> None:
        def grow(described: Any) -> None:
            described["config"] |= {"channels": 2048, "channel_hidden": 4096, "blocks": 64}

        assert "more than the 32,000,000 allowed" in refusal(with_config(good, grow)).message

    def test_settings_that_are_none(self, good: Path) -> None:
        assert "has no settings" in refusal(with_config(good, lambda all_: {**all_, "config": []})).message

    def test_a_card_that_is_none(self, good: Path) -> None:
        assert "model card" in refusal(with_setting(good, "card", [1])).message


def replace(path: str, value: Any) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        del file[path]
        if value is not None:
            file[path] = value

    return change


EMBED = "encoder/embed/vars/0"


class TestImpossibleWeights:
    def test_missing(self, good: Path) -> None:
        assert f"lacks the weights {EMBED}." in refusal(with_weights(good, replace(EMBED, None))).message
        error = refusal(with_weights(good, lambda file: file.__delitem__("decoder")))
        assert "decoder/draw/vars/0 and 2 more." in error.message

    def test_too_many(self, good: Path) -> None:
        error = refusal(with_weights(good, lambda file: file.__setitem__("encoder/spare", np.ones(3))))
        assert "does not have: encoder/spare" in error.message

    @pytest.mark.parametrize("shape", [(4, 64), (64,), (64, 4, 1), (64, 5), (0, 4), ()])
    def test_of_another_shape(self, good: Path, shape: tuple[int, ...]) -> None:
        error = refusal(with_weights(good, replace(EMBED, np.zeros(shape, np.float32))))
        assert f"wrong shape: embed/kernel is {shape}, not (64, 4)" in error.message

    @pytest.mark.parametrize("dtype", ["i4", "?", "c8", "S3"])
    def test_of_another_type(self, good: Path, dtype: str) -> None:
        error = refusal(with_weights(good, replace(EMBED, np.zeros((64, 4), dtype))))
        assert "not floating-point numbers: embed/kernel" in error.message

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
    def test_not_finite(self, good: Path, value: float) -> None:
        values = np.zeros((64, 4))
        values[3, 2] = value
        error = refusal(with_weights(good, replace(EMBED, values)))
        assert "not finite: embed/kernel" in error.message

    def test_a_group_in_an_arrays_place(self, good: Path) -> None:
        def change(file: Any) -> None:
            del file[EMBED]
            file.create_group(EMBED)

        assert "lacks the weights" in refusal(with_weights(good, change)).message


class TestAHostileFile:
    @pytest.mark.parametrize("where", [EMBED, "elsewhere"])
    @pytest.mark.parametrize("link", [h5py.ExternalLink("/etc/passwd", "/x"), h5py.SoftLink("/decoder")])
    def test_links_out(self, good: Path, where: str, link: Any) -> None:
        def change(file: Any) -> None:
            if where in file:
                del file[where]
            file[where] = link

        assert "is not to be trusted" in refusal(with_weights(good, change)).message

    def test_values_kept_in_another_file(self, good: Path, tmp_path: Path) -> None:
        secret = tmp_path / "secret.bin"
        secret.write_bytes(bytes(1024))

        def change(file: Any) -> None:
            del file[EMBED]
            file.create_dataset(EMBED, (64, 4), "f4", external=[(os.fspath(secret), 0, 1024)])

        assert "is not to be trusted" in refusal(with_weights(good, change)).message

    def test_values_made_of_other_files(self, good: Path) -> None:
        def change(file: Any) -> None:
            del file[EMBED]
            layout = h5py.VirtualLayout((64, 4), "f4")
            layout[:] = h5py.VirtualSource("other.h5", "y", (64, 4))
            file.create_virtual_dataset(EMBED, layout)

        assert "is not to be trusted" in refusal(with_weights(good, change)).message

    @pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
    def test_that_unpacks_to_far_more(self, good: Path, name: str) -> None:
        content = {**members(good), name: bytes(40 << 20)}
        path = rewrite(good, content, compression=zipfile.ZIP_DEFLATED)
        assert path.stat().st_size < 100_000
        assert "would unpack to 41,943,040 bytes" in refusal(path).message

    def test_that_lies_about_how_far_it_unpacks(self, good: Path) -> None:
        path = rewrite(good, {**members(good), WEIGHTS: bytes(40 << 20)}, compression=zipfile.ZIP_DEFLATED)
        content = path.read_bytes().replace(struct.pack("<I", 40 << 20), struct.pack("<I", 5000))
        path.write_bytes(content)
        assert "is damaged" in refusal(path).message

    @pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    def test_packed_in_an_unusual_way(self, good: Path, method: int) -> None:
        assert "unusual way" in refusal(rewrite(good, members(good), compression=method)).message

    def test_encrypted(self, good: Path) -> None:
        content = bytearray(good.read_bytes())
        place = 0
        while (place := content.find(b"PK\x01\x02", place)) >= 0:
            content[place + 8] |= 1
            place += 4
        good.write_bytes(content)
        assert "encrypted" in refusal(good).message

    @settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        changes=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=6),
    )
    def test_changed_anywhere(self, good: Path, changes: list[tuple[int, int]]) -> None:
        """Read or refused, never anything else: the archive's checksums see what was changed."""
        original = good.read_bytes()
        try:
            target = bytearray(original)
            for place, value in changes:
                target[place % len(target)] = value
            good.write_bytes(target)
            try:
                modelfile.read(good)
            except ModelError:
                refusal(good)
        finally:
            good.write_bytes(original)

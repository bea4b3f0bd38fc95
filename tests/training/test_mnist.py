"""MNIST's digits: where they are looked for, and damaged files of them."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from denoiser.errors import TrainingError
from denoiser.training import mnist


def idx(images: np.ndarray) -> bytes:
    return b"\0\0\x08\x03" + b"".join(side.to_bytes(4, "big") for side in images.shape) + images.tobytes()


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.delenv("DENOISER_DATA", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return tmp_path


def digits(number: int = 7) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (number, 28, 28), dtype=np.uint8)


def test_no_mnist_is_none(alone: Path) -> None:
    assert mnist.mnist("train") is None
    assert mnist.mnist("test", folder=alone) is None


@pytest.mark.parametrize("place", ["mnist", "."])
@pytest.mark.parametrize("packed", [True, False])
def test_idx_files(alone: Path, place: str, packed: bool) -> None:
    (alone / place).mkdir(exist_ok=True)
    content = idx(digits())
    name = "t10k-images-idx3-ubyte" + (".gz" if packed else "")
    (alone / place / name).write_bytes(gzip.compress(content) if packed else content)
    np.testing.assert_array_equal(mnist.mnist("test", folder=alone), digits())
    assert mnist.mnist("train", folder=alone) is None


def count(part: Literal["train", "test"]) -> int:
    found = mnist.mnist(part)
    assert found is not None
    return len(found)


def test_the_variable_and_the_cache(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (alone / "keras" / "datasets").mkdir(parents=True)
    np.savez(alone / "keras" / "datasets" / "mnist.npz", x_train=digits(3), x_test=digits(2))
    assert count("train") == 3
    (alone / "mnist").mkdir()
    (alone / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(digits(5))))
    monkeypatch.setenv("DENOISER_DATA", str(alone))
    assert count("train") == 5
    assert count("test") == 2
    (alone / "mine").mkdir()
    assert mnist.mnist("train", folder=alone / "mine") is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        gzip.compress(b"hello", mtime=0),
        gzip.compress(idx(digits())[:-1], mtime=0),
        gzip.compress(idx(digits()), mtime=0)[:-30],
    ],
)
def test_damaged_idx_is_named(alone: Path, content: bytes) -> None:
    path = alone / "train-images-idx3-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(TrainingError, match="train-images"):
        mnist.mnist("train", folder=alone)


def test_damaged_npz_is_named(alone: Path) -> None:
    path = alone / "mnist.npz"
    path.write_bytes(b"PK\3\4 not really")
    with pytest.raises(TrainingError, match=r"mnist\.npz"):
        mnist.mnist("train", folder=alone)
    np.savez(path, x_train=np.zeros((2, 5, 5), np.uint8))
    with pytest.raises(TrainingError, match=r"mnist\.npz"):
        mnist.mnist("train", folder=alone)


@pytest.mark.data
def test_real_mnist() -> None:
    found = mnist.mnist("test")
    if found is None:
        pytest.skip("no MNIST: DENOISER_DATA is unset")
    assert found.shape == (10_000, 28, 28)
    assert found.dtype == np.uint8
    assert found[:, 0, 0].max() == 0

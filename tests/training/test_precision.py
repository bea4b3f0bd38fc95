"""Which precision a training takes, and what it says of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from denoiser.errors import DeviceError, UsageError
from denoiser.training import precision

BATCH = (np.zeros((4, 28, 28), np.float32), np.zeros((4, 28, 28), np.float32))


def choose(asked: str, **more: Any) -> tuple[str, str]:
    settings = {"kind": "PatchAutoencoder", "minutes": 60.0, **more}

    def make(policy: str) -> Any:
        return policy

    return precision.choose(asked, make, BATCH, **settings)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Rates that stand for a measurement, on a machine that has instructions for bfloat16."""
    rates = {"float32": 1000.0, "mixed_bfloat16": 1400.0}
    monkeypatch.setattr(precision, "may_be_faster", lambda: True)
    monkeypatch.setattr(precision, "require_bfloat16", lambda: None)
    monkeypatch.setattr(precision, "_rate", lambda policy, batch: rates[policy])
    return rates


def test_auto_takes_the_faster_and_says_both(measured: dict[str, float]) -> None:
    assert choose("auto") == ("bfloat16", "measured: float32 1,000 patches/s, bfloat16 1,400 patches/s")
    measured["float32"] = 2000.0
    assert choose("auto")[0] == "float32"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"minutes": None}, "the same seed gives the same weights"),
        ({"minutes": 1.0}, "too short"),
        ({"kind": "Autoencoder"}, "the only precision"),
    ],
)
def test_auto_is_float32_where_nothing_is_to_be_gained(
    more: dict[str, Any], words: str, measured: dict[str, float]
) -> None:
    chosen, why = choose("auto", **more)
    assert chosen == "float32"
    assert words in why


def test_an_unfinished_training_keeps_its_precision(measured: dict[str, float]) -> None:
    assert choose("auto", before="float32") == ("float32", "as before the interruption")
    assert choose("bfloat16", before="float32")[0] == "bfloat16"


def test_auto_without_instructions_measures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "may_be_faster", lambda: False)
    chosen, why = choose("auto")
    assert (chosen, why) == ("float32", "nothing here multiplies bfloat16 faster")


@pytest.mark.slow
def test_a_backend_without_bfloat16_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    def fail(*_: Any, **__: Any) -> None:
        raise TypeError("no such type")

    monkeypatch.setattr(keras.ops, "matmul", fail)
    with pytest.raises(DeviceError, match="can't multiply bfloat16") as caught:
        choose("bfloat16")
    assert "--precision float32" in str(caught.value.hint)


def test_what_is_no_precision_or_not_this_networks() -> None:
    with pytest.raises(UsageError, match="no precision 'half'"):
        precision.check("half", "PatchAutoencoder")
    with pytest.raises(UsageError, match="digits learns in float32"):
        precision.check("bfloat16", "Autoencoder")
    precision.check("auto", "Autoencoder")


@pytest.mark.slow
def test_bfloat16_products_leave_everything_else_in_float32() -> None:
    from denoiser.models import PatchAutoencoder

    config: dict[str, Any] = {
        "channels": 24,
        "groups": 3,
        "blocks": 2,
        "channel_hidden": 32,
        "use_bias": False,
    }
    exact, rough = PatchAutoencoder(**config), PatchAutoencoder(**config, dtype="mixed_bfloat16")
    rng = np.random.default_rng(2)
    exact.set_weights([0.2 * rng.normal(size=value.shape) for value in exact.get_weights()])
    rough.set_weights(exact.get_weights())
    assert {value.dtype for value in rough.get_weights()} == {np.dtype(np.float32)}
    patches = rng.random((8, 28, 28)).astype(np.float32)
    one, other = (np.asarray(model(patches)) for model in (exact, rough))
    assert other.dtype == np.float32
    difference = np.abs(one - other).max() / np.abs(one - patches).max()
    assert 0.0 < difference < 0.03  # bfloat16 has 8 significant bits
    # A pixel passes beside the products: what is nearly removed is not rounded to 8 bits.
    rough.set_weights([np.zeros_like(value) for value in rough.get_weights()])
    np.testing.assert_array_equal(np.asarray(rough(patches)), patches)

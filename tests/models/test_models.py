"""The networks as Keras models: structure, round trips, use by hand, and what is published."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from denoiser.weights import architectures, modelfile

keras = pytest.importorskip("keras")
from denoiser import models  # noqa: E402 - imports Keras

pytestmark = pytest.mark.slow

SMALL: dict[str, Any] = {
    "channels": 8,
    "blocks": 2,
    "window": 4,
    "groups": 1,
    "token_hidden": 8,
    "channel_hidden": 8,
}
VARIANTS: list[tuple[Any, dict[str, Any]]] = [
    ("Autoencoder", {}),
    ("Autoencoder", {"latent_dim": 8}),
    ("PatchAutoencoder", {}),
    (
        "PatchAutoencoder",
        {
            "channels": 32,
            "blocks": 3,
            "token": 7,
            "window": 9,
            "groups": 4,
            "token_hidden": 5,
            "channel_hidden": 9,
        },
    ),
    ("PatchAutoencoder", {"channels": 8, "blocks": 2, "groups": 2, "channel_hidden": 8}),
    ("PatchAutoencoder", {**SMALL, "residual": False, "gain": 2.0}),
    ("PatchAutoencoder", {**SMALL, "residual": False, "center": False, "gain": 1.0}),
    ("PatchAutoencoder", {**SMALL, "center": False, "blocks": 1}),
    ("PatchAutoencoder", {**SMALL, "use_bias": False, "token": 14, "window": 14}),
    ("PatchAutoencoder", {**SMALL, "token": 28, "window": 28}),
    ("PatchAutoencoder", {**SMALL, "context": 4}),
    ("PatchAutoencoder", {**SMALL, "context": [2, 4, 8]}),
]
IDS = [f"{kind}-{','.join(f'{k}={v}' for k, v in config.items())}" for kind, config in VARIANTS]
CARD = {"trained_on": "nothing", "figures": [{"noise": "none", "output_db": 30.5}], "seed": None}


def make(kind: str, config: dict[str, Any], **more: Any) -> Any:
    """Make a network with weights that have an effect, biases and all."""
    model = getattr(models, kind)(**config, **more)
    rng = np.random.default_rng(5)
    for variable in model.named_weights().values():
        variable.assign(variable.numpy() + 0.05 * rng.standard_normal(variable.shape))
    return model


@pytest.fixture
def patches(request: pytest.FixtureRequest) -> Any:
    """What the network of the test is shown."""
    config = getattr(request.node, "callspec", None)
    arguments = config.params.get("config", {}) if config else {}
    shape = architectures.MixerConfig(context=arguments.get("context", 1)).input_shape
    return np.random.default_rng(1).random((6, *shape), dtype=np.float32)


def run(model: Any, patches: Any) -> Any:
    return keras.ops.convert_to_numpy(model(patches))


@pytest.mark.parametrize(("kind", "config"), VARIANTS, ids=IDS)
class TestEveryVariant:
    def test_decodes_what_it_encodes(self, kind: Any, config: Any, patches: Any) -> None:
        model = make(kind, config)
        result = run(model, patches)
        assert result.shape == (6, 28, 28)
        assert result.dtype == np.float32
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(model.decoder(model.encoder(patches))), result
        )

    def test_comes_back_from_a_file_as_it_was(
        self, kind: Any, config: Any, patches: Any, tmp_path: Path
    ) -> None:
        model = make(kind, config, card=CARD, name="mine")
        model.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras")
        assert type(again) is type(model)
        assert again.get_config() == model.get_config()
        assert again.card == CARD
        np.testing.assert_array_equal(run(again, patches), run(model, patches))

    def test_its_weights_are_where_the_layout_says(self, kind: Any, config: Any, tmp_path: Path) -> None:
        model = make(kind, config)
        model.save(tmp_path / "model.keras")
        layout = architectures.make_config(kind, config).layout()
        weights = model.named_weights()
        assert list(weights) == list(layout)
        assert model.count_params() == architectures.make_config(kind, config).parameters
        content = zipfile.ZipFile(tmp_path / "model.keras").read("model.weights.h5")
        with h5py.File(io.BytesIO(content)) as file:
            for name, slot in layout.items():
                np.testing.assert_array_equal(file[slot.path][()], weights[name].numpy())
                assert slot.shape == tuple(weights[name].shape)

    def test_is_read_without_keras_and_made_again(
        self, kind: Any, config: Any, patches: Any, tmp_path: Path
    ) -> None:
        model = make(kind, config, card=CARD)
        read = modelfile.read(models.publish(model, tmp_path / "model.keras"))
        assert (read.kind, read.card, read.mode) == (kind, CARD, model.mode)
        assert read.config == architectures.make_config(kind, config)
        for again in (models.from_file(read), models.from_file(tmp_path / "model.keras")):
            assert again.card == CARD
            np.testing.assert_array_equal(run(again, patches), run(model, patches))


def test_autoencoder_is_what_it_is_said_to_be(patches: Any) -> None:
    model = models.Autoencoder(32)
    flatten, dense = model.encoder.layers
    assert isinstance(flatten, keras.layers.Flatten)
    assert (dense.units, dense.activation.__name__) == (32, "relu")
    dense, reshape = model.decoder.layers
    assert (dense.units, dense.activation.__name__) == (784, "sigmoid")
    assert reshape.target_shape == (28, 28)
    weights = {name: value.numpy() for name, value in model.named_weights().items()}
    latent = np.maximum(patches.reshape(-1, 784) @ weights["latent/kernel"] + weights["latent/bias"], 0)
    drawn = 1 / (1 + np.exp(-(latent @ weights["pixels/kernel"] + weights["pixels/bias"])))
    np.testing.assert_allclose(run(model, patches), drawn.reshape(-1, 28, 28), atol=1e-5)


def test_every_weight_of_the_patch_network_belongs_to_dense_layers() -> None:
    model = models.PatchAutoencoder(**SMALL)
    names = {name.rsplit("/", 1)[-1] for name in model.named_weights()}
    assert names == {"kernel", "bias", "position"}
    assert len(model.encoder.blocks) == len(model.decoder.blocks) == 1
    assert "position" not in models.PatchAutoencoder(**SMALL, use_bias=False).named_weights()
    assert all(
        name.endswith("kernel") for name in models.PatchAutoencoder(**SMALL, use_bias=False).named_weights()
    )


def test_an_untrained_residual_network_changes_nothing(patches: Any) -> None:
    np.testing.assert_allclose(run(models.PatchAutoencoder(**SMALL), patches), patches, atol=1e-6)


def test_without_biases_it_follows_shift_and_scale(patches: Any) -> None:
    model = make("PatchAutoencoder", {**SMALL, "use_bias": False})
    plain = run(model, patches)
    assert np.abs(plain - patches).max() > 1e-3
    np.testing.assert_allclose(run(model, 3 * patches + 0.25), 3 * plain + 0.25, atol=1e-5)


def test_by_hand(tmp_path: Path, patches: Any) -> None:
    clean = np.repeat(patches, 20, axis=0)
    noisy = np.clip(clean + 0.1, 0, 1)
    model = models.Autoencoder(latent_dim=16)
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="mean_squared_error", metrics=["mae"])
    history = model.fit(noisy, clean, epochs=8, batch_size=40, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]
    predicted = model.predict(noisy, verbose=0)
    codes = model.encoder.predict(noisy, verbose=0)
    assert codes.shape == (120, 16)
    np.testing.assert_allclose(model.decoder.predict(codes, verbose=0), predicted, atol=1e-6)
    model.save(tmp_path / "hand.keras")
    again = keras.models.load_model(tmp_path / "hand.keras")
    np.testing.assert_allclose(again.predict(noisy, verbose=0), predicted, atol=1e-6)
    again.fit(noisy, clean, verbose=0)
    # The optimizer's and the metrics' state in such a file is no fault.
    assert modelfile.read(tmp_path / "hand.keras").config == architectures.DenseConfig(16)


def test_the_patch_network_by_hand(tmp_path: Path, patches: Any) -> None:
    model = models.PatchAutoencoder(**SMALL)
    model.compile(optimizer="adam", loss="mse")
    model.fit(patches, patches * 0.5, epochs=2, verbose=0)
    predicted = model.predict(patches, verbose=0)
    codes = model.encoder.predict(patches, verbose=0)
    np.testing.assert_allclose(model.decoder.predict(codes, verbose=0), predicted, atol=1e-6)
    model.save(tmp_path / "hand.keras")
    again = keras.models.load_model(tmp_path / "hand.keras")
    np.testing.assert_allclose(again.predict(patches, verbose=0), predicted, atol=1e-6)
    assert modelfile.read(tmp_path / "hand.keras").kind == "PatchAutoencoder"


def test_mixed_precision_comes_back(tmp_path: Path) -> None:
    models.PatchAutoencoder(**SMALL, dtype="mixed_float16").save(tmp_path / "mixed.keras")
    assert keras.models.load_model(tmp_path / "mixed.keras").dtype_policy.name == "mixed_float16"
    assert modelfile.read(tmp_path / "mixed.keras").weights["embed/kernel"].dtype == np.float32


@pytest.mark.parametrize(
    ("kind", "config", "words"),
    [
        ("Autoencoder", {"latent_dim": 0}, "latent_dim must be from 1"),
        ("Autoencoder", {"latent_dim": 8.0}, "latent_dim must be a whole number"),
        ("Autoencoder", {"latent_dim": True}, "latent_dim must be a whole number"),
        ("PatchAutoencoder", {"token": 5}, "token must divide 28"),
        ("PatchAutoencoder", {"gain": float("nan")}, "gain must be from"),
        ("PatchAutoencoder", {"residual": 1}, "residual must be true or false"),
        ("PatchAutoencoder", {"channels": 2048, "groups": 16, "channel_hidden": 4096}, "more than the"),
        ("PatchAutoencoder", {"groups": 7}, r"groups must divide channels \(96\), and 7 doesn't"),
        ("PatchAutoencoder", {"window": 9}, r"window must be token \(4\) plus an even number, not 9"),
        ("PatchAutoencoder", {"window": 2}, r"window must be token \(4\) plus an even number, not 2"),
    ],
)
def test_impossible_arguments(kind: str, config: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        getattr(models, kind)(**config)


def test_a_card_must_be_plain() -> None:
    with pytest.raises(TypeError):
        models.Autoencoder(8, card={"array": np.zeros(2)})
    with pytest.raises(TypeError):
        models.Autoencoder(8, card="a card")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="JSON"):
        models.Autoencoder(8, card={"dB": float("nan")})


def test_cards_are_copies() -> None:
    given = {"list": [1]}
    model = models.Autoencoder(8, card=given)
    given["list"].append(2)
    model.card["list"].append(3)
    assert model.card == {"list": [1]}
    model.card = {"new": True}
    assert model.get_config()["card"] == {"new": True}


class TestPublishing:
    def test_leaves_the_model_alone_and_its_optimizer_out(self, tmp_path: Path, patches: Any) -> None:
        model = models.Autoencoder(8, card={"old": 1})
        model.compile("adam", "mse")
        model.fit(patches, patches, verbose=0)
        before = run(model, patches)
        path = models.publish(model, tmp_path / "new" / "model.keras", CARD)
        assert model.card == {"old": 1}
        np.testing.assert_array_equal(run(model, patches), before)
        assert int(model.optimizer.iterations) == 1
        again = keras.models.load_model(path)
        assert getattr(again, "optimizer", None) is None
        assert again.card == CARD
        np.testing.assert_array_equal(run(again, patches), before)
        assert sorted(entry.name for entry in path.parent.iterdir()) == ["model.keras"]

    def test_half_precision_halves_the_file(self, tmp_path: Path, patches: Any) -> None:
        model = make("Autoencoder", {"latent_dim": 200})
        full = models.publish(model, tmp_path / "full.keras")
        half = models.publish(model, tmp_path / "half.keras", precision="float16")
        assert half.stat().st_size < 0.52 * full.stat().st_size
        plain, read = keras.models.load_model(half), modelfile.read(half)
        for name, variable in plain.named_weights().items():
            assert variable.dtype == "float32"
            np.testing.assert_array_equal(variable.numpy(), read.weights[name])
            np.testing.assert_array_equal(
                read.weights[name], model.named_weights()[name].numpy().astype(np.float16)
            )
        np.testing.assert_allclose(run(plain, patches), run(model, patches), atol=2e-3)

    @pytest.mark.parametrize("precision", ["float32", "float16"])
    def test_large_weights_are_packed_and_come_back(
        self, precision: Any, tmp_path: Path, patches: Any
    ) -> None:
        model = make("Autoencoder", {"latent_dim": 1024})
        path = models.publish(model, tmp_path / "large.keras", precision=precision)
        assert path.stat().st_size < 0.95 * 804_000 * 2 * (4 if precision == "float32" else 2)
        plain, read = keras.models.load_model(path), modelfile.read(path)
        for name, variable in plain.named_weights().items():
            np.testing.assert_array_equal(variable.numpy(), read.weights[name])

    @pytest.mark.parametrize(("value", "precision"), [(np.nan, "float32"), (1e5, "float16")])
    def test_refuses_weights_that_would_not_survive(
        self, value: float, precision: Any, tmp_path: Path
    ) -> None:
        model = models.Autoencoder(8)
        good = models.publish(model, tmp_path / "model.keras").read_bytes()
        kernel = model.named_weights()["pixels/kernel"]
        kernel.assign(np.full(kernel.shape, value, np.float32))
        with pytest.raises(ValueError, match="pixels/kernel"):
            models.publish(model, tmp_path / "model.keras", precision=precision)
        assert (tmp_path / "model.keras").read_bytes() == good
        assert len(list(tmp_path.iterdir())) == 1


def test_any_keras_program_opens_a_published_file(tmp_path: Path) -> None:
    models.publish(make("PatchAutoencoder", SMALL, card=CARD), tmp_path / "model.keras")
    program = (
        "import denoiser.models, keras, sys\n"
        "model = keras.models.load_model(sys.argv[1])\n"
        "print(type(model).__name__, model.card['trained_on'], model.get_config()['channels'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "model.keras"], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["PatchAutoencoder", "nothing", "8"]

"""The Keras engine: fixed shapes, too little memory, and every backend."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from denoiser.errors import DeviceError
from denoiser.inference.engine import open_engine
from denoiser.weights.architectures import MixerConfig
from tests.helpers import fakes
from tests.helpers.chance import ALONE, POOL, SINGLY, Floats


@pytest.mark.slow
class TestKerasEngine:
    @pytest.fixture
    def engine(self) -> Any:
        from denoiser.inference.keras_engine import KerasEngine

        return KerasEngine(ALONE["PatchAutoencoder"], device="cpu", batch_size=16)

    def test_every_batch_has_one_shape(self, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        seen = self.fake(monkeypatch)
        for count in (0, 1, 16, 17, 40):
            assert engine.reconstruct(POOL[:count]).tobytes() == POOL[:count].tobytes()
        assert set(seen) == {16}

    def test_too_little_memory_halves_the_batch(self, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        seen = self.fake(monkeypatch, room=5)
        assert engine.reconstruct(POOL[:20]).tobytes() == POOL[:20].tobytes()
        assert seen == [16, 8, 4, 4, 4, 4, 4]
        assert engine.batch_size == 4

    def test_no_memory_at_all(self, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        seen = self.fake(monkeypatch, room=0)
        with pytest.raises(DeviceError, match="does not hold a single patch") as caught:
            engine.reconstruct(POOL[:20])
        assert caught.value.hint
        assert seen == [16, 8, 4, 2, 1]

    def test_other_failures_are_raised(self, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        from denoiser.inference import keras_engine

        def fail(batch: Floats) -> Any:
            raise ArithmeticError("something else")

        monkeypatch.setattr(keras_engine, "compiled", lambda model, place: fail)
        with pytest.raises(ArithmeticError):
            engine.reconstruct(POOL[:2])

    def fake(self, monkeypatch: pytest.MonkeyPatch, room: int = 1000) -> list[int]:
        """Put a computation that changes nothing and has memory for `room` patches in the model's place."""
        from denoiser.inference import keras_engine

        seen: list[int] = []

        class ResourceExhaustedError(Exception):
            pass

        def compute(batch: Floats) -> Floats:
            seen.append(len(batch))
            if len(batch) > room:
                raise ResourceExhaustedError
            return batch

        monkeypatch.setattr(keras_engine, "compiled", lambda model, place: compute)
        return seen

    def test_bfloat16_is_near_float32(self) -> None:
        exact, rounded = (
            open_engine(ALONE["PatchAutoencoder"], engine="keras", device="cpu", precision=precision)
            for precision in ("float32", "bfloat16")
        )
        assert (exact.precision, rounded.precision) == ("float32", "bfloat16")
        difference = np.abs(exact.reconstruct(POOL[:40]) - rounded.reconstruct(POOL[:40]))
        assert 0 < difference.max() < 0.05
        assert difference.mean() < 0.005

    def test_auto_measures_and_takes_the_faster(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from denoiser.inference import keras_engine, precision

        asked: list[str] = []
        monkeypatch.setattr(precision, "may_be_faster", lambda: True)
        monkeypatch.setattr(keras_engine.KerasEngine, "_compiled", lambda _self, name: asked.append(name))
        monkeypatch.setattr(keras_engine, "_seconds", lambda *_: 1.0 / len(asked))
        model = ALONE["PatchAutoencoder"]
        assert keras_engine.KerasEngine(model, precision="auto", device="cpu").precision == "bfloat16"
        assert asked == ["float32", "bfloat16"]
        monkeypatch.setattr(keras_engine, "_seconds", lambda *_: float(len(asked)))
        assert keras_engine.KerasEngine(model, precision="auto", device="cpu").precision == "float32"
        monkeypatch.setattr(precision, "may_be_faster", lambda: False)
        assert keras_engine.KerasEngine(model, precision="auto", device="cpu").precision == "float32"
        assert len(asked) == 4
        monkeypatch.setattr(precision, "may_be_faster", lambda: True)
        monkeypatch.setattr(keras_engine, "_seconds", lambda *_: 1.0 / len(asked))
        assert isinstance(model.config, MixerConfig)
        assert model.config.center
        for_paper = replace(model, config=replace(model.config, center=False))
        # Blank paper is to be white to the last pixel.
        assert keras_engine.KerasEngine(for_paper, precision="auto", device="cpu").precision == "float32"

    def test_an_autoencoder_computes_in_float32(self) -> None:
        for precision in ("auto", "bfloat16"):
            engine = open_engine(ALONE["Autoencoder"], engine="keras", device="cpu", precision=precision)
            assert engine.precision == "float32"

    def test_a_backend_without_bfloat16_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        keras = pytest.importorskip("keras")

        def fail(*_: Any, **__: Any) -> Any:
            raise TypeError("no such type")

        monkeypatch.setattr(keras.ops, "matmul", fail)
        with pytest.raises(DeviceError, match="can't multiply bfloat16 here") as caught:
            open_engine(ALONE["PatchAutoencoder"], device="cpu", precision="bfloat16")
        assert "--precision float32" in str(caught.value.hint)

    @pytest.mark.parametrize(
        ("error", "expected"),
        [
            (MemoryError(), True),
            (RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate"), True),
            (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"), True),
            (RuntimeError("INTERNAL: something"), False),
        ],
    )
    def test_knows_what_full_memory_looks_like(self, error: BaseException, expected: bool) -> None:
        from denoiser.inference.keras_engine import out_of_memory

        assert out_of_memory(error) is expected

    def test_tensorflows_own_word_for_it(self) -> None:
        tf = pytest.importorskip("tensorflow")
        from denoiser.inference.keras_engine import out_of_memory

        assert out_of_memory(tf.errors.ResourceExhaustedError(None, None, "OOM"))

    def test_goes_on_unfused_where_fusing_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        keras = pytest.importorskip("keras")
        tf = pytest.importorskip("tensorflow")
        if keras.backend.backend() != "tensorflow":
            pytest.skip("TensorFlow is not the backend")
        original = tf.function

        def function(forward: Any, *, jit_compile: bool, **options: Any) -> Any:
            def fail(batch: Any) -> Any:
                raise tf.errors.UnimplementedError(None, None, "no compiler for this device")

            return fail if jit_compile else original(forward, jit_compile=False, **options)

        monkeypatch.setattr(tf, "function", function)
        monkeypatch.setattr("denoiser.inference.keras_engine._FUSED", ("cpu",))
        engine = open_engine(ALONE["PatchAutoencoder"], engine="keras", device="cpu", batch_size=16)
        for _ in range(2):
            result = engine.reconstruct(POOL[:20])
            assert np.abs(result - SINGLY["PatchAutoencoder"][:20]).max() < 1e-4

    def test_many_threads_may_share_it_and_it_may_be_closed(self, engine: Any) -> None:
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(lambda start: engine.reconstruct(POOL[start : start + 20]), range(12)))
        engine.close()
        results.append(engine.reconstruct(POOL[12:32]))
        for start, result in enumerate(results):
            assert np.abs(result - SINGLY["PatchAutoencoder"][start : start + 20]).max() < 1e-4

    def test_refuses_other_shapes(self, engine: Any) -> None:
        with pytest.raises(ValueError, match=r"patches must be \(N, 28, 28\)"):
            engine.reconstruct(np.zeros((2, 784), np.float32))

    def test_a_gpu_that_the_library_cannot_use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from denoiser.inference import keras_engine

        monkeypatch.setattr(keras_engine, "gpu", lambda: None)
        with pytest.raises(DeviceError, match="finds no GPU") as caught:
            keras_engine.KerasEngine(ALONE["Autoencoder"], device="gpu")
        assert "denoiser[gpu]" in str(caught.value.hint)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_every_backend_and_a_clean_stderr(backend: str, tmp_path: Path) -> None:
    import importlib.util

    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    program = (
        "import sys, numpy as np\n"
        "from denoiser.weights import modelfile\n"
        "from denoiser.inference.engine import open_engine\n"
        "model = modelfile.read(sys.argv[1])\n"
        "patches = np.random.default_rng(0).random((20, 28, 28), dtype='f4')\n"
        "one, two = (open_engine(model, engine=each, device='cpu') for each in ('numpy', 'keras'))\n"
        "assert abs(one.reconstruct(patches) - two.reconstruct(patches)).max() < 1e-4\n"
        "import keras\n"
        "print(keras.backend.backend())"
    )
    path = fakes.write_model(
        tmp_path / "m.keras",
        "PatchAutoencoder",
        fakes.SMALL,
        lambda name, shape: np.random.default_rng(len(name)).normal(0, 0.2, shape),
    )
    environment = {**os.environ, "KERAS_BACKEND": backend}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    done = subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.strip() == backend
    if backend == "tensorflow":
        assert done.stderr == ""

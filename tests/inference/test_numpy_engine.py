"""Both engines: the same results as one another and as the formulas, in any company and on any threads."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from denoiser.inference import mixer, numpy_engine
from denoiser.inference.engine import open_engine
from denoiser.inference.numpy_engine import NumpyEngine
from denoiser.system import blas
from denoiser.weights import modelfile, store
from denoiser.weights.architectures import MixerConfig
from tests.helpers import fakes
from tests.helpers.chance import (
    ALONE,
    CONTEXT,
    OLD,
    POOL,
    POOLS,
    SINGLY,
    SMALL,
    Floats,
    random_model,
    some_patches,
    with_weights,
)
from tests.helpers.formula import formula

VARIANTS: list[tuple[Any, dict[str, Any]]] = [
    ("Autoencoder", {"latent_dim": 33}),
    ("PatchAutoencoder", {}),
    ("PatchAutoencoder", SMALL),
    ("PatchAutoencoder", {**SMALL, "token_hidden": 6}),
    ("PatchAutoencoder", {**SMALL, "groups": 1}),
    ("PatchAutoencoder", {**SMALL, "groups": 10, "window": 6}),
    ("PatchAutoencoder", {**SMALL, "window": 12, "use_bias": False, "context": 2}),
    ("PatchAutoencoder", {**SMALL, "window": 18, "token_hidden": 5, "residual": False}),
    ("PatchAutoencoder", {**SMALL, **OLD, "token": 7, "window": 7, "blocks": 3}),
    ("PatchAutoencoder", {**SMALL, **OLD, "residual": False, "gain": 2.0}),
    ("PatchAutoencoder", {**SMALL, "residual": False, "center": False, "gain": 1.0, "token": 2}),
    ("PatchAutoencoder", {**SMALL, "center": False, "blocks": 1}),
    ("PatchAutoencoder", {**SMALL, **OLD, "use_bias": False}),
    ("PatchAutoencoder", {**SMALL, **OLD, "use_bias": False, "context": 2}),
    ("PatchAutoencoder", {**SMALL, "residual": False, "center": False, "context": 4}),
    ("PatchAutoencoder", {**SMALL, "center": False, "context": (2, 4, 8)}),
    ("PatchAutoencoder", {**SMALL, "context": (3, 5)}),
    ("PatchAutoencoder", {**SMALL, "use_bias": False, "residual": False, "token": 14, "window": 20}),
    ("PatchAutoencoder", {**SMALL, "token": 28, "window": 28}),
    ("PatchAutoencoder", {**SMALL, "token": 1, "window": 3, "channels": 3, "groups": 3}),
]
IDS = [f"{kind}-{','.join(f'{k}={v}' for k, v in config.items())}" for kind, config in VARIANTS]


@pytest.mark.parametrize(("kind", "config"), VARIANTS, ids=IDS)
def test_numpy_computes_the_formula(kind: Any, config: dict[str, Any]) -> None:
    model = random_model(kind, config)
    patches = some_patches(50, model=model)
    expected = formula(model, patches)
    result = open_engine(model, engine="numpy").reconstruct(patches)
    assert (result.dtype, result.shape) == (np.float32, (50, 28, 28))
    assert np.abs(result - expected).max() < 1e-5
    if kind == "PatchAutoencoder":
        assert np.abs(expected - patches.reshape(50, 28, 28, -1)[..., 0]).max() > 1e-3


@pytest.mark.parametrize("together", mixer.TOGETHER)
@pytest.mark.parametrize(("kind", "config"), VARIANTS[1:], ids=IDS[1:])
def test_however_many_are_computed_together(kind: Any, config: dict[str, Any], together: int) -> None:
    model = random_model(kind, config)
    patches = some_patches(together, model=model)
    computing = mixer.Mixer(model, mixer.Folded(model), together)
    for count in sorted({together, max(1, together - 1), 1}, reverse=True):  # what was there before is gone
        result = np.empty((count, 28, 28), np.float32)
        computing.run(patches[:count], result)
        assert np.abs(result - formula(model, patches[:count])).max() < 1e-5


def test_a_huge_network_does_not_take_all_memory() -> None:
    assert mixer.sizes(MixerConfig()) == list(mixer.TOGETHER)
    assert mixer.sizes(MixerConfig(channels=960, channel_hidden=4096, blocks=1)) == [8, 4, 2, 1]
    assert mixer.sizes(MixerConfig(token=1, window=9, channel_hidden=4096, blocks=1)) == [1]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "config"), VARIANTS, ids=IDS)
def test_engines_agree(kind: Any, config: dict[str, Any]) -> None:
    model = random_model(kind, config)
    patches = some_patches(40, model=model)
    with_keras = open_engine(model, engine="keras", device="cpu", batch_size=16)
    assert (with_keras.name, with_keras.device, with_keras.model) == ("keras", "cpu", model)
    result = with_keras.reconstruct(patches)
    assert (result.dtype, result.shape) == (np.float32, (40, 28, 28))
    assert np.abs(result - open_engine(model, engine="numpy").reconstruct(patches)).max() < 1e-4
    assert np.abs(result - formula(model, patches)).max() < 1e-4


@pytest.mark.parametrize("name", ["digits", "general", "document"])
@pytest.mark.slow
def test_engines_agree_on_bundled_models(name: str) -> None:
    path = store.BUNDLED / f"{name}.keras"
    if not path.exists():
        pytest.skip(f"no weights of {name} are bundled")
    model = modelfile.read(path)
    shape = (1, *model.config.input_shape)
    patches = np.concatenate([some_patches(30, model=model), np.zeros(shape), np.ones(shape)]).astype("f4")
    patches[:10] = np.clip(0.5 + 0.2 * (patches[:10] - 0.5), 0, 1)
    result = open_engine(model, engine="numpy").reconstruct(patches)
    assert np.abs(result - formula(model, patches)).max() < 1e-5
    with_keras = open_engine(model, engine="keras", device="cpu", batch_size=32).reconstruct(patches)
    assert np.abs(result - with_keras).max() < 1e-4


def test_large_constants_do_not_cost_precision() -> None:
    """Folded biases grow from layer to layer; the results must not feel it."""
    model = random_model("PatchAutoencoder", {"blocks": 8}, bias=3.0)
    weights = {name: 2.0 * value if "_in/kernel" in name else value for name, value in model.weights.items()}
    model = with_weights(model, weights)
    patches = some_patches(8)
    expected = formula(model, patches)
    scale = np.abs(expected - patches).max()
    result = NumpyEngine(model).reconstruct(patches)
    assert np.abs(result - expected).max() < 3e-5 * max(scale, 1.0)


@settings(max_examples=60)
@given(
    kind=st.sampled_from(sorted(ALONE)),
    chosen=st.lists(st.integers(0, len(POOL) - 1), max_size=150),
    jobs=st.integers(1, 4),
)
def test_equal_patches_give_equal_bytes_in_any_company(kind: str, chosen: list[int], jobs: int) -> None:
    result = NumpyEngine(ALONE[kind], jobs=jobs).reconstruct(POOLS[kind][chosen])
    assert result.tobytes() == SINGLY[kind][chosen].tobytes()


@pytest.mark.parametrize("kind", sorted(ALONE))
@pytest.mark.parametrize("count", [1, 4, 17, 49])
def test_no_place_among_others_is_special(kind: str, count: int) -> None:
    result = NumpyEngine(ALONE[kind]).reconstruct(np.repeat(POOLS[kind][:1], count, axis=0))
    assert {row.tobytes() for row in result} == {SINGLY[kind][0].tobytes()}


@pytest.mark.parametrize("safe", [16, 8, 4, 1])
def test_blocks_are_as_large_as_places_do_not_matter(safe: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numpy_engine._Plain, "position_invariant", lambda self: self.size <= safe)
    engine = NumpyEngine(ALONE["Autoencoder"])
    assert engine._make().usual.size == safe
    assert np.abs(engine.reconstruct(POOL) - SINGLY["Autoencoder"]).max() < 1e-6


@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize(("kind", "count"), [("Autoencoder", 64), ("PatchAutoencoder", 3), (CONTEXT, 3)])
def test_the_cheaper_way_is_taken_only_where_it_gives_the_same_bits(
    kind: str, count: int, alike: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    for network in (numpy_engine._Plain, mixer.Mixer):
        monkeypatch.setattr(network, "run", _noted(network.run, sizes))
    monkeypatch.setattr(numpy_engine, "_position_invariant", lambda *_: True)
    monkeypatch.setattr(numpy_engine, "_alike", lambda *_: alike)
    engine = NumpyEngine(ALONE[kind], jobs=1)
    engine.reconstruct(POOLS[kind][:count])
    sizes.clear()  # of what is tested first
    result = engine.reconstruct(POOLS[kind][:count])
    assert np.abs(result - SINGLY[kind][:count]).max() < 1e-6
    other = 64 if kind == "Autoencoder" else 1
    assert (set(sizes) == {other}) == alike


def test_ways_are_alike_only_to_the_last_bit() -> None:
    class Copying:
        size = 4

        def __init__(self, factor: float) -> None:
            self._factor = np.float32(factor)

        def run(self, given: Floats, result: Floats) -> None:
            np.multiply(given, self._factor, out=result)

    assert numpy_engine._alike(Copying(1.0), Copying(1.0), (28, 28))
    assert not numpy_engine._alike(Copying(1.0), Copying(1.0 + 2**-23), (28, 28))


def _noted(run: Any, sizes: list[int]) -> Any:
    """A network's `run` that notes how many patches it computes together."""

    def noted(own: Any, given: Floats, result: Floats) -> None:
        sizes.append(own.size)
        run(own, given, result)

    return noted


def test_inputs_of_all_forms() -> None:
    engine = NumpyEngine(ALONE["PatchAutoencoder"])
    patches = some_patches(20)
    before = patches.copy()
    expected = engine.reconstruct(patches)
    np.testing.assert_array_equal(patches, before)
    doubled = np.repeat(patches, 2, axis=0)
    np.testing.assert_array_equal(engine.reconstruct(doubled[::2]), expected)
    np.testing.assert_array_equal(engine.reconstruct(patches.astype(np.float64)), expected)
    np.testing.assert_array_equal(
        engine.reconstruct(patches.transpose(0, 2, 1).copy().transpose(0, 2, 1)), expected
    )
    patches.flags.writeable = False
    assert engine.reconstruct(patches).flags.writeable
    assert engine.reconstruct(patches[:0]).shape == (0, 28, 28)


@pytest.mark.parametrize("shape", [(28, 28), (2, 28, 27), (2, 784), (1, 28, 28, 1)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"patches must be \(N, 28, 28\)"):
        NumpyEngine(ALONE["Autoencoder"]).reconstruct(np.zeros(shape, np.float32))
    with pytest.raises(ValueError, match=r"patches must be \(N, 28, 28, 2\)"):
        NumpyEngine(ALONE[CONTEXT]).reconstruct(np.zeros(shape, np.float32))


@pytest.mark.parametrize("kind", sorted(ALONE))
@pytest.mark.parametrize("jobs", [1, 3])
def test_many_threads_may_share_an_engine(kind: str, jobs: int) -> None:
    engine = NumpyEngine(ALONE[kind], jobs=jobs)
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda start: engine.reconstruct(POOLS[kind][start : start + 70]), range(24)))
    for start, result in enumerate(results):
        assert result.tobytes() == SINGLY[kind][start : start + 70].tobytes()
    engine.close()
    assert engine.reconstruct(POOLS[kind][:3]).tobytes() == SINGLY[kind][:3].tobytes()


def test_small_jobs_start_no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = NumpyEngine(ALONE["PatchAutoencoder"], jobs=4)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a thread was started")

    with engine._work() as work:
        block = work.usual.size  # 16 patches with AVX-512, 8 without
    monkeypatch.setattr(threading, "Thread", refuse)
    engine.reconstruct(POOL[:block])


def test_no_more_threads_than_jobs() -> None:
    engine = NumpyEngine(ALONE["PatchAutoencoder"], jobs=3)
    engine.reconstruct(np.repeat(POOL, 3, axis=0))
    assert 1 <= len(engine._idle) <= 3


def test_it_works_where_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    engine = NumpyEngine(ALONE["PatchAutoencoder"], jobs=3)
    for _ in range(3):
        assert engine.reconstruct(POOL).tobytes() == SINGLY["PatchAutoencoder"].tobytes()


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_failure_in_any_thread_is_raised(jobs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = NumpyEngine(ALONE["PatchAutoencoder"], jobs=jobs)
    work = engine._make()
    original = type(work).run
    calls = iter(range(1000))

    def fail(self: Any, given: Floats, result: Floats) -> None:
        if next(calls) == 4:
            raise ArithmeticError("in the fifth piece")
        original(self, given, result)

    monkeypatch.setattr(type(work), "run", fail)
    with pytest.raises(ArithmeticError, match="fifth"):
        engine.reconstruct(POOL)
    assert engine.reconstruct(POOL).tobytes() == SINGLY["PatchAutoencoder"].tobytes()


def test_extreme_values_stay_quiet() -> None:
    model = random_model("Autoencoder", {"latent_dim": 4}, bias=1e4)
    with np.errstate(all="raise", under="ignore"):
        result = NumpyEngine(model).reconstruct(some_patches(3))
    assert np.isfinite(result).all()
    assert result.min() >= 0
    assert result.max() <= 1


def test_numpy_needs_no_other_library(tmp_path: Path) -> None:
    path = fakes.identity(tmp_path / "identity.keras")
    program = (
        "import sys, numpy as np\n"
        "before = set(sys.modules)\n"
        "from denoiser.weights import modelfile\n"
        "from denoiser.inference.engine import open_engine\n"
        "patches = np.random.default_rng(0).random((50, 28, 28), dtype='f4')\n"
        "for device in ('auto', 'cpu'):\n"
        "    engine = open_engine(modelfile.read(sys.argv[1]), device=device, jobs=2, patches=50)\n"
        "    assert abs(engine.reconstruct(patches) - patches).max() < 1e-6\n"
        "heavy = 'keras tensorflow click concurrent.futures importlib.metadata asyncio'.split()\n"
        "print([name for name in heavy if name in sys.modules and name not in before])"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class TestHoldingBlas:
    @pytest.fixture
    def knobs(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
        state = {"threads": 4, "calls": 0}

        def put(count: int) -> None:
            state.update(threads=count, calls=state["calls"] + 1)

        monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
        monkeypatch.setattr(blas, "_openblas", lambda: (lambda: state["threads"], put))
        return state

    def test_for_as_long_as_anybody_is_inside(self, knobs: dict[str, int]) -> None:
        with blas.one_thread():
            assert knobs["threads"] == 1
            with blas.one_thread():
                assert knobs["threads"] == 1
            assert knobs["threads"] == 1
        assert knobs == {"threads": 4, "calls": 2}

    def test_after_a_failure_too(self, knobs: dict[str, int]) -> None:
        with pytest.raises(KeyError), blas.one_thread():
            raise KeyError
        assert knobs["threads"] == 4

    def test_not_where_it_is_held_already(
        self, knobs: dict[str, int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        knobs["threads"] = 1
        with blas.one_thread():
            pass
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
        with blas.one_thread():
            pass
        assert knobs["calls"] == 0

    def test_finds_the_library_that_numpy_uses(self) -> None:
        found = np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]
        if "openblas" not in found:
            pytest.skip(f"NumPy uses {found} here")
        knobs = blas._openblas()
        assert knobs is not None
        assert knobs[0]() >= 1

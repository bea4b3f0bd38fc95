from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from denoiser import noise
from denoiser.errors import TrainingError
from denoiser.inference import patches
from denoiser.training import datasets, loop, losses, metrics, recipes, run
from denoiser.training.checkpoints import History
from denoiser.training.feed import looked_at
from denoiser.training.plan import DataRequest, Plan
from denoiser.training.recipes import Optimization
from denoiser.weights import modelfile
from denoiser.weights.architectures import DenseConfig
from tests.helpers.training import CLEAN, SPOIL, VALIDATION, small

BATCHES = Optimization(batch_size=64)


def branching(every: int | None) -> Optimization:
    return Optimization(batch_size=64, schedule="constant", branch_every=every)


class Bar:
    def __init__(self) -> None:
        self.calls: list[Any] = []

    def start(self, total: float, unit: str, text: str) -> None:
        self.calls.append(("start", total, unit, text))

    def update(self, done: float, text: str = "") -> None:
        self.calls.append((done, text))

    def finish(self) -> None:
        self.calls.append("finish")


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.delenv("DENOISER_DATA", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(datasets, "_DRAWN", 20_000)
    return tmp_path


def feed(number: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    clean = CLEAN[rng.integers(0, 500, number)]
    return SPOIL(clean, rng), clean


def test_every_noise_level_counts_alike() -> None:
    clean = np.full((3, 28, 28), 0.5, dtype=np.float32)
    noisy = clean + np.array([0.0, 0.1, 0.4], dtype=np.float32)[:, None, None]
    weights = metrics.weights_of(noisy, clean, 0.1)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights * (np.array([0.0, 0.1, 0.4]) + 0.1), 0.3, rtol=1e-5)


def test_psnr() -> None:
    assert metrics.psnr(0.01) == pytest.approx(20.0)
    assert metrics.psnr(0.0) == float("inf")


def test_importing_training_is_cheap() -> None:
    import subprocess
    import sys

    code = "import sys, denoiser.training; sys.exit(bool({'keras', 'tensorflow'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_fit_learns_keeps_the_best_and_repeats_itself() -> None:
    results = []
    for _ in range(2):
        model = small()
        ticks: list[loop.Tick] = []
        history = loop.fit(
            model,
            feed,
            validation=VALIDATION,
            steps=100,
            optimization=BATCHES,
            seed=4,
            on_progress=ticks.append,
        )
        results.append(model.get_weights())
        assert history.patches == 100 * 64
        assert len(history.points) == loop.CHECKS
        assert history.best is not None
        first, last = history.points[0].db, history.points[-1].db
        assert first is not None
        assert last is not None
        assert last > first
        error = float(np.mean(metrics.errors_of(model, *VALIDATION)))
        assert metrics.psnr(error) == pytest.approx(history.best.db, abs=1e-3)
        assert ticks[-1].fraction == 1.0
        assert [tick.fraction for tick in ticks] == sorted(tick.fraction for tick in ticks)
        assert ticks[-1].rate > 0
        assert ticks[0].rate < ticks[-1].rate  # the first step compiles
    for first, second in zip(*results, strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("batch", "block"),
    [(1, 25), (128, 25 * 128), (256, 25 * 256), (257, 24 * 257), (5000, 5000), (16_384, 16_384)],
)
def test_large_batches_are_made_a_few_at_a_time(
    batch: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def watched(number: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        raise RuntimeError(f"asked for {number}")

    model = SimpleNamespace(compile=lambda **_: None)
    monkeypatch.setattr(losses, "optimizer", lambda *_: None)
    with pytest.raises(RuntimeError, match=f"asked for {block}$"):
        loop.fit(model, watched, validation=VALIDATION, steps=100, optimization=Optimization(batch))


@pytest.mark.slow
def test_a_conditioned_network_begins_at_the_mean_and_folds_into_one_that_answers_alike() -> None:
    from denoiser.models import Autoencoder
    from denoiser.training.preconditioning import Conditioned

    model, (noisy, clean) = Autoencoder(latent_dim=32), feed(400, np.random.default_rng(2))
    learner = Conditioned(model, noisy, clean)
    first = np.asarray(learner(noisy))
    np.testing.assert_allclose(first.mean(axis=0), np.clip(clean.mean(axis=0), 0.01, 0.99), atol=0.1)
    loop.fit(
        learner,
        feed,
        validation=VALIDATION,
        steps=20,
        optimization=Optimization(batch_size=64, jit_compile=True),
    )
    learnt = np.asarray(learner(noisy))
    assert np.abs(learnt - first).max() > 0.1
    assert np.abs(np.asarray(model(noisy)) - learnt).max() > 0.1
    learner.fold()
    np.testing.assert_allclose(np.asarray(model(noisy)), learnt, atol=1e-4)


@pytest.mark.slow
def test_fit_keeps_to_its_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that moves by a hundredth of a second whenever somebody looks at it."""
    looks = itertools.count()
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: next(looks) / 100))
    history = loop.fit(small(), feed, validation=VALIDATION, minutes=0.02, optimization=BATCHES)
    assert history.patches >= 64
    assert 1.2 <= history.seconds < 1.5


def test_budget_is_one_of_two() -> None:
    for budget in ({}, {"minutes": 1.0, "steps": 3}, {"minutes": 0.0}, {"steps": 0}, {"minutes": -1.0}):
        with pytest.raises(TrainingError):
            loop.fit(object(), feed, validation=VALIDATION, **budget)


@pytest.mark.slow
def test_an_error_in_the_feed_comes_out() -> None:
    def broken(number: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        raise OSError("no more images")

    with pytest.raises(OSError, match="no more images"):
        loop.fit(small(), broken, validation=VALIDATION, steps=5)


@pytest.mark.slow
def test_divergence_is_an_error() -> None:
    def hopeless(number: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        noisy, clean = feed(number, rng)
        return noisy * np.float32(np.nan), clean

    with pytest.raises(TrainingError, match="diverged"):
        loop.fit(small(), hopeless, validation=VALIDATION, steps=20, optimization=BATCHES)


@pytest.mark.slow
def test_a_branch_is_judged_and_the_training_goes_on_from_before_it() -> None:
    settings: dict[str, Any] = {"validation": VALIDATION, "seed": 4}
    told: list[tuple[int, float]] = []
    model = small()

    def better(history: History) -> None:
        assert history.best is not None
        told.append(
            (history.best.patches, metrics.psnr(float(np.mean(metrics.errors_of(model, *VALIDATION)))))
        )

    history = loop.fit(model, feed, steps=225, optimization=branching(6400), on_better=better, **settings)
    branches = [point for point in history.points if point.branch]
    # Blocks of 25 steps pass 6,400 patches at step 100 and 12,800 at step 200; 15 % are 15 and 30 steps.
    assert [point.patches for point in branches] == [6400 + 960, 12_800 + 1920]
    assert history.patches == 225 * 64
    assert [patches for patches, _ in told] == [point.patches for point in branches]
    assert [db for _, db in told] == pytest.approx([point.db for point in branches], abs=1e-3)


@pytest.mark.slow
def test_a_branch_leaves_no_trace_in_what_follows() -> None:
    """With a feed that always gives the same patches, a branch changes nothing but the best weights."""
    fixed = feed(64 * 25, np.random.default_rng(1))
    settings: dict[str, Any] = {
        "validation": VALIDATION,
        "steps": 200,
    }
    plain = loop.fit(small(), lambda number, rng: fixed, optimization=branching(None), **settings)
    branched = loop.fit(small(), lambda number, rng: fixed, optimization=branching(3200), **settings)
    assert any(point.branch for point in branched.points)
    kept = [(point.patches, point.loss, point.db) for point in branched.points if not point.branch]
    assert kept == [(point.patches, point.loss, point.db) for point in plain.points]


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [np.nan, 1e4])
def test_a_step_that_goes_wrong_is_taken_back(wrong: float, caplog: pytest.LogCaptureFixture) -> None:
    calls = 0

    def stumbling(number: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        nonlocal calls
        calls += 1
        noisy, clean = feed(number, rng)
        return noisy, (clean * np.float32(wrong) if calls in (4, 6) else clean)

    model = small()
    history = loop.fit(model, stumbling, validation=VALIDATION, steps=300, optimization=BATCHES)
    scores = [point.db for point in history.points if point.db is not None]
    assert scores[-1] > scores[0]
    assert np.isfinite(np.concatenate([value.ravel() for value in model.get_weights()])).all()
    told = [record.message for record in caplog.records if "last good state" in record.message]
    assert len(told) == 1


@pytest.mark.slow
@pytest.mark.parametrize("keep", [False, True])
def test_interrupted(keep: bool) -> None:
    def stop(tick: loop.Tick) -> None:
        if tick.fraction > 0.5:
            raise KeyboardInterrupt

    settings: dict[str, Any] = {
        "validation": VALIDATION,
        "steps": 100,
        "optimization": BATCHES,
        "on_progress": stop,
    }
    if not keep:
        with pytest.raises(KeyboardInterrupt):
            loop.fit(small(), feed, **settings)
        return
    history = loop.fit(small(), feed, keep_on_interrupt=True, **settings)
    assert history.interrupted
    assert history.best is not None
    assert history.patches < 100 * 64


@pytest.mark.slow
def test_digits_from_nothing_but_the_generator(alone: Path) -> None:
    path, bar = alone / "new" / "digits.keras", Bar()
    recipe = replace(recipes.RECIPES["digits"], config={"latent_dim": 128})
    card = run.train_network(Plan(recipe, path, minutes=0.06), progress=bar)
    made = {entry.name for entry in path.parent.iterdir()}
    assert made - {"digits-curve.png"} == {"digits.keras", "digits.png", "digits.csv", "digits.html"}
    file = modelfile.read(path)
    assert file.kind == "Autoencoder"
    assert file.config == DenseConfig(128)
    assert file.card == json.loads(json.dumps(card))
    assert card["network"] == "digits"
    assert "generator" in card["trained_on"]
    assert card["summary"]
    assert card["validation"]["output_db"] > card["validation"]["input_db"] + 1.0
    assert bar.calls[0][0] == "start"
    assert bar.calls[-1] == "finish"


@pytest.mark.slow
def test_general_from_nothing_but_the_generator(alone: Path) -> None:
    path = alone / "general.keras"
    recipe = replace(
        recipes.RECIPES["general"],
        config={"channels": 32, "blocks": 2, "groups": 4, "channel_hidden": 64},
    )
    card = run.train_network(Plan(recipe, path, minutes=0.05))
    assert modelfile.read(path).kind == "PatchAutoencoder"
    assert card["validation"]["output_db"] > card["validation"]["input_db"]


@pytest.mark.slow
def test_worse_than_nothing_is_refused_unless_asked_for(alone: Path) -> None:
    folder, path = alone / "clean", alone / "out" / "digits.keras"
    folder.mkdir()
    for index in range(12):
        Image.fromarray((CLEAN[index] * 255).astype(np.uint8)).save(folder / f"{index}.png")
    recipe = replace(
        recipes.RECIPES["digits"],
        config={"latent_dim": 4},
        noise=noise.parse("gaussian:sigma=0.01"),
        optimization=replace(recipes.RECIPES["digits"].optimization, batch_size=8),
    )
    plan = Plan(recipe, path, DataRequest(folder), epochs=2)
    with pytest.raises(TrainingError, match="worse than doing nothing"):
        run.train_network(plan)
    assert not path.exists()
    card = run.train_network(plan, keep_anyway=True)
    assert card["trained_on"].startswith("12 images")
    first = modelfile.read(path)
    run.train_network(plan, keep_anyway=True)
    second = modelfile.read(path)
    for name, values in first.weights.items():
        np.testing.assert_array_equal(values, second.weights[name])
    run.train_network(replace(plan, start=second), keep_anyway=True)
    again = modelfile.read(path)
    assert again.card["started_from"] == second.digest
    assert (again.card["terms"], again.card["trained_on"]) == ("the user's", card["trained_on"])
    of_others = replace(
        second, name="theirs", card={**second.card, "terms": "no sale", "trained_on": "photos"}
    )
    for _ in range(2):  # also what a start had from its own start
        run.train_network(replace(plan, start=of_others), keep_anyway=True)
        of_others = modelfile.read(path)
        assert of_others.card["terms"] == "the user's; and for theirs, which it started from: no sale"
        assert of_others.card["trained_on"].startswith("12 images")
        assert of_others.card["trained_on"].endswith("; and for theirs, which it started from: photos")


@pytest.mark.slow
def test_interrupted_training_writes_nothing(alone: Path) -> None:
    class Stopping(Bar):
        def update(self, done: float, text: str = "") -> None:
            raise KeyboardInterrupt

    bar = Stopping()
    with pytest.raises(KeyboardInterrupt):
        run.train_network(
            Plan(recipes.RECIPES["digits"], alone / "x" / "digits.keras", minutes=0.02), progress=bar
        )
    assert bar.calls[-1] == "finish"
    assert not (alone / "x").exists()


def test_what_can_not_be_trained(alone: Path) -> None:
    path = alone / "x.keras"
    with pytest.raises(TrainingError, match="doesn't exist"):
        run.train_network(Plan(recipes.RECIPES["digits"], path, DataRequest(alone / "missing")))
    (alone / "empty").mkdir()
    with pytest.raises(TrainingError, match="no images"):
        run.train_network(Plan(recipes.RECIPES["general"], path, DataRequest(alone / "empty")))


@pytest.mark.slow
def test_recipes_are_complete_and_validation_is_never_taught(alone: Path) -> None:
    assert set(recipes.RECIPES) == set(run.DEFAULT_MINUTES) == {"digits", "general", "document"}
    assert run.DEFAULT_MINUTES["digits"] == 2.0
    for recipe in recipes.RECIPES.values():
        dataset = datasets.dataset_for(Plan(recipe, Path("x.keras"), seed=1, minutes=0.01))
        noisy, clean = dataset.feed(96, np.random.default_rng(0))
        assert patches.own(noisy).shape == clean.shape == (96, 28, 28)
        assert noisy.dtype == clean.dtype == np.float32
        assert 0.0 <= float(noisy.min()) <= float(noisy.max()) <= 1.0
        assert dataset.epoch > 0
        held = {patch.tobytes() for patch in dataset.validation[1] if patch.std() > 0.05}
        taught = {patch.tobytes() for patch in clean}
        assert not held & taught
    again = datasets.dataset_for(Plan(recipe, Path("x.keras"), seed=1, minutes=0.01))
    np.testing.assert_array_equal(again.feed(96, np.random.default_rng(0))[0], noisy)


def test_looking_at_patches_takes_none_from_the_training() -> None:
    class Deck:
        memory = {"order": np.arange(10)}  # noqa: RUF012

        def __call__(self, number: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
            taken, self.memory["order"] = self.memory["order"][:number], self.memory["order"][number:]
            return taken, taken

    deck = Deck()
    assert list(looked_at(deck, 4, 0)[1]) == [0, 1, 2, 3]
    assert list(deck(3, np.random.default_rng(0))[0]) == [0, 1, 2]


def test_an_epoch_shows_every_digit_once(alone: Path) -> None:
    recipe = replace(recipes.RECIPES["digits"], noise=noise.parse("gaussian:sigma=0"), shift=0)
    dataset = datasets.dataset_for(Plan(recipe, Path("x.keras"), seed=1, minutes=0.01))
    rng = np.random.default_rng(0)
    shown = [patch.tobytes() for _ in range(3) for patch in dataset.feed(dataset.epoch // 3, rng)[1]]
    assert len(set(shown)) == len(shown)

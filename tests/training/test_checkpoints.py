"""Trainings that are killed and go on."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from denoiser._types import Floats
from denoiser.errors import TrainingError
from denoiser.plugins.manager import Plugins
from denoiser.training import checkpoints, datasets, feed, loop, recipes, run
from denoiser.training.checkpoints import State
from denoiser.training.feed import Source
from denoiser.training.plan import Plan
from denoiser.training.recipes import Optimization
from denoiser.training.task import Task
from denoiser.weights import modelfile
from denoiser.weights import store as models
from tests.helpers import fakes
from tests.helpers.command import Denoise
from tests.helpers.training import CLEAN, SPOIL, VALIDATION, small


class Deck:
    """A feed that shows every patch once before any of them again, and so remembers where it is."""

    def __init__(self) -> None:
        self.memory = {"left": np.empty(0, np.int64)}

    def __call__(self, number: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        while len(self.memory["left"]) < number:
            self.memory["left"] = np.append(self.memory["left"], rng.permutation(500))
        taken, self.memory["left"] = self.memory["left"][:number], self.memory["left"][number:]
        return SPOIL(CLEAN[taken], rng), CLEAN[taken]


class KilledError(Exception):
    pass


def fitted(**settings: Any) -> tuple[Any, checkpoints.History]:
    model = small()
    given: dict[str, Any] = {
        "validation": VALIDATION,
        "steps": 120,
        "optimization": Optimization(16),
        "seed": 4,
    }
    return model, loop.fit(model, Deck(), **(given | settings))


@pytest.mark.slow
def test_a_killed_training_ends_with_the_weights_of_one_that_was_not(tmp_path: Path) -> None:
    path, kept = tmp_path / "x.training", []

    def keep(state: State) -> None:
        checkpoints.write(path, state, {"seed": 4})
        kept.append(state.step)

    def die(tick: loop.Tick) -> None:
        if tick.fraction > 0.5:
            raise KilledError

    whole, told = fitted()
    with pytest.raises(KilledError):
        fitted(on_state=keep, on_progress=die)
    assert kept == [25, 50]
    state, made_with = checkpoints.read(path)
    assert made_with == {"seed": 4}
    assert state.step == 50
    ticks: list[loop.Tick] = []
    rest, history = fitted(resume=state, on_progress=ticks.append)
    for first, second in zip(whole.get_weights(), rest.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)
    assert history.patches == told.patches
    assert history.continued == 1
    assert [(point.patches, point.db) for point in history.points] == [
        (point.patches, point.db) for point in told.points
    ]
    assert ticks[0].fraction > 50 / 120


class Nudge:
    """Changes targets by a number that it takes from the network's weights at each check."""

    def __init__(self) -> None:
        self.memory: dict[str, Any] = {}

    def refresh(self, model: Any) -> None:
        self.memory = {f"{feed.REFINED}sum": np.array([sum(float(np.sum(w)) for w in model.get_weights())])}

    def resume(self, model: Any) -> None:
        assert list(self.memory) == [f"{feed.REFINED}sum"]

    def targets(self, block: feed.Block, fraction: float) -> Floats:
        number = np.float32(0.1 * fraction * np.sin(self.memory[f"{feed.REFINED}sum"][0]))
        return block.clean + number


@pytest.mark.slow
def test_targets_that_come_from_the_network_are_resumed_too(tmp_path: Path) -> None:
    path = tmp_path / "x.training"

    def die(tick: loop.Tick) -> None:
        if tick.fraction > 0.5:
            raise KilledError

    whole, _ = fitted(refine=Nudge())
    plain, _ = fitted()
    with pytest.raises(KilledError):
        fitted(on_state=lambda state: checkpoints.write(path, state, {}), on_progress=die, refine=Nudge())
    rest, _ = fitted(resume=checkpoints.read(path)[0], refine=Nudge())
    for first, second in zip(whole.get_weights(), rest.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)
    assert any(
        not np.array_equal(*pair) for pair in zip(whole.get_weights(), plain.get_weights(), strict=True)
    )


@pytest.mark.slow
def test_time_already_spent_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that moves by a hundredth of a second whenever somebody looks at it."""
    states: list[State] = []
    fitted(on_state=states.append)
    looks = itertools.count()
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: next(looks) / 100))
    spent = []
    for seconds in (0.0, 5.7):
        state = replace(states[-1], history=replace(states[-1].history, seconds=seconds))
        history = fitted(steps=None, minutes=0.1, resume=state)[1]
        assert 6.0 <= history.seconds < 6.5
        spent.append(history.patches - state.history.patches)
    assert 0 < spent[1] < spent[0] / 5


@pytest.mark.slow
def test_a_state_of_another_network_is_refused() -> None:
    import keras

    from denoiser.models import Autoencoder

    states: list[State] = []
    fitted(on_state=states.append)
    keras.utils.set_random_seed(0)
    with pytest.raises(TrainingError, match="another network"):
        loop.fit(Autoencoder(latent_dim=17), Deck(), validation=VALIDATION, steps=120, resume=states[-1])


@pytest.mark.slow
def test_a_checkpoint_is_kept_every_so_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "KEEP_EVERY", 0.0)
    steps: list[int] = []
    fitted(on_state=lambda state: steps.append(state.step))
    assert steps == [25, 50, 75, 100]


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> recipes.Recipe:
    """Training of digits from a few hundred glyphs."""
    monkeypatch.delenv("DENOISER_DATA", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(datasets, "_DRAWN", 2000)
    small_batches = replace(recipes.RECIPES["digits"].optimization, batch_size=8)
    recipe = replace(recipes.RECIPES["digits"], config={"latent_dim": 8}, optimization=small_batches)
    monkeypatch.setattr(recipes, "RECIPES", {**recipes.RECIPES, "digits": recipe})
    return recipe


def digits(path: Path) -> Plan:
    return Plan(recipes.RECIPES["digits"], path, epochs=1)


def killed(path: Path) -> None:
    """Leave the checkpoint that a killed training leaves."""

    class Bar:
        def start(self, total: float, unit: str, text: str) -> None:
            pass

        def update(self, done: float, text: str = "") -> None:
            if done > 50:
                raise KilledError

        def finish(self) -> None:
            pass

    with pytest.raises(KilledError):
        run.train_network(digits(path), progress=Bar())
    assert [entry.name for entry in path.parent.iterdir()] == [f"{path.stem}.training"]


@pytest.mark.slow
def test_the_same_command_goes_on_and_says_so(store: Path, tiny: recipes.Recipe) -> None:
    path = store / "models" / "mine.keras"
    killed(path)
    said: list[str] = []
    card = run.train_network(digits(path), tell=said.append, keep_anyway=True)
    assert said[1].startswith("Resuming the unfinished training of mine, ")
    assert card["continued"] == 1
    assert not path.with_suffix(".training").exists()
    whole = path.with_name("whole.keras")
    run.train_network(digits(whole), keep_anyway=True)
    for name, values in modelfile.read(whole).weights.items():
        np.testing.assert_array_equal(values, modelfile.read(path).weights[name])


@pytest.mark.slow
def test_other_settings_start_anew_only_when_told_to(
    denoise: Denoise, store: Path, tiny: recipes.Recipe
) -> None:
    path = store / "models" / "mine.keras"
    killed(path)
    command: tuple[object, ...]
    command = ("train", "--model", "digits", "--name", "mine", "--from", "scratch", "--epochs", 1)
    command += ("--seed", 5, "--keep-anyway")
    before = path.with_suffix(".training").read_bytes()
    outcome = denoise(*command)
    assert outcome.code == 3
    assert "unfinished training of mine" in outcome.err
    assert "seed" in outcome.err
    assert path.with_suffix(".training").read_bytes() == before
    outcome = denoise(*command, "--force")
    assert outcome.code == 0, outcome.err
    assert "Starting over" in outcome.err
    assert not path.with_suffix(".training").exists()


OTHER: dict[str, tuple[dict[str, Any], str]] = {
    "noise": ({"noises": ("gaussian:sigma=0.1",), "minutes": 3}, "noise, minutes"),
    "network": ({"network": "document", "seed": 1}, "another network"),
    "width": ({"network": "digits", "latent_dim": 8}, "shape of the network"),
    "start": ({"start": "identity", "seed": 1}, "shape of the network, start, seed"),
    "batch": ({"batch_size": 8}, "batch size"),
}


@pytest.mark.parametrize("case", OTHER)
def test_other_settings_are_named_in_the_words_of_users(store: Path, tmp_path: Path, case: str) -> None:
    given, words = OTHER[case]
    said: list[str] = []
    path = tmp_path / "mine.keras"

    def fingerprint(task: Task) -> dict[str, Any]:
        return task.plan(path, Plugins()).fingerprint(trained_on="pictures", backend="tensorflow")

    fakes.identity(store / "models" / "identity.keras")
    network = "digits" if "latent_dim" in given else "general"
    before = fingerprint(Task(network, start="scratch"))
    source = Source(dict(np.random.default_rng(0).bit_generator.state), {})
    state = State(1, 0.1, [], [], [], None, [], source, checkpoints.History())
    checkpoints.write(models.unfinished(path), state, before)
    found = checkpoints.Checkpoint(path, said.append, force=False)
    found.read()
    with pytest.raises(TrainingError, match=f"10% done, that was started with other settings: {words}\\."):
        found.resume(fingerprint(Task(**{"start": "scratch", **given})))


@pytest.mark.parametrize(
    ("key", "words"),
    [("trained on", "the data that are found"), ("side", "the recipe of another version")],
)
def test_settings_that_nobody_chooses_have_words_too(key: str, words: str) -> None:
    assert checkpoints._in_words([key]) == words


def test_a_checkpoint_of_another_version_says_so(
    denoise: Denoise, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = models.unfinished(store / "models" / "mine.keras")
    source = Source(dict(np.random.default_rng(0).bit_generator.state), {})
    with monkeypatch.context() as earlier:
        earlier.setattr(checkpoints, "_FORMAT", "denoiser training 1")
        checkpoints.write(left, State(1, 0.1, [], [], [], None, [], source, checkpoints.History()), {})
    options = ("train", "--model", "digits", "--name", "mine", "--from", "scratch", "--epochs", 1)
    outcome = denoise(*options)
    assert outcome.code == 3
    assert "unfinished training of another version" in outcome.err
    assert "damaged" not in outcome.err


@pytest.mark.parametrize("damage", ["cut", "changed", "text", "empty", "pickled", "infinite"])
def test_a_damaged_checkpoint_is_one_line(denoise: Denoise, store: Path, damage: str) -> None:
    path = store / "models" / "mine.keras"
    left = models.unfinished(path)
    array = np.full((4, 4), np.inf if damage == "infinite" else 0.5, np.float32)
    source = Source(dict(np.random.default_rng(0).bit_generator.state), {})
    checkpoints.write(left, State(1, 0.1, [array], [array], [], None, [], source, checkpoints.History()), {})
    content = left.read_bytes()
    if damage == "cut":
        left.write_bytes(content[: len(content) // 2])
    elif damage == "changed":
        place = content.index(array.tobytes())
        left.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    elif damage == "pickled":
        with left.open("wb") as file:
            np.savez(file, about=np.array([{"pickled": 1}], dtype=object))
    elif damage != "infinite":
        left.write_text("no checkpoint" if damage == "text" else "")
    outcome = denoise("train", "--model", "digits", "--name", "mine", "--from", "scratch", "--epochs", 1)
    assert outcome.code == 3
    assert len([line for line in outcome.err.splitlines() if "Training mine: digits" not in line]) == 1
    assert "mine.training should hold an unfinished training, and is damaged" in outcome.err
    assert "--force" in outcome.err
    assert not path.exists()


def test_an_unfinished_training_is_no_model_is_told_and_can_be_removed(denoise: Denoise, store: Path) -> None:
    left = models.unfinished(store / "models" / "mine.keras")
    left.parent.mkdir()
    left.write_bytes(b"checkpoint")
    listed = denoise("models")
    assert "mine" not in listed.out
    assert "The training of mine is unfinished (0 MB)." in listed.err
    assert "mine" not in [row["name"] for row in json.loads(denoise("models", "--json").out)]
    assert "Its training is unfinished" in denoise("models", "show", "mine").err
    assert denoise("models", "remove", "mine").code == 0
    assert not left.exists()
    assert denoise("models", "remove", "mine").code == 3
    assert denoise("models").err == ""


@pytest.mark.slow
def test_kill_nine(store: Path, tmp_path: Path) -> None:
    """Kill the process itself, in the middle of it; what is there afterwards is whole."""
    code = (
        "from dataclasses import replace\nfrom denoiser import __main__\n"
        "from denoiser.training import datasets, loop, recipes\n"
        "loop.KEEP_EVERY = 0.0\ndatasets._DRAWN = 2000\n"
        "recipes.RECIPES['digits'] = replace(recipes.RECIPES['digits'], config={'latent_dim': 8})\n"
        "__main__.run('train --model digits --from scratch --name mine --minutes 1'.split())\n"
    )
    environment = {**os.environ, "KERAS_HOME": str(tmp_path)}
    environment.pop("DENOISER_DATA", None)
    left = models.unfinished(store / "models" / "mine.keras")
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + 240
        while not left.exists() and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    state, _ = checkpoints.read(left)
    assert state.step > 0
    assert not (store / "models" / "mine.keras").exists()

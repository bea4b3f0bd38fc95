"""The fingerprint of a plan: the same for the same training, and another for any other."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from denoiser.errors import UsageError
from denoiser.noise import parse
from denoiser.training.checkpoints import differences
from denoiser.training.plan import DataRequest, Plan
from denoiser.training.recipes import RECIPES
from denoiser.weights import modelfile
from tests.helpers import fakes

GENERAL = RECIPES["general"]


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"1")
    return Plan(GENERAL, tmp_path / "x.keras", DataRequest(tmp_path / "images"), seed=3)


def fingerprint(plan: Plan) -> dict[str, Any]:
    """The fingerprint as a checkpoint gives it back."""
    return dict(json.loads(json.dumps(plan.fingerprint(trained_on="images", backend="tensorflow"))))


def test_the_same_plan_has_the_same_fingerprint(plan: Plan) -> None:
    now = replace(plan).fingerprint(trained_on="images", backend="tensorflow")
    assert differences(fingerprint(plan), now) == []


CHANGES: dict[str, dict[str, Any]] = {
    "minutes": {"minutes": 3.0},
    "seed": {"seed": 4},
    "precision": {"precision": "bfloat16"},
    "plugins": {"plugins": (["invert", "1.0", {}],)},
    "noise": {"recipe": replace(GENERAL, noise=parse("gaussian"))},
    "side": {"recipe": replace(GENERAL, side=64)},
    "config": {"recipe": replace(GENERAL, config={"channels": 24})},
    "learning_rate": {
        "recipe": replace(GENERAL, optimization=replace(GENERAL.optimization, learning_rate=0.1))
    },
}


@pytest.mark.parametrize("name", CHANGES)
def test_whatever_changes_the_result_is_named(plan: Plan, name: str) -> None:
    assert differences(fingerprint(plan), fingerprint(replace(plan, **CHANGES[name]))) == [name]


def test_data_and_start_are_named(plan: Plan, tmp_path: Path) -> None:
    before = fingerprint(plan)
    share = replace(plan, data=replace(plan.data, validation=0.2))
    assert differences(before, fingerprint(share)) == ["validation"]
    start = modelfile.read(fakes.identity(tmp_path / "start.keras"), name="start")
    assert "start" in differences(before, fingerprint(replace(plan, start=start)))
    os.utime(tmp_path / "images" / "a.png", (1, 1))
    assert differences(before, fingerprint(plan)) == ["images"]


def test_the_destination_and_the_device_do_not_matter(plan: Plan, tmp_path: Path) -> None:
    other = replace(plan, destination=tmp_path / "y.keras", device="cpu")
    assert fingerprint(other) == fingerprint(plan)


def test_a_plan_without_a_budget_takes_the_recipes() -> None:
    assert Plan(GENERAL, Path("x.keras")).minutes == GENERAL.minutes
    assert Plan(GENERAL, Path("x.keras"), epochs=2).minutes is None


def test_a_network_keeps_the_shape_that_it_starts_from(plan: Plan, tmp_path: Path) -> None:
    start = modelfile.read(fakes.identity(tmp_path / "start.keras"), name="start")
    assert plan.config == GENERAL.arguments
    assert replace(plan, start=start).config == asdict(start.config) != GENERAL.arguments


def test_a_destination_is_a_model_file(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"end in \.keras"):
        replace(plan, destination=tmp_path / "x.png").check()


def test_trained_weights_are_learnt_on_at_a_lower_rate(plan: Plan, tmp_path: Path) -> None:
    start = modelfile.read(fakes.identity(tmp_path / "start.keras"))
    from_scratch, finetuned = plan.optimization, replace(plan, start=start).optimization
    assert from_scratch == GENERAL.optimization
    assert finetuned.learning_rate == GENERAL.optimization.finetuning_rate
    assert finetuned.learning_rate < from_scratch.learning_rate / 2
    digits = Plan(RECIPES["digits"], tmp_path / "digits.keras", start=start)
    assert digits.optimization == RECIPES["digits"].optimization

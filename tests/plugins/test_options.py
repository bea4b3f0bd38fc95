"""A plugin's options: declared, set, checked, listed, and part of what an output was made with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import denoiser
from denoiser.errors import PluginError, UsageError
from denoiser.plugins import manager
from tests.helpers.command import Denoise
from tests.helpers.files import pixels
from tests.helpers.plugins import plugin

FADE = """
    from dataclasses import dataclass, field
    from pathlib import Path
    from typing import Literal

    @dataclass(frozen=True)
    class Options:
        keep: float = field(default=0.5, metadata={"help": "share of the light that stays"})
        rows: int = 0
        gain: float = 1
        turned: bool = False
        side: Literal["left", "right"] = "left"
        mask: Path | None = None
        label: str | None = "seen"

        def __post_init__(self):
            if not 0 <= self.keep <= 1:
                raise ValueError("keep is 0 to 1")
            if self.rows < 0:
                raise ValueError

    @hookimpl
    def postprocess(image, options):
        return (1 - image if options.turned else image) * options.keep
    """


@pytest.fixture
def fade(tmp_path: Path) -> Path:
    return plugin(tmp_path, "fade", FADE)


def test_options_are_set_and_make_outputs_stale(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path, fade: Path
) -> None:
    common = (scans, "--out", tmp_path / "o", "--model", identity, "--plugin", fade)
    assert denoise(*common).code == 0
    np.testing.assert_allclose(pixels(tmp_path / "o/a.png"), pixels(scans / "a.png") / 2, atol=1)
    assert "3 up to date" in denoise(*common, "--plugin-option", "fade.keep=0.5").err
    outcome = denoise(*common, "--plugin-option", "fade.keep=1", "--plugin-option", "fade.turned=yes")
    assert "3 cleaned" in outcome.err
    np.testing.assert_array_equal(pixels(tmp_path / "o/a.png"), 255 - pixels(scans / "a.png"))


def test_options_are_listed(denoise: Denoise, fade: Path) -> None:
    options = ("plugins", "--no-plugins", "--plugin", fade, "--plugin-option", "fade.keep=0.25")
    listed = json.loads(denoise(*options, "--json").out)["loaded"][0]["options"]
    assert listed[0] == {
        "name": "keep",
        "type": "float",
        "value": 0.25,
        "default": 0.5,
        "help": "share of the light that stays",
    }
    assert {each["name"]: each["type"] for each in listed} == {
        "keep": "float",
        "rows": "int",
        "gain": "float",
        "turned": "bool",
        "side": "left|right",
        "mask": "path|none",
        "label": "str|none",
    }
    given = json.loads(denoise(*options, "--plugin-option", "fade.label=none", "--json").out)
    assert given["loaded"][0]["options"][-1]["value"] is None
    text = denoise(*options).out
    assert "fade.keep=0.25  float, share of the light that stays" in text
    assert "fade.mask=none" in text


WRONG = {
    "name": ("fade", "must be NAME.KEY=VALUE"),
    "no value": ("fade.keep", "must be NAME.KEY=VALUE"),
    "plugin": ("fad.keep=1", "Did you mean fade?"),
    "stranger": ("x.keep=1", "Loaded: fade"),
    "key": ("fade.kep=1", "Did you mean keep?"),
    "float": ("fade.keep=much", "must be float"),
    "int": ("fade.rows=1.5", "must be int"),
    "bool": ("fade.turned=perhaps", "must be bool"),
    "choice": ("fade.side=top", "must be left|right"),
    "refused": ("fade.keep=2", "keep is 0 to 1"),
    "refused without a word": ("fade.rows=-1", "fade.rows=-1: the plugin refuses it: ValueError."),
    "not a number": ("fade.gain=nan", "fade.gain=nan: it must be float"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_option_is_one_line_and_nothing_is_written(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path, fade: Path, case: str
) -> None:
    text, reason = WRONG[case]
    common = (scans, "--out", tmp_path / "o", "--model", identity, "--plugin", fade)
    outcome = denoise(*common, "--plugin-option", text)
    assert outcome.code == 2
    assert reason in outcome.err
    assert "Traceback" not in outcome.err
    assert not (tmp_path / "o").exists()


HOOK = "\n@hookimpl\ndef postprocess(image, options):\n    return image\n"
BROKEN = {
    "no class": ("", "declares none"),
    "plain class": ("class Options:\n    keep = 1\n", "not a dataclass"),
    "no default": ("@dataclass\nclass Options:\n    keep: float\n", "default"),
    "type": ("@dataclass\nclass Options:\n    keep: list = None\n", "may be bool, int"),
    "default": (
        "@dataclass\nclass Options:\n    keep: int = '1'\n",
        "the option keep is '1' by default. It is declared as int.",
    ),
    "no default text": ("@dataclass\nclass Options:\n    keep: str = 1\n", "keep is 1 by default"),
    "refuses itself": (
        "@dataclass\nclass Options:\n    def __post_init__(self):\n        raise KeyError\n",
        "its Options can't be made: KeyError.",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_options_that_can_not_be_stop_the_start(
    denoise: Denoise, scans: Path, identity: Path, tmp_path: Path, case: str
) -> None:
    body, reason = BROKEN[case]
    bad = plugin(tmp_path, "bad", f"from dataclasses import dataclass\n{body}{HOOK}")
    outcome = denoise(scans, "--out", tmp_path / "o", "--model", identity, "--plugin", bad)
    assert outcome.code == 3
    assert "bad" in outcome.err
    assert reason in outcome.err


def test_options_from_python(identity: Path, fade: Path) -> None:
    image = np.full((30, 30), 0.8, np.float32)
    options = {"fade.keep": 0.25, "fade.side": "right"}
    clean = denoiser.denoise(image, model=identity, plugins=[fade], plugin_options=options)
    np.testing.assert_allclose(clean, 0.2, atol=1e-6)
    wrong: list[tuple[str, object]] = [("keep", True), ("rows", 1.5), ("mask", 3)]
    wrong += [("gain", float("nan")), ("gain", np.float32("nan")), ("gain", "nan")]
    wrong += [("rows", np.float64(1.5)), ("keep", np.True_), ("turned", np.int64(1))]
    for key, value in [*((f"fade.{key}", value) for key, value in wrong), ("fade", 1)]:
        with pytest.raises(UsageError, match="fade"):
            denoiser.Denoiser(identity, plugins=[fade], plugin_options={key: value})
    with pytest.raises(PluginError):
        denoiser.Denoiser(identity, plugins=["no_such_module"])


def test_numbers_of_numpy_are_numbers(fade: Path) -> None:
    given = {"keep": np.float32(0.25), "gain": np.int64(2), "rows": np.uint8(3), "turned": np.True_}
    given_by_name = {f"fade.{key}": value for key, value in given.items()}
    loaded = manager.load([str(fade)], installed=False, options=given_by_name).loaded[0].options
    found = {key: getattr(loaded, key) for key in given}
    assert found == {"keep": 0.25, "gain": 2.0, "rows": 3, "turned": True}
    assert [type(value) for value in found.values()] == [float, float, int, bool]

"""`denoise.toml` and its presets, through the command line."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from denoiser.commands import config
from denoiser.commands.run import run
from tests.helpers.command import Denoise
from tests.helpers.files import pixels, tree


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def test_command_line_before_preset_before_file_before_default(
    denoise: Denoise, store: Path, scans: Path, identity: Path, flattener: Path, tmp_path: Path
) -> None:
    """The tree tells what --no-recursive and --glob were, and the pixels tell the model."""
    write(
        store / config.NAME,
        f'model = "{flattener}"\nno-recursive = true\nglob = ["*.png", "*.tif"]\n'
        f'[preset.all]\nno_recursive = false\n[preset.same]\nmodel = "{identity}"\nstrength = 1\n',
    )

    def names(out: str, *options: object) -> list[str]:
        outcome = denoise(scans, "--out", tmp_path / out, *options)
        assert outcome.code == 0, outcome.err
        assert f"Defaults from {store / config.NAME}" in outcome.err
        return tree(tmp_path / out)

    def is_same(out: str) -> bool:
        return bool((pixels(tmp_path / out / "a.png") == pixels(scans / "a.png")).all())

    assert names("file") == ["a.png", "b.png"]
    assert not is_same("file")
    assert names("preset", "--preset", "all") == ["a.png", "b.png", "box/c.tif"]
    assert names("model", "--preset", "same", "--glob", "a.*") == ["a.png"]
    assert is_same("model")
    assert names("line", "--preset", "same", "--model", flattener) == ["a.png", "b.png"]
    assert not is_same("line")
    (store / config.NAME).unlink()
    assert denoise(scans, "--out", tmp_path / "d", "--model", identity).code == 0
    assert len(tree(tmp_path / "d")) == 3


def test_the_command_line_also_counts_before_what_it_excludes(
    denoise: Denoise, store: Path, scans: Path, flattener: Path, tmp_path: Path
) -> None:
    """A stride in the file would else decide in the place of --quality, and `keep` refuse --force."""
    text = "stride = 5\nkeep = true\nquiet = true\n[preset.quick]\nquality = 'fast'\n"

    def result(out: str, *options: object) -> np.ndarray:
        outcome = denoise(scans / "a.png", "--out", tmp_path / out, "--model", flattener, *options)
        assert outcome.code == 0, outcome.err
        return pixels(tmp_path / out / "a.png")

    fast, dense = result("fast", "--quality", "fast"), result("dense", "--stride", 5)
    assert (fast != dense).any()
    write(store / config.NAME, text)
    np.testing.assert_array_equal(result("file"), dense)
    np.testing.assert_array_equal(result("line", "--quality", "fast"), fast)
    np.testing.assert_array_equal(result("preset", "--preset", "quick"), fast)
    np.testing.assert_array_equal(result("both", "--preset", "quick", "--stride", 5), dense)
    np.testing.assert_array_equal(result("line", "--force", "--verbose"), dense)


def test_conflicts_name_the_file_that_nobody_has_typed(
    denoise: Denoise, store: Path, scans: Path, tmp_path: Path
) -> None:
    own = store / config.NAME
    write(own, "watch = 5\nfollow-links = true\n")
    outcome = denoise(scans, "--out", tmp_path / "out", "--dry-run")
    assert (outcome.code, outcome.err) == (
        2,
        f"Error: --watch goes with neither --dry-run nor --force. {own} sets --watch. Leave them out.\n",
    )
    outcome = denoise(scans, "--out", tmp_path / "out", "--dry-run", "--watch", 5)
    assert outcome.err == "Error: --watch goes with neither --dry-run nor --force. Leave them out.\n"


def test_the_current_folder_is_never_searched(
    denoise: Denoise, store: Path, scans: Path, identity: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(scans / config.NAME, "no-recursive = true\n")
    monkeypatch.chdir(scans)
    assert denoise(".", "--out", "../out", "--model", identity).code == 0
    assert len(tree(Path("../out"))) == 3


def test_only_a_named_file_loads_plugins(
    denoise: Denoise, store: Path, scans: Path, identity: Path, tmp_path: Path
) -> None:
    text = f'plugin = ["{Path(__file__).parents[2] / "plugins" / "invert.py"}"]\nmodel = "{identity}"\n'
    own = write(store / config.NAME, text)
    outcome = denoise(scans, "--out", tmp_path / "out")
    assert outcome.code == 2
    assert outcome.err == (
        f"Error: {own}: plugin would load code, which only a file named by --config may do."
        f" Remove it, or write --config {own}\n"
    )
    outcome = denoise(scans, "--out", tmp_path / "out", "--config", own, "--verbose")
    assert outcome.code == 0, outcome.err
    assert "| invert" in outcome.err
    write(own, 'plugin-option = "invert.threshold=0.4"\n')
    outcome = denoise(scans, "--out", tmp_path / "out")
    assert outcome.code == 2
    assert f"{own}: plugin-option would set options of plugins, which only a file named by" in outcome.err


BAD = {
    "key": ('qualty = "best"', (), "there is no option qualty. Did you mean quality?"),
    "key of a preset": ("[preset.x]\nmodle = 3", ("--preset", "x"), "no option preset.x.modle. Did you mean"),
    "table": ("[train]\nminutes = 3", (), "there is no option train."),
    "preset": ("[preset.fast]", ("--preset", "fats"), "has no preset fats. Did you mean fast?"),
    "no presets": ("", ("--preset", "x"), "has no preset x. It has none."),
    "not TOML": ('model = "a"\nquality best', (), "is not TOML: Expected '=' .*line 2"),
    "value": ('quality = "bets"', (), "quality: 'bets' is not one of"),
    "range": ("strength = 2", (), "strength: 2"),
    "flag": ("color = 1", (), "color must be true or false"),
    "text": ("model = true", (), 'model must be text in "quotes"\\.'),
    "list": ('model = ["a"]', (), 'model must be text in "quotes"\\.'),
    "number for text": ("glob = [1]", (), 'glob must be text in "quotes", or a list of such\\.'),
    "text for a number": ('strength = "0.5"', (), "strength must be a number, without quotes\\."),
    "no number": ("strength = nan", (), "my.toml: strength must be a number, without quotes\\."),
    "truth for a number": ("jobs = true", (), "jobs must be a number, without quotes\\."),
    "itself": ('config = "x"', (), "there is no option config"),
    "presets": ("preset = 3", (), "preset must be a table"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_one_line(
    denoise: Denoise, store: Path, scans: Path, tmp_path: Path, case: str
) -> None:
    text, options, message = BAD[case]
    path = write(tmp_path / "my.toml", text)
    outcome = denoise(scans, "--out", tmp_path / "out", "--config", path, *options)
    assert outcome.code == 2
    assert outcome.err.startswith(f"Error: {path}")
    assert re.search(message, outcome.err), outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()
    assert denoise("run", "--help", "--config", path).code == 0


def test_files_that_are_none(denoise: Denoise, store: Path, scans: Path, tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b'model = "a"\n# \xe9\n')
    for name, message in (
        ("no.toml", "can't be read"),
        ("latin.toml", "UTF-8 text (at line 2)"),
        ("", "empty"),
    ):
        outcome = denoise(scans, "--out", tmp_path / "out", "--config", name and tmp_path / name)
        assert outcome.code == 2
        assert message in outcome.err
    outcome = denoise(scans, "--out", tmp_path / "out", "--preset", "x")
    assert outcome.code == 2
    assert "There is no preset x" in outcome.err


def test_a_byte_order_mark_is_no_part_of_the_text(
    denoise: Denoise, store: Path, scans: Path, identity: Path, tmp_path: Path
) -> None:
    write(store / config.NAME, f'\ufeffmodel = "{identity}"\n')
    outcome = denoise(scans, "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert len(tree(tmp_path / "out")) == 3


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_what_is_no_file_is_not_passed_over(
    denoise: Denoise, store: Path, scans: Path, tmp_path: Path, kind: str
) -> None:
    if kind == "folder":
        (store / config.NAME).mkdir()
    else:
        (store / config.NAME).symlink_to(tmp_path / "nowhere")
    reason = "Is a directory" if kind == "folder" else "No such file or directory"
    outcome = denoise(scans, "--out", tmp_path / "out")
    assert outcome.code == 2
    assert outcome.err == f"Error: {store / config.NAME} can't be read: {reason}. Check the path.\n"
    assert f"Problem: {store / config.NAME} can't be read" in denoise("doctor").err


def test_every_preset_is_checked(denoise: Denoise, store: Path, scans: Path, tmp_path: Path) -> None:
    write(store / config.NAME, '[preset.a]\nqualty = "best"\n[preset.b]\nquality = "best"\n')
    problem = f"{store / config.NAME}: there is no option preset.a.qualty. Did you mean quality?"
    for options in ((), ("--preset", "b")):
        outcome = denoise(scans, "--out", tmp_path / "out", *options)
        assert outcome.code == 2
        assert outcome.err == f"Error: {problem}\n"
    assert f"Problem: {problem}\n" in denoise("doctor").err


def test_every_option_can_stand_in_the_file(tmp_path: Path) -> None:
    """Each option has a key, and those of flags turn into the value that the flag gives."""
    import click

    flags = [each for each in run.params if isinstance(each, click.Option) and each.is_flag]
    own = write(tmp_path / "c.toml", "".join(f"{config._key(each)} = true\n" for each in flags))
    context = run.make_context("run", ["x", "--config", str(own)])
    for each in flags:
        assert context.params[each.name or ""] is not each.opts[0].startswith("--no-"), each.opts

"""Typical mistakes: the exit code of each, and the line that says what to write instead."""

from __future__ import annotations

import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers import fakes
from tests.helpers.command import Denoise


@pytest.fixture
def desk(tmp_path: Path, scans: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of a user: images, models, a plugin, and things that are none of these."""
    folder = scans.parent
    (folder / "models").mkdir(exist_ok=True)
    fakes.identity(folder / "same.keras")
    fakes.ink(folder / "ink.keras")
    (folder / "broken.keras").write_text("no model")
    fakes.identity(store / "models" / "grain.keras")
    (folder / "empty").mkdir()
    (folder / "notes.txt").write_text("no image")
    (folder / "-dash.png").write_text("no image")
    (folder / "page.pdf").write_text("%PDF-1.4")
    (folder / "train").mkdir()
    (folder / "out").mkdir()
    (folder / "out" / "a.png").write_text("mine")
    (folder / "bad.toml").write_text("quality best")
    (folder / "typo.toml").write_text('qualty = "best"')
    (folder / "plug.py").write_text(
        "from denoiser import hookimpl\n\n@hookimpl\ndef preproces(image):\n    return None\n"
    )
    (folder / "argument.py").write_text(
        "from denoiser import hookimpl\n\n@hookimpl\ndef preprocess(imge):\n    return None\n"
    )
    (folder / "plain.py").write_text("x = 1\n")
    for name, body in (("loud", "return 255 * image + 2"), ("fails", "raise ValueError('oh dear')")):
        (folder / f"{name}.py").write_text(
            f"from denoiser import hookimpl\n\n@hookimpl\ndef postprocess(image):\n    {body}\n"
        )
    Image.fromarray(np.zeros((30, 30), np.uint8)).save(folder / "black.png")
    monkeypatch.chdir(folder)
    return folder


S = "scans --out new --model ./same.keras"
ONE = "scans/a.png --out new --model ./same.keras"
SLIPS: list[tuple[str, int, str]] = [
    # Which files
    ("", 2, r"^Usage: denoise"),
    ("run", 2, r"Nothing to clean. Name files or folders: denoise ./scans --out ./clean"),
    ("scans", 2, r"Where should the results go\? Add --out DIR"),
    ("scans --out S3://b/new", 2, r"S3://b/new is no URL: write s3://BUCKET/FOLDER"),
    ("scans --out s3://", 2, r"Is a variable in the command not set\?"),
    ("s3:/// --out new", 3, r"s3:/// names no bucket. Write s3://BUCKET/FOLDER"),
    ("scan --out new", 2, r"scan: no such file or folder. Did you mean scans\?"),
    ("scans/*.jpg --out new", 2, r"No file matches scans/\*.jpg."),
    ("empty --out new", 2, r"No images found in empty. There is no file of a known image type"),
    ("notes.txt --out new --model ./same.keras", 1, r"notes.txt is not an image"),
    ("page.pdf --out new --model ./same.keras", 1, r"Note: page.pdf is a PDF, which needs a plugin"),
    ("'' --out new", 2, r"An empty name stands for nothing. Is a variable in the command not set\?"),
    (f"{S} --glob '*.gif'", 2, r"matching \*.gif"),
    (f"{S} --glob ''", 2, r"--glob is empty"),
    ("scans/a.png --out new --model ./same.keras --glob '*.png'", 0, r"Note: --glob has no effect"),
    ("scans/a.png --out new --model ./same.keras --no-recursive", 0, r"--no-recursive has no effect"),
    ("scans/a.png --out new --model ./same.keras --follow-links", 0, r"--follow-links has no effect"),
    (
        "scans/a.png --out new --model ./same.keras --max-megapixels 0.001",
        1,
        r"is 60x40, more than 0.001 megapixels. .*use --max-megapixels 1",
    ),
    # Where results go
    ("scans --out scans", 2, r"The output folder scans is the input folder scans."),
    ("scans --out notes.txt", 2, r"notes.txt is a file, not a folder. Name a folder with --out."),
    ("scans -out new", 2, r"-out has one dash. Write --out"),
    ("scans --ouput new", 2, r"No such option.*--ouput.*Did you mean.*--out"),
    ("scans --out ''", 2, r"the name is empty"),
    ("scans --out ' '", 2, r"the name is empty"),
    ("scans/a.png -o=new.png", 2, r"-o=new.png has a = too many. Write -o new.png"),
    ("scans -o new -j=2", 2, r"-j=2 has a = too many. Write -j 2"),
    ("scans/a.png --out new.pdf", 2, r"--out new.pdf can't be a file: .pdf is not written. .*: --out new"),
    ("scans --out new --report look.pdf", 2, r"The report look.pdf can't be a .pdf. Name a folder"),
    ("scans/a.png --out -", 2, r"--out - is no folder. .* denoise - < noisy.png > clean.png"),
    (f"{S} --log-file -", 2, r"'--log-file': - is no name here. Choose another, or write ./-"),
    (f"{S} --report -", 2, r"'--report': - is no name here."),
    (f"{S} --compare -", 2, r"'--compare': - is no name here."),
    ("-dash.png --out new", 2, r"-dash.png is taken for options. Write ./-dash.png"),
    (
        "scans --out out --model ./same.keras",
        2,
        r"out/a.png exists and was not written by denoise. Use --force",
    ),
    (
        "scans/a.png --out scans/a.png",
        2,
        r"The output scans/a.png is the input; inputs are never written to.",
    ),
    (
        "scans --out new.png",
        2,
        r"--out new.png names a file, and scans is a folder. Name a folder: --out new",
    ),
    ("scans/a.png scans/b.png -o new.png", 2, r"and there are several inputs. Name a folder: --out new"),
    ("scans/a.png --out x.png --format tiff", 2, r"--out x.png and --format tiff don't go together."),
    (f"{S} --format jpg", 2, r"'jpg' is called jpeg here: --format jpeg"),
    (f"{S} --format tif", 2, r"'tif' is called tiff here: --format tiff"),
    (f"{S} --format gif", 2, r"'gif' is not one of 'keep', 'png', 'tiff', 'jpeg'"),
    (f"{S} --compare new/look", 2, r"--compare and --out must not lie in one another."),
    (f"{S} --keep --force", 2, r"--keep leaves alone the files that --force overwrites. Leave one out."),
    # The model
    ("scans --out new --model genral", 3, r"no model called 'genral'. Did you mean general\?"),
    ("scans --out new --model grian", 3, r"Did you mean grain\?"),
    ("scans --out new --model same.kers", 3, r"no model called 'same.kers'"),
    ("scans --out new --model ./sane.keras", 3, r"There is no model file ./sane.keras."),
    (
        "scans --out new --model ./broken.keras",
        3,
        r"broken.keras is not a .keras file. Only models written by",
    ),
    (
        "scans --out new --model general --weights sane.keras",
        3,
        r"sane.keras doesn't exist, and same.keras does.",
    ),
    ("scans --out new --watch 1 --report look", 2, r"denoise report OUT --to DIR"),
    ("scans --out new --model general --weights other.kers", 2, r"Choose a name that ends in .keras"),
    ("scans --out new --weights same.keras", 2, r"Name it: --model digits, general or document."),
    ("scans --out new --model general --weights ink.keras", 3, r"is of kind Autoencoder"),
    ("scans --out new --model general --weights a.keras --no-train", 3, r"--no-train forbids making it"),
    (f"{S} --data scans", 0, r"Note: --data has no effect"),
    (f"{S} --mode whol", 2, r"'whol' is not one of 'whole', 'tile'. Did you mean whole\?$"),
    # How it is computed
    (f"{S} --quality balance", 2, r"'balance' is not one of .*Did you mean balanced\?$"),
    (f"{S} --quality good", 2, r"'good' is not one of 'fast', 'balanced', 'best'"),
    (
        "scans --out new --model ./same.keras --dry-run --report look",
        0,
        r"--report has no effect in a dry run",
    ),
    (f"{S} --follow-links --no-recursive", 0, r"--follow-links has no effect beside --no-recursive"),
    (f"{S} --bilevel --format jpeg", 0, r"--bilevel has no effect with --format jpeg"),
    ("scans --out new --model digits --quality best", 0, r"--quality has no effect in whole mode"),
    (f"{S} --quality fast --stride 7", 0, r"Note: --quality has no effect beside --stride."),
    (f"{S} --stride 40", 2, r"40 is not in the range 1<=x<=28"),
    (f"{S} --strength 70", 2, r"70.0 is not in the range 0.0<=x<=1.0"),
    (f"{S} --jobs 0", 2, r"0 is not in the range x>=1"),
    (f"{S} --batch-size 8 --engine numpy", 2, r"--batch-size is for the keras engine."),
    (f"{S} --batch-size 8 --device cpu", 0, r"Note: --batch-size has no effect"),
    (f"{S} --precision bfloat16 --engine numpy", 2, r"The numpy engine computes in float32 only."),
    (
        "scans --out new --model digits --precision bfloat16",
        2,
        r"digits computes in float32 only\. .*--precision",
    ),
    (f"{S} --precision auto --device cpu", 0, r"Note: --precision auto has no effect"),
    (f"{S} --device gpu", 3, r"There is no GPU that TensorFlow could use. Use --device cpu"),
    (
        f"{S} --device gpu --engine numpy",
        2,
        r"The numpy engine computes on the CPU only. .*leave out --engine numpy",
    ),
    (f"{S} --quiet --verbose", 2, r"--quiet and --verbose exclude each other."),
    # stdin, watching and defaults
    ("- --out new", 2, r"- writes to stdout, so --out has no use."),
    ("- scans", 2, r"- stands for stdin and can't be mixed with other inputs."),
    ("- --json", 2, r"- and --json would both write to stdout."),
    (f"{S} --watch 0", 2, r"0.0 is not in the range 0.0<x<=86400.0"),
    (f"{S} --watch 5 --dry-run", 2, r"--watch goes with neither --dry-run nor --force."),
    (f"{S} --config nowhere.toml", 2, r"nowhere.toml can't be read: No such file or directory."),
    (f"{S} --config bad.toml", 2, r"bad.toml is not TOML: .*line 1"),
    (f"{S} --config typo.toml", 2, r"typo.toml: there is no option qualty. Did you mean quality\?"),
    (f"{S} --preset fast", 2, r"There is no preset fast"),
    # Plugins and commands
    (
        f"{S} --plugin plog.py",
        3,
        r"The plugin plog.py can't be read: No such file or directory. Check the path.",
    ),
    (f"{S} --plugin plug.py", 3, r"\(plug\.py\): there is no hook preproces\. Did you mean preprocess\?"),
    (f"{S} --plugin argument.py", 3, r"imge.* The arguments of preprocess are: image, page."),
    (
        f"{S} --plugin plain.py",
        3,
        r"plain \(plain.py\) has no hooks. Mark its functions with @denoiser.hookimpl.",
    ),
    (f"{S} --plugin-option invert.x=1", 2, r"no plugin invert to set options of"),
    (f"{ONE} --plugin loud.py", 1, r"a.png: plugin loud returned values of .*black is 0 and white is 1"),
    (f"{ONE} --plugin fails.py", 1, r"a.png: plugin fails failed in postprocess: ValueError: oh dear."),
    ("nothing", 2, r"nothing: no such file or folder, and no command. List the commands: denoise --help"),
    ("nofile --out new", 2, r"nofile: no such file or folder.$"),
    ("repot out", 2, r"Did you mean the command: denoise report"),
    ("report scans", 2, r"Missing option '--to'. For example: denoise report ./clean --to ./look"),
    ("doctor --jso", 2, r"Did you mean '--json'\?"),
    ("trian scans", 2, r"Did you mean the command: denoise train"),
    ("train --out new", 2, r"train is a command. To clean a folder of that name, write ./train"),
    ("models shwo general", 2, r"No such command 'shwo'"),
    ("models show genral", 3, r"Did you mean general\?"),
    ("models remove general", 3, r"general comes with denoiser and stays."),
    # Training
    ("train scans --noise gausian", 2, r"There is no noise called 'gausian'. Did you mean 'gaussian'\?"),
    ("train scans --noise gaussian:sigma=25", 2, r"sigma=25 of 255 is sigma=0.098"),
    ("train scans --noise gaussian --name ../x", 3, r"can't be a model's name"),
    ("train scans --noise gaussian --name grain", 3, r"You have a model called grain already."),
    ("train scans --noisy nowhere", 2, r"'nowhere' does not exist. See: denoise train --help"),
    ("train scan", 2, r"'scan' does not exist. Did you mean scans\?"),
    ("train --epochs ten", 2, r"'ten' is not a whole number. See: denoise train --help"),
    ("train scans scans", 2, r"unexpected extra argument \(scans\). See: denoise train --help"),
    ("train scans --minutes 1 --epochs 1", 2, r"minutes and epochs are two budgets. Give one."),
]


def test_there_are_sixty() -> None:
    assert len({line for line, _, _ in SLIPS}) == len(SLIPS) >= 60


@pytest.mark.parametrize(("line", "code", "message"), SLIPS, ids=[line for line, _, _ in SLIPS])
def test_a_slip_is_answered_by_one_line(
    denoise: Denoise, desk: Path, line: str, code: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    outcome = denoise(*shlex.split(line))
    text = outcome.out + outcome.err
    assert outcome.code == code, text
    assert re.search(message, text), text
    assert "Traceback" not in text
    if code:
        errors = [each for each in outcome.err.splitlines() if each.startswith("Error")]
        assert len(errors) == (1 if line else 0), outcome.err
        assert (desk / "out" / "a.png").read_text() == "mine"
    if code in (2, 3):
        assert not (desk / "new").exists()


def test_no_binary_on_a_terminal(desk: Path) -> None:
    """The pty stands for the terminal that stdout is."""
    ours, theirs = pty.openpty()
    with (desk / "black.png").open("rb") as file:
        done = subprocess.run(
            [sys.executable, "-m", "denoiser", "-"],
            stdin=file,
            stdout=theirs,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    os.close(theirs)
    os.close(ours)
    assert done.returncode == 2
    assert done.stderr == (
        "Error: The image would be written to the terminal. Redirect it: denoise - < noisy.png > clean.png\n"
    )


def test_a_dry_run_says_why(denoise: Denoise, desk: Path) -> None:
    common = ("scans", "--out", "new", "--model", "./same.keras")
    assert "scans/a.png -> new/a.png  (new)" in denoise(*common, "--dry-run").out.splitlines()
    assert denoise(*common).code == 0
    assert denoise(*common, "--dry-run").out == ""
    Image.fromarray(np.ones((30, 30), np.uint8)).save("scans/a.png")
    Path("new/b.png").unlink()
    assert denoise(*common, "--dry-run").out.splitlines() == [
        "scans/a.png -> new/a.png  (its input changed)",
        "scans/b.png -> new/b.png  (its result is missing)",
    ]
    lines = denoise(*common, "--dry-run", "--strength", 0.5).out.splitlines()
    assert lines[-1] == "scans/box/c.tif -> new/box/c.tif  (another model, setting or plugin)"
    assert lines[0] == "scans/a.png -> new/a.png  (another model, setting or plugin)"
    assert denoise(*common, "--dry-run", "--force").out.count("(--force)") == 3

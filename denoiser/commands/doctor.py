"""`denoise doctor`: what this installation can do, for a person and for a bug report."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from denoiser import __version__
from denoiser.commands.click_parts import Command, NamedPath, option
from denoiser.errors import DenoiserError, ExitCode, on_one_line, reason

_PACKAGES = ("numpy", "pillow", "h5py", "click", "pluggy", "tqdm", "tensorflow", "keras")
_SECONDS = 0.5
_SIDE = 256


@click.command(
    cls=Command,
    short_help="Check this installation.",
    params=[
        click.Argument(["out"], required=False, type=NamedPath(path_type=Path)),
        option("Output", "--json", "as_json", is_flag=True, help="Print JSON."),
    ],
    examples=(
        ("denoise doctor", "what works here, and how fast"),
        ("denoise doctor ./clean", "and whether results can be written there"),
        ("denoise doctor --json", "the same, for a bug report"),
    ),
)
def doctor(*, out: Path | None, as_json: bool) -> int:
    """Check this installation: versions, machine, models, plugins, speed.

    With OUT, a folder for results, it also tries to write there. The exit code is 3 if something is wrong.
    """
    facts = examine(out)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        for line in lines(facts):
            click.echo(on_one_line(line))
    for problem in facts["problems"]:
        click.echo(on_one_line(f"Problem: {problem}"), err=True)
    return ExitCode.CANNOT_START if facts["problems"] else ExitCode.OK


def examine(out: Path | None) -> dict[str, Any]:
    """Return the facts as plain JSON; `problems` are sentences on what would keep a run from working."""
    import platform

    from denoiser.commands.config import check_own_file
    from denoiser.commands.run import run
    from denoiser.system import blas, hardware, memory
    from denoiser.weights import store

    problems: list[str] = []
    try:
        check_own_file(run)
    except DenoiserError as error:
        problems.append(str(error))
    free = memory.available()
    facts: dict[str, Any] = {
        "denoiser": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "system": platform.platform(),
        "packages": _packages(),
        "blas": blas.described(),
        "cores": hardware.cores(),
        "memory_mb": None if free is None else free >> 20,
        "gpu": hardware.may_have_gpu(),
        "home": str(store.home()),
        "models": _models(problems),
        "plugins": _plugins(problems),
    }
    if out is not None:
        facts["out"] = _written(out, problems)
    facts["megapixels_per_second"] = _speed(problems)
    return {**facts, "problems": problems}


def _packages() -> dict[str, str | None]:
    import importlib.metadata

    found: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def _models(problems: list[str]) -> list[dict[str, Any]]:
    from denoiser.weights import modelfile, store

    rows = []
    for entry in store.available():
        row: dict[str, Any] = {"name": entry.name, "source": entry.source, "path": str(entry.path)}
        try:
            row["sha256"] = modelfile.read(entry.path, name=entry.name).digest
        except DenoiserError as error:
            row["error"] = str(error)
            problems.append(str(error))
        rows.append(row)
    missing = [name for name in store.NETWORKS if not any(row["name"] == name for row in rows)]
    if missing:
        problems.append(f"No weights for {', '.join(missing)}: a run that needs them trains them first.")
    return rows


def _plugins(problems: list[str]) -> list[dict[str, Any]]:
    from denoiser.plugins import manager

    found = manager.load((), installed=True, options=())
    problems.extend(f"The plugin {each.name} failed to load: {each.error}" for each in found.failed)
    return [{"name": each.name, "version": each.version, "origin": each.origin} for each in found.loaded]


def _written(out: Path, problems: list[str]) -> dict[str, Any]:
    """Write a file where results would go, or in the nearest folder there is, and remove it."""
    import shutil
    import tempfile

    folder = out
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        if not folder.is_dir():
            raise NotADirectoryError(None, "not a folder")
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".denoise-") as file:
            file.write(bytes(1 << 20))
            file.flush()
            os.fsync(file.fileno())
        free = shutil.disk_usage(folder).free >> 20
    except OSError as error:
        problems.append(f"{out} can't be written to: {folder}: {reason(error)}.")
        return {"path": str(out), "writable": False, "free_mb": None}
    return {"path": str(out), "writable": True, "free_mb": free}


def _speed(problems: list[str]) -> float | None:
    """Clean a small picture with `general` for half a second; return megapixels a second."""
    import numpy as np

    from denoiser.inference.denoiser import Denoiser
    from denoiser.weights import store

    picture = np.random.default_rng(0).random((_SIDE, _SIDE), np.float32)
    try:
        if store.find("general") is None:
            return None
        with Denoiser("general", device="cpu") as denoiser:
            denoiser.reconstruct(picture)  # the first one loads the model
            begun, done = time.perf_counter(), 0
            while time.perf_counter() - begun < _SECONDS:
                denoiser.reconstruct(picture)
                done += 1
            return round(done * picture.size / 1e6 / (time.perf_counter() - begun), 3)
    except DenoiserError as error:
        problems.append(f"general can't clean: {error}")
        return None


def lines(facts: dict[str, Any]) -> Iterator[str]:
    """Yield the facts as lines of text."""
    yield f"denoise {facts['denoiser']}, Python {facts['python']} ({facts['executable']})"
    yield f"System: {facts['system']}"
    versions = (f"{name} {version or 'not installed'}" for name, version in facts["packages"].items())
    yield f"Packages: {', '.join(versions)}"
    if facts["packages"]["tensorflow"] is None:
        yield "  Without TensorFlow, all works but training, the keras engine and GPUs."
    yield f"BLAS: {facts['blas'] or 'not OpenBLAS'}"
    memory = "unknown" if facts["memory_mb"] is None else f"{facts['memory_mb']:,} MB free"
    yield f"Cores: {facts['cores']}; memory: {memory}; GPU: {'perhaps' if facts['gpu'] else 'none'}"
    yield f"Folder of your models and of denoise.toml: {facts['home']}"
    for row in facts["models"]:
        yield f"Model {row['name']} ({row['source']}): {row.get('error') or row['sha256']}"
    for row in facts["plugins"]:
        yield f"Plugin {row['name']} {row['version']} from {row['origin']}"
    if not facts["plugins"]:
        yield "Plugins: none installed"
    if "out" in facts and facts["out"]["writable"]:
        yield f"Results: {facts['out']['path']} can be written to, {facts['out']['free_mb']:,} MB free"
    speed = facts["megapixels_per_second"]
    if speed is not None:
        yield f"Speed: {speed:g} megapixels a second with general, on the CPU, at balanced quality"

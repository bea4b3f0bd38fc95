"""Inputs that are named twice: by themselves, and by a folder that they lie in. Each is cleaned once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path

from denoiser.pipeline.record import FOLDER, NAME
from denoiser.pipeline.walk import Walk, matcher


def without_repeats(inputs: Sequence[Path], walk: Walk, hidden: Iterable[Path]) -> list[Path]:
    """Leave out files and folders that the search of another input finds anyhow.

    Args:
        inputs: files and folders.
        walk: how folders are searched.
        hidden: folders that the search leaves out.

    """
    real = cache(os.path.realpath)
    folders = {real(path): path for path in inputs if path.is_dir()}
    if not folders or len(inputs) < 2:
        return list(inputs)
    unseen = {real(folder) for folder in hidden}
    matches = matcher(walk)
    within = cache(lambda folder: [root for root in folders if _is_below(folder, root, walk, unseen)])
    return [path for path in inputs if not _is_found(path, real, folders, within, matches)]


def _is_found(
    path: Path,
    real: Callable[[Path], str],
    folders: dict[str, Path],
    within: Callable[[str], list[str]],
    matches: Callable[[str, str], bool],
) -> bool:
    """Whether the search of another input finds this one."""
    if (own := real(path)) in folders:
        # A link to a folder is searched as if it lay elsewhere, and only if links are followed.
        return not path.is_symlink() and any(root != own for root in within(own))
    if path.name.startswith("."):
        return False
    place = real(path.parent)  # a link is an input of its own
    return any(matches(_place(place, root), path.name) for root in within(place))


def _place(folder: str, root: str) -> str:
    place = os.path.relpath(folder, root)
    return "" if place == os.curdir else place.replace(os.sep, "/")


def _is_below(folder: str, root: str, walk: Walk, unseen: set[str]) -> bool:
    """Whether the search of `root` comes to `folder`; both are real paths."""
    while folder != root:
        above, name = os.path.split(folder)
        held = any(os.path.lexists(os.path.join(folder, each)) for each in (FOLDER, NAME))  # noqa: PTH118
        if above == folder or not walk.recursive or name.startswith(".") or held or folder in unseen:
            return False
        folder = above
    return True

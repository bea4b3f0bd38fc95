"""Names that a shell completes: files, models and noises. See docs/guide/completion.md."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem


def paths(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let the shell complete the name of a file or folder."""
    return [CompletionItem(incomplete, type="file")]


def models(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a model, or of a file where no model is called so."""
    return _models_or_files("auto", incomplete)


def starts(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete what a training can start from: a model, a file, or `scratch`."""
    return _models_or_files("scratch", incomplete)


def own_models(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a model that can be shown: all but `auto`, which is a choice."""
    from denoiser.weights import store

    names = dict.fromkeys(entry.name for entry in store.available())
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def removable_models(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a model that the user has trained, or begun to train: bundled ones stay."""
    from denoiser.weights import store

    return [CompletionItem(name) for name in store.removable() if name.startswith(incomplete)]


def noises(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a noise, also the last one of a chain."""
    from denoiser import noise

    chain, plus, last = incomplete.rpartition("+")
    return [CompletionItem(chain + plus + name) for name in noise.names() if name.startswith(last)]


def _models_or_files(choice: str, incomplete: str) -> list[CompletionItem]:
    from denoiser.weights import store

    names = dict.fromkeys([choice, *store.NETWORKS, *(entry.name for entry in store.available())])
    found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return found or [CompletionItem(incomplete, type="file")]

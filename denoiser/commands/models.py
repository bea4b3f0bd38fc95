"""`denoise models`: what models there are, what each is, and where."""

from __future__ import annotations

import json
from typing import Any

import click

from denoiser.commands.click_parts import Command, Group


@click.group(
    cls=Group,
    invoke_without_command=True,
    examples=(
        ("denoise models", "list them"),
        ("denoise models show general", "what it was trained on, and its figures"),
        ("denoise models path general", "where its file is"),
        ("denoise models remove mine", "delete one that you trained"),
    ),
)
@click.pass_context
def models(ctx: click.Context) -> None:
    """List, show, locate or remove models."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_models)


@models.command("list", cls=Command)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one list.")
def list_models(*, as_json: bool = False) -> None:
    """List all models: yours, then the bundled ones."""
    from denoiser.errors import ModelError, on_one_line
    from denoiser.weights import modelfile, store

    rows: list[dict[str, Any]] = []
    for entry in store.available():
        row: dict[str, Any] = {"name": entry.name, "source": entry.source, "path": str(entry.path)}
        try:
            model = modelfile.read(entry.path, name=entry.name)
            row |= {"network": model.kind, "mode": model.mode, "parameters": model.parameters}
        except ModelError as error:
            row["error"] = str(error)
        row["shadowed"] = entry.shadowed
        rows.append(row)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        click.echo("No models: none are bundled with this installation, and none were trained.", err=True)
    for row in rows:
        facts = (
            row.get("error")
            or f"{row['network']}, {row['parameters'] / 1e6:.2f} M weights, mode {row['mode']}"
        )
        hidden = " (hidden by your own of this name)" if row["shadowed"] else ""
        click.echo(on_one_line(f"{row['name']:<12} {row['source']:<8} {facts}{hidden}"))


@models.command("show", cls=Command)
@click.argument("name")
def show(name: str) -> None:
    """Print a model's card: data, noise, figures."""
    from denoiser.errors import UNSAFE
    from denoiser.weights import modelfile, store

    path = _find(name)
    model = modelfile.read(path)
    facts = {
        "name": name,
        "file": str(path),
        "bytes": path.stat().st_size,
        "sha256": model.digest,
        "network": model.kind,
        "mode": model.mode,
        "parameters": model.parameters,
        "config": {key: value for key, value in model.config.items() if key != "card"},
        "card": dict(model.card),
    }
    page = store.beside(path)[-1]
    if page.is_file():
        facts["page"] = str(page)
    # A card may come from anywhere; what would drive a terminal stays the JSON escape that it can be.
    text = json.dumps(facts, indent=2, ensure_ascii=False)
    click.echo(text.translate({code: f"\\u{code:04x}" for code in UNSAFE if code != ord("\n")}))


@models.command("path", cls=Command)
@click.argument("name")
def path(name: str) -> None:
    """Print where a model's file is."""
    click.echo(str(_find(name)))


@models.command("remove", cls=Command)
@click.argument("name")
def remove(name: str) -> None:
    """Delete a model that you trained. Bundled ones stay."""
    from denoiser.weights import store

    store.remove(name)
    click.echo(f"Removed {name}.", err=True)


def _find(name: str) -> Any:
    from denoiser.errors import ModelError
    from denoiser.weights import store

    if name == "auto":
        raise ModelError("auto is no model but a choice, for each image, between digits and general.")
    found = store.find(name)
    if found is None:
        raise ModelError(
            f"The network {name} has no weights here.", f"Train them with: denoise train --model {name}"
        )
    return found

"""`denoise models`: list, show, locate and remove models."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from denoiser.commands import completion
from denoiser.commands.click_parts import Group, option


@click.group(
    cls=Group,
    invoke_without_command=True,
    examples=(
        ("denoise models", "list them"),
        ("denoise models show general", "one of them: training data, terms, figures"),
        ("denoise models show mine --open", "and how its training went, in a browser"),
        ("denoise models path general", "the path of its file"),
        ("denoise models remove mine", "delete a model that you trained"),
    ),
)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@click.pass_context
def models(ctx: click.Context, *, as_json: bool) -> None:
    """List, show, locate or remove models."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_models, as_json=as_json)
    elif as_json and ctx.invoked_subcommand not in ("list", "show"):
        raise click.UsageError(f"--json is for list and show, and {ctx.invoked_subcommand} was asked for")
    ctx.obj = as_json


@models.command("list", params=[option("Output", "--json", "as_json", is_flag=True, help="Print JSON.")])
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
        rows.append({**row, "shadowed": entry.shadowed})
    if as_json or click.get_current_context().obj:
        click.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        click.echo("No models: none are bundled with this installation, and you have trained none.", err=True)
    for row in rows:
        facts = row.get("error")
        facts = facts or f"{row['network']}, {row['parameters'] / 1e6:.2f} M weights, mode {row['mode']}"
        hidden = " (hidden by your model of this name)" if row["shadowed"] else ""
        click.echo(on_one_line(f"{row['name']:<12} {row['source']:<8} {facts}{hidden}"))
    for name, checkpoint in store.trainings().items():
        size = f"{checkpoint.stat().st_size / 1e6:.0f} MB"
        click.echo(
            f"The training of {name} is unfinished ({size}). If it is not running, the same command goes on"
            f" with it, and denoise models remove {name} deletes it.",
            err=True,
        )


@models.command(
    "show",
    short_help="Print a model's card: training data, terms, noise and figures.",
    params=[
        click.Argument(["name"], shell_complete=completion.own_models),
        option("Output", "--json", "as_json", is_flag=True, help="Print all that is known of it as JSON."),
        option(
            "Output",
            "--open",
            "open_page",
            is_flag=True,
            help="Open the page of its training in a browser.",
        ),
    ],
)
def show(name: str, *, as_json: bool, open_page: bool) -> None:
    """Print a model's card: training data, terms, noise, figures, and the path of its training's page."""
    from denoiser.commands import model_card
    from denoiser.errors import UNSAFE, ModelError, on_one_line
    from denoiser.weights import modelfile, store

    model = modelfile.read(store.locate(name))
    facts = {
        "name": name,
        "file": str(model.path),
        "bytes": model.path.stat().st_size,
        "sha256": model.digest,
        "network": model.kind,
        "mode": model.mode,
        "parameters": model.parameters,
        "config": asdict(model.config),
        "card": model.card,
    }
    page = store.beside(model.path)[-1]
    if page.is_file():
        facts["page"] = str(page)
    # A card may come from anywhere: characters that would control the terminal are escaped.
    if as_json or click.get_current_context().obj:
        text = json.dumps(facts, indent=2, ensure_ascii=False)
        click.echo(text.translate({code: f"\\u{code:04x}" for code in UNSAFE if code != ord("\n")}))
    else:
        for line in model_card.lines(facts):
            click.echo(on_one_line(line))
    if open_page:
        if not page.is_file():
            raise ModelError(
                f"{name} has no page: there is no {page}.",
                "A page is written by `denoise train`; bundled models have none.",
            )
        import webbrowser

        if not webbrowser.open(page.absolute().as_uri()):
            raise ModelError("No browser was found.", f"Open the page yourself: {page}")
        click.echo(on_one_line(f"Opened {page}."), err=True)


@models.command("path")
@click.argument("name", shell_complete=completion.own_models)
def path(name: str) -> None:
    """Print the path of a model's file."""
    from denoiser.weights import store

    click.echo(str(store.locate(name)))


@models.command("remove")
@click.argument("name", shell_complete=completion.removable_models)
def remove(name: str) -> None:
    """Delete a model that you trained. Bundled models can't be deleted."""
    from denoiser.weights import store

    store.remove(name)
    click.echo(f"Removed {name}.", err=True)

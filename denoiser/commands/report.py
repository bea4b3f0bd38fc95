"""`denoise report`: a page to look through the results of earlier runs."""

from __future__ import annotations

from pathlib import Path

import click

from denoiser.commands.click_parts import Command, NamedPath, option


@click.command(
    cls=Command,
    short_help="Write a page to look through the results.",
    params=[
        click.Argument(["out"], type=NamedPath(path_type=Path), metavar="OUT"),
        option(
            *("The page", "--to"),
            type=NamedPath(path_type=Path),
            required=True,
            metavar="DIR|FILE.html",
            help="Folder for the page and its pictures, or one file that holds all.",
        ),
        option("Messages", "--quiet", "-q", is_flag=True, help="Print errors only."),
    ],
    examples=(
        ("denoise report ./clean --to ./look", "a folder with a page of all files, the worst first"),
        ("denoise report ./clean --to worst.html", "one file to send: the worst hundred"),
    ),
)
def report(*, out: Path, to: Path, quiet: bool) -> None:
    """Write a page to look through the results; files that may have lost content come first.

    OUT is the folder that was given with --out. The inputs must still be there: those in a bucket are listed,
    and not compared. Open the page in a browser; it needs no network.
    """
    import warnings

    from denoiser.errors import on_one_line
    from denoiser.progress import progress_for
    from denoiser.report import build, from_record, place
    from denoiser.storage.base import scheme_of
    from denoiser.system.stderr import only_ours

    # Pillow warns about odd metadata in words that help nobody here.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    target = place.Target(to)
    found = from_record.recorded(out)
    sources = [Path(each.source) for each in found if each.source and scheme_of(each.source) is None]
    place.check(target, out, place.input_folders(out, sources))
    if text := place.space(target, len(found)):
        click.echo(on_one_line(f"Note: {text}."), err=True)
    draft = place.Draft(target)
    draft.try_writing()
    with only_ours():
        rows = build.build(
            from_record.pairs(out, found),
            draft,
            facts=from_record.facts(out, found),
            progress=progress_for(quiet=quiet),
        )
    if not quiet:
        files = "1 file" if rows == 1 else f"{rows:,} files"
        click.echo(on_one_line(f"Wrote {target.page}: {files}, the worst first."), err=True)

"""Click classes for this command line: help with examples and groups of options, and a default command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from denoiser.storage.base import scheme_of

_LAST = "Other"


class NamedPath(click.Path):
    """A path that is not empty, as `--out "$UNSET"` must not mean the current folder; no URL, no stream."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse a blank name, URLs, of which a path would make a folder called `s3:`, and `-` likewise."""
        if isinstance(value, str) and not value.strip():
            self.fail("the name is empty. Is a variable in the command not set?", param, ctx)
        if isinstance(value, str) and scheme_of(value) is not None:
            self.fail(f"{value} is a URL, and only a path of this machine will do.", param, ctx)
        if value == "-" and not self.allow_dash:
            self.fail("- is no name here. Choose another, or write ./-", param, ctx)
        return super().convert(value, param, ctx)


class GroupedOption(click.Option):
    """An option that help lists under a heading."""

    def __init__(self, *args: Any, heading: str, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.heading = heading


def option(heading: str, *names: str, **settings: Any) -> GroupedOption:
    """Declare an option, which help lists under `heading`; the settings are those of `click.Option`."""
    return GroupedOption(names, heading=heading, **settings)


class _WithExamples(click.Command):
    """A command whose help shows examples, (command, purpose), below the description."""

    def __init__(self, *args: Any, examples: Sequence[tuple[str, str]] = (), **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.examples = examples

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the description, then the examples."""
        super().format_help_text(ctx, formatter)
        if self.examples:
            with formatter.section("Examples"):
                for command, purpose in self.examples:
                    for line in (f"# {purpose}", command):
                        formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


class Command(_WithExamples):
    """A command whose help groups the options under their headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings, in the order in which the headings first appear."""
        headings: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and not isinstance(parameter, click.Argument):
                headings.setdefault(getattr(parameter, "heading", _LAST), []).append(record)
        for heading, records in sorted(headings.items(), key=lambda item: item[0] == _LAST):
            with formatter.section(heading):
                formatter.write_dl(records)


class Group(_WithExamples, click.Group):
    """A group of commands, with a default command."""

    command_class = Command

    def __init__(self, *args: Any, default: str | None = None, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.default = default

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert the default command, unless the first argument is a command or an option of the group."""
        if self.default is not None and args:
            own = {name for parameter in self.get_params(ctx) for name in parameter.opts}
            if args[0] not in self.commands and args[0] not in own:
                args = [self.default, *args]
            elif args[0] != self.default and any(_is_out(each) for each in args[1:]):
                raise click.UsageError(
                    f"{args[0]} is a command. To clean a folder of that name, write ./{args[0]}"
                )
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a command, or else the arguments of the default one."""
        found = super().shell_complete(ctx, incomplete)
        if self.default is None or found:
            return found
        command = self.commands[self.default]
        arguments = (each for each in command.get_params(ctx) if isinstance(each, click.Argument))
        own = command.shell_complete(ctx, incomplete) if incomplete.startswith("-") else []
        return own or [item for each in arguments for item in each.shell_complete(ctx, incomplete)]

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the usage of the default command, then that of the others."""
        if self.default is None:
            super().format_usage(ctx, formatter)
            return
        inner = click.Context(self.commands[self.default], ctx, info_name=self.default)
        arguments = " ".join(inner.command.collect_usage_pieces(inner))
        formatter.write_usage(ctx.command_path, f"[{self.default}] {arguments}")
        formatter.write_usage(ctx.command_path, "COMMAND [OPTIONS] ...", prefix="       ")


def _is_out(argument: str) -> bool:
    """Return True for `--out`, which only cleaning has."""
    return argument in ("--out", "-o") or argument.startswith("--out=")

"""How help reads: examples first, then options in groups. And the default command."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

Examples = Sequence[tuple[str, str]]
_LAST = "Other"


class NamedPath(click.Path):
    """A path that is not empty: `--out "$UNSET"` must not mean the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse the empty name."""
        if value == "":
            self.fail("an empty name stands for nothing; is a variable in the command not set?", param, ctx)
        return super().convert(value, param, ctx)


class GroupedOption(click.Option):
    """An option that help shows under a heading."""

    def __init__(self, *args: Any, heading: str = "Options", **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.heading = heading


class Command(click.Command):
    """A command whose help begins with examples and groups its options."""

    def __init__(self, *args: Any, examples: Examples = (), **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.examples = examples

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the description, then the examples."""
        super().format_help_text(ctx, formatter)
        _write_examples(self.examples, formatter)

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


class Group(click.Group):
    """Commands, one of which needs no name."""

    command_class = Command

    def __init__(
        self, *args: Any, default: str | None = None, examples: Examples = (), **attributes: Any
    ) -> None:
        super().__init__(*args, **attributes)
        self.default = default
        self.examples = examples

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default command in front, unless a command or an option of the group itself comes first."""
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
        """Show the default command's arguments, which most people want, before the other commands."""
        if self.default is None:
            super().format_usage(ctx, formatter)
            return
        inner = click.Context(self.commands[self.default], ctx, info_name=self.default)
        arguments = " ".join(inner.command.collect_usage_pieces(inner))
        formatter.write_usage(ctx.command_path, f"[{self.default}] {arguments}")
        formatter.write_usage(ctx.command_path, "COMMAND [OPTIONS] ...", prefix="       ")

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the description, then the examples."""
        super().format_help_text(ctx, formatter)
        _write_examples(self.examples, formatter)


def _write_examples(examples: Iterable[tuple[str, str]], formatter: click.HelpFormatter) -> None:
    if examples:
        with formatter.section("Examples"):
            for command, purpose in examples:
                formatter.write(f"{'':>{formatter.current_indent}}# {purpose}\n")
                formatter.write(f"{'':>{formatter.current_indent}}{command}\n")


def _is_out(argument: str) -> bool:
    """Return True for `--out`, which only cleaning has."""
    return argument in ("--out", "-o") or argument.startswith("--out=")


Function = TypeVar("Function", bound=Callable[..., Any])


def option(*names: str, heading: str, **attributes: Any) -> Callable[[Function], Function]:
    """`click.option` with a heading for help."""
    return click.option(*names, cls=GroupedOption, heading=heading, **attributes)

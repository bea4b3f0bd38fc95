"""The parts of these pages that are generated from the code.

    python docs/_ext/tables.py            write them into the pages
    python docs/_ext/tables.py --check    exit with 1 if a page differs from the code

A generated part stands between `<!-- generated: NAME -->` and `<!-- end of NAME -->`.
"""

from __future__ import annotations

import inspect
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(DOCS / "_ext"), str(DOCS.parent)]

import sources  # noqa: E402

Row = tuple[str, ...]


def table(header: Row, rows: Iterable[Row]) -> str:
    """Return a Markdown table."""
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def hooks() -> str:
    """Every hook: its signature and its contract."""
    parts = []
    for name in sources.hookspecs.HOOKS:
        function = getattr(sources.hookspecs, name)
        signature = str(inspect.signature(function)).replace("'", "")
        contract = inspect.cleandoc(function.__doc__ or "")
        parts.append(f"### `{name}`\n\n```python\ndef {name}{signature}: ...\n```\n\n{contract}")
    return "\n\n".join(parts)


def noises() -> str:
    """Every built-in noise: what it is, and its parameters."""
    parts = []
    for name in sources.names():
        found = sources.get(name)
        rows = (
            (f"`{key}`", f"{value.default:g}", _range(value.low, value.high), value.help)
            for key, value in found.parameters.items()
        )
        parts.append(
            f"### `{name}`\n\n{found.help}\n\n{table(('parameter', 'default', 'range', 'meaning'), rows)}"
        )
    return "\n\n".join(parts)


def _range(low: float, high: float) -> str:
    if math.isinf(low) and math.isinf(high):
        return "any number"
    return f"{low:g} or more" if math.isinf(high) else f"{low:g} to {high:g}"


def endings() -> str:
    """The formats that are read and written: their endings, and what each can hold."""
    from PIL import Image

    Image.init()
    formats: dict[str, list[str]] = {}
    for suffix in sorted(sources.SUFFIXES):
        name = Image.EXTENSION[suffix]
        formats.setdefault(sources.SAME_AS.get(name, name), []).append(f"`{suffix}`")
    rows = (
        (name, " ".join(found), _yes(name in sources.SIXTEEN_BIT), _yes(name in sources.ALPHA))
        for name, found in sorted(formats.items())
    )
    return table(("format", "endings", "16-bit gray", "transparency"), rows)


def _yes(answer: bool) -> str:
    return "yes" if answer else "no"


def parameters() -> str:
    """The constructor arguments of both networks, and the values that the named networks have."""
    rows = []
    for kind, config in sources.CONFIGS.items():
        for name, parameter in sources.parameters_of(config).items():
            values = {
                key: getattr(sources.make_config(kind, network.config), name)
                for key, network in sources.NETWORKS.items()
                if network.kind == kind
            }
            limits = "" if isinstance(parameter.default, bool) else f"{parameter.low:g} to {parameter.high:g}"
            limits += ", or several that grow" if parameter.several else ""
            own = ", ".join(f"{key}: {_shown(value)}" for key, value in values.items())
            rows.append((f"`{kind}`", f"`{name}`", _shown(parameter.default), limits, own))
    return table(("network", "argument", "default", "allowed", "networks from scratch"), rows)


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def weights() -> str:
    """Where each weight of the named networks lies in the HDF5 file."""
    parts = []
    for name, network in sources.NETWORKS.items():
        slots = sources.make_config(network.kind, network.config).layout()
        rows = list(_slots((key, slot.path, slot.shape) for key, slot in slots.items()))
        parts.append(f"### {name}\n\n{table(('weight', 'path in the file', 'shape'), rows)}")
    return "\n\n".join(parts)


def _slots(slots: Iterable[tuple[str, str, tuple[int, ...]]]) -> Iterator[Row]:
    for key, path, shape in slots:
        yield f"`{key}`", f"`{path}`", "x".join(map(str, shape))


def options() -> str:
    """Every command with its arguments and options, in the order of its help."""
    parts = []
    for context in sources.commands():
        command, usage = context.command, context.get_usage()
        rows = [
            (
                f"`{', '.join((*parameter.opts, *parameter.secondary_opts))}`",
                f"`{parameter.metavar or ''}`" if parameter.metavar else _choices(parameter),
                parameter.help or "",
                _default(parameter),
            )
            for parameter in command.params
            if isinstance(parameter, sources.Option) and not parameter.hidden
        ]
        text = (
            inspect.cleandoc(command.help or "")
            .replace("\n\n", "\0")
            .replace("\n", " ")
            .replace("\0", "\n\n")
        )
        parts += [f"## {context.command_path}", f"```text\n{usage}\n```", text]
        if rows:
            parts.append(table(("option", "value", "meaning", "default"), rows))
    return "\n\n".join(parts)


def _choices(parameter: sources.Option) -> str:
    if parameter.is_flag:
        return ""
    return f"`{'|'.join(parameter.type.choices)}`" if isinstance(parameter.type, sources.Choice) else "number"


def _default(parameter: sources.Option) -> str:
    if not parameter.show_default or parameter.is_flag:
        return ""
    return f"`{parameter.default}`"


GENERATED: dict[str, tuple[str, Callable[[], str]]] = {
    "options": ("reference/cli.md", options),
    "hooks": ("reference/hooks.md", hooks),
    "noises": ("reference/noises.md", noises),
    "endings": ("guide/formats.md", endings),
    "parameters": ("reference/model-file.md", parameters),
    "weights": ("reference/model-file.md", weights),
}


def updated(name: str) -> tuple[Path, str, str]:
    """Return a page, its text as it stands, and its text as the code demands."""
    page, make = GENERATED[name]
    path = DOCS / page
    text = path.read_text("utf-8")
    start, end = f"<!-- generated: {name} -->", f"<!-- end of {name} -->"
    if text.count(start) != 1 or text.count(end) != 1:
        raise ValueError(f"{page} must have {start} and {end} once")
    pattern = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)
    return path, text, pattern.sub(lambda _: f"{start}\n\n{make()}\n\n{end}", text)


def main(arguments: list[str]) -> int:
    """Write the generated parts, or with `--check` say which differ."""
    stale = 0
    for name in GENERATED:
        path, old, new = updated(name)
        if old != new:
            stale += 1
            if "--check" in arguments:
                sys.stderr.write(f"{path}: {name} differs from the code. Run: python docs/_ext/tables.py\n")
            else:
                path.write_text(new, "utf-8")
    return int("--check" in arguments and stale > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

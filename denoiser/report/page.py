"""The page itself: one HTML file whose style, script and data are inline, and which asks the network nothing.

Text of other people's, such as names of files, is put in as JSON whose `<` are escaped, or through
`html.escape`; the script shows it by `textContent`. A Content-Security-Policy names the style and the script
by their hashes, so that nothing else would run.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MARK = '<meta name="generator" content="denoise report">'
"""By which a page of ours is known, so that no other file is overwritten."""


@dataclass(frozen=True)
class Column:
    """A column of the table: field of a row, heading, meaning, and decimals if it is a number."""

    field: str
    title: str
    help: str
    digits: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as the script reads it."""
        return {
            "field": self.field,
            "title": self.title,
            "help": self.help,
            "number": self.digits is not None,
            "digits": self.digits or 0,
        }


@dataclass(frozen=True)
class Labels:
    """Words for a view: on the button that shows it, for its first image and for its second."""

    button: str
    first: str
    second: str


_BEFORE_AND_AFTER = {
    "whole": Labels("Whole image", "before", "after"),
    "detail": Labels("Detail, full size", "before", "after"),
}


@dataclass(frozen=True)
class Table:
    """Rows for the script.

    Attributes:
        columns: what the table shows.
        fields: names of a row's values; beside the columns' own they are "views", and may be "said", "source"
            and "result": a sentence, and links to both files.
        rows: the rows, worst first. A view is [name, width, height, before, after]; these are URLs or None.
        noun: what a row is, in the plural.
        labels: words for the views, by name.

    """

    columns: Sequence[Column]
    fields: Sequence[str]
    rows: Sequence[Sequence[Any]]
    noun: str = "files"
    labels: Mapping[str, Labels] = field(default_factory=lambda: _BEFORE_AND_AFTER)


def render(title: str, facts: Mapping[str, str], charts: Sequence[str], table: Table, hint: str = "") -> str:
    """Return the page.

    Args:
        title: its heading.
        facts: names and values of the summary.
        charts: HTML of figures, as `charts` makes them.
        table: the rows.
        hint: a sentence above the table.

    """
    style, script = ((HERE / name).read_text("utf-8") for name in ("page.css", "page.js"))
    data = {
        "noun": table.noun,
        "labels": {name: asdict(words) for name, words in table.labels.items()},
        "fields": list(table.fields),
        "columns": [column.as_dict() for column in table.columns],
        "rows": [list(row) for row in table.rows],
    }
    parts = {
        "POLICY": html.escape(_policy(style, script)),
        "MARK": MARK,
        "TITLE": html.escape(title),
        "STYLE": style,
        "FACTS": "".join(
            f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in facts.items()
        ),
        "CHARTS": "".join(charts),
        "HINT": html.escape(hint),
        "NOUN": html.escape(table.noun),
        "DATA": as_script(data),
        "SCRIPT": script,
    }
    template = (HERE / "page.html").read_text("utf-8")
    pieces = template.split("@@")
    return "".join(parts[piece] if index % 2 else piece for index, piece in enumerate(pieces))


def as_script(value: Any) -> str:
    """Return JSON that can stand in a script element: no `<` ends it, and all is ASCII."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False).replace(
        "<", "\\u003c"
    )


def data_url(content: bytes, kind: str) -> str:
    """Return an image as a URL that holds it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _policy(style: str, script: str) -> str:
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script))
    styles, scripts = (f"'sha256-{each}'" for each in hashes)
    return (
        f"default-src 'none'; img-src 'self' file: data:; style-src {styles}; script-src {scripts}; "
        "base-uri 'none'; form-action 'none'"
    )

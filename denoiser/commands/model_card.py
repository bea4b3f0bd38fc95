"""A model's card for a person. Cards may come from anywhere: what is not as it should be is left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_TEXTS = {
    "trained_on": "Trained on",
    "validated_on": "Judged on",
    "noise": "Noise",
    "terms": "Terms",
    "made": "Made",
    "averaged": "Averaged",
}
_WIDTH = 15


def lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield lines on a model; `facts` is what `denoise models show --json` prints."""
    card = facts["card"]
    million = facts["parameters"] / 1e6
    yield f"{facts['name']}: {facts['network']}, {million:.2f} M weights, mode {facts['mode']}"
    yield f"  File: {facts['file']} ({facts['bytes'] / 1e6:.2f} MB)"
    yield f"  SHA-256: {facts['sha256']}"
    for field, name in _TEXTS.items():
        value = card.get(field)
        if isinstance(value, str) and value:
            yield f"  {name}: {value}"
    if _is_number(card.get("patches")) and _is_number(card.get("minutes")):
        yield f"  Length: {card['patches']:,.0f} patches in {card['minutes']:g} minutes"
    for warning in _list(card.get("warnings")):
        if isinstance(warning, str):
            yield f"  Warning: {warning}"
    if "page" in facts:
        yield f"  Page of its training: {facts['page']} (--open opens it)"
    yield from _figures(card)


def _figures(card: Mapping[str, Any]) -> Iterator[str]:
    """Yield the figures as a table: PSNR in dB, and SSIM where it is known."""
    rows = [row for row in (card.get("validation"), *_list(card.get("figures"))) if _is_figure(row)]
    if rows:
        names = [_noise(row) for row in rows]
        width = max(map(len, ("On patches it has not seen:", *names)))
        heads = ("noisy dB", "restored dB", "noisy SSIM", "restored SSIM")
        yield f"  {'On patches it has not seen:':<{width}}" + "".join(f"{head:>{_WIDTH}}" for head in heads)
        for name, row in zip(names, rows, strict=True):
            cells = [
                *(_cell(row[key], 2, "exact") for key in ("input_db", "output_db")),
                *(_cell(row.get(key), 3, "") for key in ("input_ssim", "output_ssim")),
            ]
            yield f"  {name:<{width}}" + "".join(f"{cell:>{_WIDTH}}" for cell in cells).rstrip()
    without = card.get("without_clean")
    if isinstance(without, Mapping):
        yield "  Learnt without clean images; these figures need none:"
        for key, value in without.items():
            if isinstance(value, str) or _is_number(value):
                shown = value if isinstance(value, str) else f"{value:.4g}"
                yield f"    {str(key).replace('_', ' ')}: {shown}"


def _noise(row: Mapping[str, Any]) -> str:
    if row["input_db"] is None:
        return "none: clean images"
    return "as it was learnt" if row["noise"] == "validation" else str(row["noise"])


def _cell(value: Any, digits: int, otherwise: str) -> str:
    return f"{value:.{digits}f}" if _is_number(value) else otherwise


def _is_figure(row: Any) -> bool:
    keys = ("input_db", "output_db")
    return isinstance(row, Mapping) and isinstance(row.get("noise"), str) and all(key in row for key in keys)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []

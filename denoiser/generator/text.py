"""Made-up text with all that real text has: capitals, digits, punctuation, accents."""

from __future__ import annotations

import string
from functools import cache

import numpy as np

from denoiser.generator.canvas import Random, words

#: Letters with accents, by the plain letter.
ACCENTS = {"a": "àáäâå", "e": "éèêë", "o": "óöôø", "u": "üúù", "i": "íï", "n": "ñ", "c": "ç"}
_ENDS = (".", ".", ".", ".", "?", "!", ":")
_INSIDE = (",", ",", ",", ";", " -", ":")


@cache
def _vocabulary() -> tuple[str, ...]:
    """Words of a fixed, made-up language; drawing them anew for every page would cost more than the page."""
    rng = np.random.default_rng(7)
    letters = np.array(list(string.ascii_lowercase))
    found = words(rng, 1600)
    for _ in range(500):
        found.append("".join(rng.choice(letters, int(rng.integers(1, 10)))))
    for index in range(0, 400, 2):
        word = found[index]
        place = int(rng.integers(len(word)))
        if several := ACCENTS.get(word[place]):
            found[index] = f"{word[:place]}{several[rng.integers(len(several))]}{word[place + 1 :]}"
    return tuple(found)


_PLAIN = str.maketrans({sign: plain for plain, signs in ACCENTS.items() for sign in signs})


def prose(rng: Random, number: int, *, accents: bool = True) -> list[str]:
    """`number` words with the signs of sentences attached, the first of each sentence with a capital."""
    vocabulary = _vocabulary()
    chosen = rng.integers(0, len(vocabulary), number)
    draws = rng.random(number)
    signs = rng.integers(0, 1 << 30, number)
    result = []
    begins = bool(rng.random() < 0.5)
    for index, draw, sign in zip(chosen.tolist(), draws.tolist(), signs.tolist(), strict=True):
        word = vocabulary[index] if accents else vocabulary[index].translate(_PLAIN)
        if begins or draw > 0.95:
            word = word.capitalize()
        begins = False
        if draw < 0.08:
            word += _ENDS[sign % len(_ENDS)]
            begins = True
        elif draw < 0.16:
            word += _INSIDE[sign % len(_INSIDE)]
        elif draw < 0.18:
            word = f"({word})"
        elif draw < 0.19:
            word = f'"{word}"'
        elif draw < 0.21:
            word = word.upper()
        elif draw < 0.25:
            word = number_text(sign)
        result.append(word)
    return result


def number_text(seed: int) -> str:
    """A figure such as documents have: a count, a sum, a date, a share, a reference."""
    small, large = seed % 89 + 1, seed % 98765
    forms = (
        f"{large}", f"{large / 100:.2f}", f"{large:,}",
        f"{small % 28 + 1}.{small % 12 + 1}.{1900 + seed % 140}",
        f"{small}%", f"[{small}]", f"${large / 10:.0f}", f"{small}/{large}", f"No.{small}",
        f"+{large}-{small}", f"{small} & {small + 3}", f"#{large}*", f"x={small}",
    )  # fmt: skip
    return forms[seed // 7 % len(forms)]

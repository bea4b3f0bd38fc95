"""Made-up text with capitals, digits, punctuation and accents."""

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
    """Return the words of a made-up language, made once: new ones would take longer than a page."""
    rng = np.random.default_rng(7)
    letters = np.array(list(string.ascii_lowercase))
    vocabulary = words(rng, 1600)
    for _ in range(500):
        vocabulary.append("".join(rng.choice(letters, int(rng.integers(1, 10)))))
    for index in range(0, 400, 2):
        word = vocabulary[index]
        at = int(rng.integers(len(word)))
        if accented := ACCENTS.get(word[at]):
            vocabulary[index] = f"{word[:at]}{accented[rng.integers(len(accented))]}{word[at + 1 :]}"
    return tuple(vocabulary)


_PLAIN = str.maketrans({sign: plain for plain, signs in ACCENTS.items() for sign in signs})


def prose(rng: Random, number: int, *, accents: bool = True) -> list[str]:
    """Return `number` words of sentences, with capitals and punctuation."""
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
    """Return a number as documents have it: a count, a sum, a date, a share, a reference."""
    small, large = seed % 89 + 1, seed % 98765
    forms = (
        f"{large}", f"{large / 100:.2f}", f"{large:,}",
        f"{small % 28 + 1}.{small % 12 + 1}.{1900 + seed % 140}",
        f"{small}%", f"[{small}]", f"${large / 10:.0f}", f"{small}/{large}", f"No.{small}",
        f"+{large}-{small}", f"{small} & {small + 3}", f"#{large}*", f"x={small}",
    )  # fmt: skip
    return forms[seed // 7 % len(forms)]

"""In which precision a training multiplies: float32, or bfloat16 where that is faster.

Only the operands of the products of a PatchAutoencoder are ever bfloat16. What is learnt, summed and put out
stays float32, and so do the files: over 30,000 patches both gave the same curve to 0.01 dB.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from denoiser.errors import DeviceError, UsageError
from denoiser.system import hardware

log = logging.getLogger(__name__)

Precision = Literal["float32", "bfloat16"]
PRECISIONS = ("auto", "float32", "bfloat16")

POLICIES: dict[Precision, str] = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
"""Keras's dtype policies."""

_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
_WORTH_MINUTES = 5.0
_STEPS, _ROUNDS = 6, 2


def check(precision: str, kind: str) -> None:
    """Raise UsageError for a precision that there isn't, or that this kind of network doesn't know."""
    if precision not in PRECISIONS:
        raise UsageError(
            f"There is no precision {precision!r}.", f"The precisions are {', '.join(PRECISIONS)}."
        )
    if precision == "bfloat16" and kind != "PatchAutoencoder":
        raise UsageError("digits learns in float32 only.", "Leave out --precision.")


def choose(
    precision: str,
    make: Callable[[str], Any],
    batch: tuple[Any, Any],
    *,
    kind: str,
    minutes: float | None,
    before: Precision | None = None,
) -> tuple[Precision, str]:
    """Choose the precision of a training; return it and why, as words for people.

    precision: "auto", "float32" or "bfloat16". make: makes a compiled Keras model of the network with a dtype
    policy. batch: inputs and targets of one step. minutes: the budget, None for one in epochs. before: the
    precision of the unfinished training that this one goes on with.

    "auto" measures some steps of both where the processor or the GPU multiplies bfloat16 and the budget is
    worth it. A budget in epochs is meant to be repeatable, so "auto" is float32 there.

    Raises DeviceError for a backend that can't multiply bfloat16, where that was asked for.
    """
    if precision == "float32":
        return "float32", "as asked"
    if precision == "bfloat16":
        _require_bfloat16()
        return "bfloat16", "as asked"
    if before in POLICIES:
        return before, "as it began"
    if kind != "PatchAutoencoder":
        return "float32", "the one precision of this network"
    if minutes is None:
        return "float32", "so that the same seed gives the same weights"
    if minutes < _WORTH_MINUTES:
        return "float32", "too short a training to measure which is faster"
    if not _may_be_faster():
        return "float32", "nothing here multiplies bfloat16 faster"
    try:
        _require_bfloat16()
    except DeviceError as error:
        return "float32", error.message
    rates: dict[Precision, float] = {name: _rate(make(policy), batch) for name, policy in POLICIES.items()}
    best = max(rates, key=lambda name: rates[name])
    words = ", ".join(f"{name} {rate:,.0f} patches/s" for name, rate in rates.items())
    return best, f"measured: {words}"


def _may_be_faster() -> bool:
    """Return False if neither this processor nor a GPU has instructions for bfloat16."""
    if hardware.may_have_gpu():
        return True
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return bool(_FLAGS & set(flags.partition(":")[2].split()))


def _require_bfloat16() -> None:
    import keras

    try:
        ones = keras.ops.ones((2, 2), dtype="bfloat16")
        keras.ops.convert_to_numpy(keras.ops.cast(keras.ops.matmul(ones, ones), "float32"))
    except Exception as error:  # whatever a backend raises for a type that it lacks
        log.debug("bfloat16", exc_info=True)
        raise DeviceError(
            f"Keras's backend {keras.backend.backend()} can't multiply bfloat16 here.",
            "Use --precision float32, or leave it out.",
        ) from error


def _rate(model: Any, batch: tuple[Any, Any]) -> float:
    """Patches a second of a compiled model, the best of some rounds."""
    inputs, clean = batch
    weights = np.ones(clean.shape[:2], np.float32)
    model.train_on_batch(inputs, clean, sample_weight=weights)  # compiles
    best = 0.0
    for _ in range(_ROUNDS):
        begun = time.perf_counter()
        for _ in range(_STEPS):
            model.train_on_batch(inputs, clean, sample_weight=weights)
        best = max(best, _STEPS * len(clean) / (time.perf_counter() - begun))
    return best

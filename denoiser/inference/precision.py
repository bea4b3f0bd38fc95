"""Precision of a network's products: float32, or bfloat16 where that is faster.

Only the operands of products of a PatchAutoencoder are ever bfloat16. Weights, sums, inputs and outputs stay
float32.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from denoiser.errors import DeviceError, UsageError
from denoiser.system import hardware

if TYPE_CHECKING:
    from denoiser.weights.modelfile import ModelFile

log = logging.getLogger(__name__)

Precision = Literal["float32", "bfloat16"]
PRECISIONS = ("auto", "float32", "bfloat16")

POLICIES: dict[Precision, str] = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
"""Keras's dtype policies."""

_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}


def require_known(precision: str) -> None:
    """Raise UsageError if there is no such precision."""
    if precision not in PRECISIONS:
        raise UsageError(
            f"There is no precision {precision!r}.", f"The precisions are {', '.join(PRECISIONS)}."
        )


def require_bfloat16_network(model: ModelFile) -> None:
    """Raise UsageError if a model's network computes in float32 only."""
    if model.kind != "PatchAutoencoder":
        raise UsageError(
            f"{model.name} computes in float32 only.", "Leave out --precision, or write --precision float32."
        )


def may_be_faster() -> bool:
    """Return False if neither this processor nor a GPU has instructions for bfloat16."""
    if hardware.may_have_gpu():
        return True
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return bool(_FLAGS & set(flags.partition(":")[2].split()))


def require_bfloat16() -> None:
    """Raise DeviceError if Keras's backend can't multiply bfloat16."""
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

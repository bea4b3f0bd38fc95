"""A request for a network to one published model file.

`task` checks what is asked for, and `recipes` say how each network is taught; `datasets` finds or draws what
it learns from. `run` is the whole way, `loop` the method and `checkpoints` what it goes on from after a kill;
`evaluation` and `artifacts` are what is kept of it. All keep to what every Keras backend has. Keras is
imported inside functions, so that importing this package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from denoiser.training.api import train as train

__all__ = ["train"]


def __getattr__(name: str) -> Any:
    if name != "train":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from denoiser.training.api import train

    return train

"""Training: from a request for a network to one published model file.

`task` checks the request and resolves it, with the settings in `recipes`, into a `plan`. `datasets` finds or
generates the images. `run` carries out the plan, `loop` fits the weights, and a killed training resumes from
`checkpoints`; `evaluation` and `artifacts` report the result. All modules run on every Keras backend. They
import Keras inside functions, so that importing this package is cheap.
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

"""Teaching a network: fitting it, going on after a kill, and everything that is kept of a training.

`fitting` is the method and `checkpoints` what it goes on from; `network` is the whole way for a known
network, from data to one published file; `outcome`, `picture` and `curve` are what it leaves beside that
file. All keep to what every Keras backend has. Keras is imported inside functions, so that importing this
package costs nothing.
"""

from __future__ import annotations

from denoiser.training.api import train
from denoiser.training.loop import CHECKS, History, Point, Tick, fit
from denoiser.training.metrics import errors_of, psnr, ssim, weights_of
from denoiser.training.run import DEFAULT_MINUTES, train_network

__all__ = [
    "CHECKS",
    "DEFAULT_MINUTES",
    "History",
    "Point",
    "Tick",
    "errors_of",
    "fit",
    "psnr",
    "ssim",
    "train",
    "train_network",
    "weights_of",
]

"""The engines that compute a model's reconstructions: their protocol, and the choice between the two.

The `numpy` engine starts at once and uses the processor; the `keras` engine imports a deep-learning library,
which costs seconds and half a gigabyte, and can use a GPU. Their results differ by at most 1e-4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from denoiser._types import Floats
from denoiser.checks import require_number
from denoiser.errors import DeviceError, UsageError
from denoiser.inference import precision as precisions
from denoiser.system import hardware

if TYPE_CHECKING:
    from denoiser.weights.modelfile import ModelFile


ENGINES = ("numpy", "keras")
DEVICES = ("auto", "cpu", "gpu")

GPU_WORTH = 2e12
"""Multiply-adds below which a job is done on the processor before TensorFlow has found its GPU."""


class Engine(Protocol):
    """Computes one model's reconstructions. All members may be used from several threads at once.

    `jobs` is how many threads of its own it may use from now on; an engine without such threads ignores it.
    """

    jobs: int

    @property
    def name(self) -> str:
        """Which of `ENGINES` it is."""

    @property
    def precision(self) -> precisions.Precision:
        """Precision of the operands of its products."""

    @property
    def device(self) -> str:
        """Where it computes: "cpu", or "gpu" and which one."""

    @property
    def model(self) -> ModelFile:
        """The model it computes."""

    def reconstruct(self, patches: Floats) -> Floats:
        """Reconstruct float32 patches, values about 0..1; the result is new, (N, 28, 28) and not clipped.

        Patches are (N, 28, 28), for a network with context (N, 28, 28, planes).
        """

    def close(self) -> None:
        """Free its buffers; a later `reconstruct` allocates them again."""


@dataclass(frozen=True)
class EngineFacts:
    """What is to be known of an engine that other processes open; see `Engine`."""

    name: str
    device: str
    precision: precisions.Precision
    model: ModelFile


def open_engine(
    model: ModelFile,
    *,
    engine: str | None = None,
    device: str = "auto",
    jobs: int | None = None,
    batch_size: int | None = None,
    precision: str = "float32",
    patches: int | None = None,
) -> Engine:
    """Choose an engine and open it for a model.

    `engine` is "numpy", "keras" or None, which takes the one that suits the device; `device` "cpu", "gpu" or
    "auto". With neither given, a GPU is used if there is one and the job is worth the import: `patches` is
    the number of patches in it, None if that isn't known, which counts as many. `jobs` is the number of
    threads of the numpy engine (None: one for each core this process may use), `batch_size` the number of
    patches that the keras engine computes at once (None: its own choice). `precision` is "float32",
    "bfloat16", for which the keras engine is taken, or "auto": on the keras engine the faster of both.

    Raises UsageError for values that don't exist or don't go together, DeviceError for a GPU that isn't there
    or can't be used.
    """
    require(engine=engine, device=device, jobs=jobs, batch_size=batch_size, precision=precision)
    if precision == "bfloat16":
        engine = "keras"
    if not may_need_keras(model, engine=engine, device=device, precision=precision, patches=patches):
        return _numpy(model, jobs)
    hardware.require_keras("The keras engine" if engine == "keras" else f"The device {device}")
    from denoiser.inference.keras_engine import KerasEngine, gpu

    if engine is None and device == "auto" and gpu() is None:
        return _numpy(model, jobs)
    return KerasEngine(model, device=device, batch_size=batch_size, precision=precision)


def may_need_keras(
    model: ModelFile,
    *,
    engine: str | None = None,
    device: str = "auto",
    precision: str = "float32",
    patches: int | None = None,
    **_: object,
) -> bool:
    """Whether `open_engine`, given the same, imports Keras: to compute with it, or to look for a GPU."""
    if engine is not None or precision == "bfloat16":
        return engine != "numpy"
    if device == "auto":
        return _worth(model, patches) and hardware.may_have_gpu() and hardware.has_keras()
    return device != "cpu"


def require(
    *,
    engine: str | None = None,
    device: str = "auto",
    jobs: int | None = None,
    batch_size: int | None = None,
    precision: str = "float32",
) -> None:
    """Raise the errors of `open_engine` that can be found before a model is loaded."""
    if engine not in (None, *ENGINES):
        raise UsageError(f"There is no engine {engine!r}.", f"The engines are {' and '.join(ENGINES)}.")
    if device not in DEVICES:
        raise UsageError(f"There is no device {device!r}.", f"The devices are {', '.join(DEVICES)}.")
    if engine == "numpy" and device == "gpu":
        raise UsageError("The numpy engine computes on the CPU only.", "For a GPU, leave out --engine numpy.")
    precisions.require_known(precision)
    if engine == "numpy" and precision == "bfloat16":
        raise UsageError("The numpy engine computes in float32 only.", "For bfloat16, add --engine keras.")
    for name, value in (("jobs", jobs), ("batch size", batch_size)):
        if value is not None:
            require_number(name, value, whole=True)
            if value < 1:
                raise UsageError(f"The {name} must be at least 1, not {value}.")
    if device == "gpu" and not hardware.may_have_gpu():
        raise DeviceError("There is no GPU that TensorFlow could use.", "Use --device cpu, or leave it out.")


def _numpy(model: ModelFile, jobs: int | None) -> Engine:
    from denoiser.inference.numpy_engine import NumpyEngine

    return NumpyEngine(model, jobs=jobs)


def _worth(model: ModelFile, patches: int | None) -> bool:
    return patches is None or patches * model.config.multiply_adds >= GPU_WORTH

"""The Keras models as an engine: for a GPU, and as the reference for the numpy engine.

Importing this module imports Keras and its backend. A compiled function takes one shape of batch, so that it
is compiled once; the last batch of a call is filled up with zeros.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from denoiser._types import PATCH, Floats
from denoiser.errors import DeviceError
from denoiser.inference import precision as precisions
from denoiser.inference.document import is_for_paper
from denoiser.inference.numpy_engine import checked
from denoiser.inference.precision import Precision
from denoiser.system.stderr import quietly
from denoiser.weights.modelfile import ModelFile

with quietly():
    import keras

    from denoiser import models

log = logging.getLogger(__name__)

Compute = Callable[[Floats], Any]

_CPU_BATCH = 256
_GPU_BATCH = 4096
_TIMED = 3

_FUSED = ("gpu",)
"""Where TensorFlow compiles with XLA. On a processor its own products are faster: 1.0 to 1.2 times in
float32, 1.6 times in bfloat16 (docs/explain/experiments.md)."""


class KerasEngine:
    """Computes a model with Keras, on the backend that `KERAS_BACKEND` names (TensorFlow if none).

    `device` is "auto", "cpu" or "gpu"; `batch_size` the number of patches computed at once, None for one that
    suits the device. Where the device's memory doesn't hold a batch, half of it is tried, and so on.
    `precision` is "float32", "bfloat16", or "auto", which times a few batches in both and takes the faster.
    Only a PatchAutoencoder has products in bfloat16; an Autoencoder always computes in float32.

    Raises DeviceError for a GPU that the backend can't use, or bfloat16 that it can't multiply.
    """

    name = "keras"
    jobs = 1

    def __init__(
        self,
        model: ModelFile,
        *,
        device: str = "auto",
        batch_size: int | None = None,
        precision: str = "float32",
    ) -> None:
        found = None if device == "cpu" else gpu()
        if device == "gpu" and found is None:
            raise DeviceError(
                f"{keras.backend.backend()} finds no GPU that it can use.",
                "Install the extra denoiser[gpu], or use --device cpu.",
            )
        self.model = model
        self.device = f"gpu ({found})" if found else "cpu"
        self.batch_size = batch_size or (_GPU_BATCH if found else _CPU_BATCH)
        self._place = "gpu:0" if found else "cpu:0"
        self._compute: Compute | None = None
        self.precision: Precision = self._chosen(precision)
        self._lock = threading.Lock()

    def reconstruct(self, patches: Floats) -> Floats:
        """Reconstruct patches.

        `patches` is (N, 28, 28), for a network with context (N, 28, 28, planes), values about 0..1. Returns a
        new float32 (N, 28, 28), not clipped. Raises ValueError for another shape, DeviceError where the
        memory doesn't hold a single patch.
        """
        given = checked(patches, self.model)
        result = np.empty((len(given), PATCH, PATCH), np.float32)
        with self._lock:
            start = 0
            while start < len(given):
                part = given[start : start + self.batch_size]
                try:
                    done = self._batch(part)
                except Exception as error:
                    if not out_of_memory(error):
                        raise
                    self._halve()
                    continue
                result[start : start + len(part)] = done
                start += len(part)
        return result

    def _batch(self, part: Floats) -> Floats:
        if self._compute is None:
            self._compute = self._compiled(self.precision)
        batch = part
        if len(part) < self.batch_size:
            batch = np.zeros((self.batch_size, *part.shape[1:]), np.float32)
            batch[: len(part)] = part
        done = np.asarray(keras.ops.convert_to_numpy(self._compute(batch)), np.float32)
        return done[: len(part)]

    def _compiled(self, precision: Precision) -> Compute:
        with keras.device(self._place):
            return compiled(models.from_file(self.model, dtype=precisions.POLICIES[precision]), self._place)

    def _chosen(self, precision: str) -> Precision:
        """Return the precision to compute in; "auto" measures."""
        if self.model.kind != "PatchAutoencoder" or precision == "float32":
            return "float32"
        if precision == "bfloat16":
            precisions.require_bfloat16()
            return "bfloat16"
        if is_for_paper(self.model):  # rounded, blank paper is not white to the last pixel
            return "float32"
        try:
            if not precisions.may_be_faster():
                return "float32"
            precisions.require_bfloat16()
        except DeviceError:
            return "float32"
        batch = np.zeros((self.batch_size, *self.model.config.input_shape), np.float32)
        rates = {name: _seconds(self._compiled(name), batch) for name in precisions.POLICIES}
        return min(rates, key=lambda name: rates[name])

    def _halve(self) -> None:
        if self.batch_size == 1:
            raise DeviceError(
                f"The memory of the {self.device} does not hold a single patch.",
                "Use --device cpu, or end what else is using it.",
            ) from None
        self.batch_size = (self.batch_size + 1) // 2
        log.info("out of memory: going on with batches of %d patches", self.batch_size)

    def close(self) -> None:
        """Free the model; a later call makes it again."""
        with self._lock:
            self._compute = None


def _seconds(compute: Compute, batch: Floats) -> float:
    """Return the time of a batch, the shortest of some, after one that compiles."""
    times = []
    for _ in range(1 + _TIMED):
        begun = time.perf_counter()
        keras.ops.convert_to_numpy(compute(batch))
        times.append(time.perf_counter() - begun)
    return min(times[1:])


def gpu() -> str | None:
    """Return the name of the GPU that the backend would use; None if it has none."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        with quietly():
            devices = tf.config.list_physical_devices("GPU")
        for device in devices:
            try:
                # Without this, TensorFlow takes all of the memory at once, from everybody else.
                tf.config.experimental.set_memory_growth(device, True)
            except (RuntimeError, ValueError):
                break  # it is running already: whoever started it has chosen
        if not devices:
            return None
        details = tf.config.experimental.get_device_details(devices[0])
        return str(details.get("device_name", "GPU"))
    if backend == "jax":
        jax: Any = import_module("jax")
        return next((str(each.device_kind) for each in jax.devices() if each.platform in _JAX_GPUS), None)
    if backend == "torch":
        torch: Any = import_module("torch")
        return str(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else None
    return None


_JAX_GPUS = ("gpu", "cuda", "rocm")


def compiled(model: Any, place: str) -> Compute:
    """Compile a Keras model's forward pass for its backend, in full float32 precision.

    `place` is where the weights are and the work is done: "cpu:0" or "gpu:0".
    """
    makers = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
    maker = makers.get(keras.backend.backend())
    return maker(model, place) if maker else model


def _tensorflow(model: Any, place: str) -> Compute:
    import tensorflow as tf

    # TF32 keeps 10 bits of every factor: fast, and visible in 16-bit images.
    tf.config.experimental.enable_tensor_float_32_execution(False)

    def forward(batch: Any) -> Any:
        with tf.device(f"/{place}"):
            return model(batch)

    attempts = (True, False) if place.startswith(_FUSED) else (False,)
    ways = [tf.function(forward, jit_compile=jit, reduce_retracing=False) for jit in attempts]

    def compute(batch: Floats) -> Any:
        with tf.device(f"/{place}"):
            given = tf.constant(batch)
            try:
                return ways[0](given)
            except (tf.errors.OpError, ValueError, NotImplementedError) as error:
                if len(ways) == 1 or out_of_memory(error):
                    raise
                log.info("not compiled with XLA: %s", error)
                ways.pop(0)
                return ways[0](given)

    return compute


def _jax(model: Any, place: str) -> Compute:
    jax: Any = import_module("jax")
    trainable = [variable.value for variable in model.trainable_variables]
    other = [variable.value for variable in model.non_trainable_variables]
    device = jax.devices(None if place.startswith("gpu") else "cpu")[0]
    weights = jax.device_put((trainable, other), device)

    def forward(weights: Any, batch: Any) -> Any:
        return model.stateless_call(*weights, batch)[0]

    jitted = jax.jit(forward)

    def compute(batch: Floats) -> Any:
        with jax.default_matmul_precision("highest"):
            return jitted(weights, jax.device_put(batch, device))

    return compute


def _torch(model: Any, place: str) -> Compute:
    torch: Any = import_module("torch")
    torch.backends.cuda.matmul.allow_tf32 = False
    where = "cuda" if place.startswith("gpu") else "cpu"
    model.to(where)

    def compute(batch: Floats) -> Any:
        with keras.device(place), torch.no_grad():
            return model(torch.from_numpy(batch).to(where))

    return compute


def out_of_memory(error: BaseException) -> bool:
    """Return True if an error means that the device's memory is full, whatever the backend."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ in ("ResourceExhaustedError", "OutOfMemoryError")
        or "RESOURCE_EXHAUSTED" in str(error)
    )

"""Write a model as one small `.keras` file, and make a Keras model from such a file.

`model.save` writes the optimizer's state, too, which is twice the size of the weights. `publish` leaves it
out, can halve the weights and compresses large ones. Plain Keras still loads the file.
"""

from __future__ import annotations

import io
import os
import tempfile
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Literal

import h5py
import numpy as np

from denoiser.system.atomic import replacing
from denoiser.weights import modelfile
from denoiser.weights.modelfile import ModelFile

Precision = Literal["float32", "float16"]
_WEIGHTS = "model.weights.h5"
_PLAIN_BYTES = 2_800_000
"""Weights up to this size are not compressed: unpacking would cost a reader more time than reading."""


def publish(
    model: Any,
    path: str | os.PathLike[str],
    card: dict[str, Any] | None = None,
    *,
    precision: Precision = "float32",
) -> Path:
    """Write an Autoencoder or PatchAutoencoder as one compact `.keras` file, atomically.

    The file lacks the optimizer's state, and `model` is not changed. A missing folder is created.

    Args:
        model: Model to write.
        path: File to write.
        card: Model card for the file; None writes the model's own.
        precision: "float16" halves the size: the file then loads as float32 weights with 11 significant bits.

    Returns:
        The path.

    Raises:
        ValueError: A weight is not finite, or too large for the precision.
        OSError: The file can't be written.
    """
    from keras import ops

    path = Path(path)
    config = {key: value for key, value in model.get_config().items() if key != "dtype"}
    copy = type(model).from_config({**config, "card": model.card if card is None else card})
    limit = np.finfo(precision).max
    sources, targets = model.named_weights(), copy.named_weights()
    for name, source in sources.items():
        value = np.asarray(ops.convert_to_numpy(source), np.float32)
        if not np.all(np.abs(value) <= limit):
            raise ValueError(f"weight {name} is not finite, or too large for {precision}")
        targets[name].assign(value)
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.keras"
        copy.save(plain)
        with replacing(path) as file:
            _write(plain, file, precision)
    return path


def from_file(file: str | Path | ModelFile, *, dtype: str = "float32") -> Any:
    """Return the Keras model of a file, with its weights and card.

    Args:
        file: A .keras file, or the result of `denoiser.weights.modelfile.read`.
        dtype: Keras's dtype policy; the variables are always float32.

    Raises:
        ModelError: The file is missing, damaged or of another kind.
    """
    if not isinstance(file, ModelFile):
        file = modelfile.read(Path(file))
    from denoiser.models.autoencoder import Autoencoder
    from denoiser.models.patch_autoencoder import PatchAutoencoder

    classes = {"Autoencoder": Autoencoder, "PatchAutoencoder": PatchAutoencoder}
    model = classes[file.kind](**asdict(file.config), card=file.card, dtype=dtype)
    for name, variable in model.named_weights().items():
        variable.assign(file.weights[name])
    return model


def _write(source: Path, target: IO[bytes], precision: Precision) -> None:
    """Copy a `.keras` file, with its weights in the given precision."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for member in old.namelist():
            content = old.read(member)
            if member == _WEIGHTS:
                new.writestr(member, _weights(content, precision))
            else:
                new.writestr(member, content, zipfile.ZIP_DEFLATED)


def _weights(content: bytes, precision: Precision) -> bytes:
    """Convert Keras's weights file to a precision, and compress it if it is large."""
    buffer = io.BytesIO()
    with h5py.File(io.BytesIO(content), "r") as old, h5py.File(buffer, "w") as new:
        arrays: dict[str, Any] = {}

        def copy(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                arrays[name] = item[()].astype(precision)
            else:
                new.require_group(name).attrs.update(item.attrs)

        old.visititems(copy)
        compress = sum(value.nbytes for value in arrays.values()) > _PLAIN_BYTES
        for name, value in arrays.items():
            # `denoiser.weights.modelfile` unpacks exactly this and nothing else.
            packing = {"shuffle": True, "compression": "gzip", "chunks": value.shape} if compress else {}
            new.create_dataset(name, data=value, **packing)
    return buffer.getvalue()

"""Facts of an engine that another process opens."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from denoiser.errors import DeviceError
from denoiser.inference.engine import Engine, EngineFacts, may_need_keras
from denoiser.inference.engine_apart import facts_of
from denoiser.inference.numpy_engine import NumpyEngine
from denoiser.weights import modelfile
from denoiser.weights.modelfile import ModelFile

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")


def test_the_facts_are_those_of_the_engine(identity: Path) -> None:
    model = modelfile.read(identity)
    assert facts_of(model, NumpyEngine) == EngineFacts("numpy", "cpu", "float32", model)


def test_what_opening_raises_is_raised_here(identity: Path) -> None:
    def refuse(_: ModelFile) -> Engine:
        raise DeviceError("There is no such device.", "Use another.")

    with pytest.raises(DeviceError, match=r"no such device\. Use another"):
        facts_of(modelfile.read(identity), refuse)


def test_a_library_that_ends_the_process_is_an_error(identity: Path) -> None:
    with pytest.raises(DeviceError, match=r"its process ended \(exit code 3\)"):
        facts_of(modelfile.read(identity), lambda _: os._exit(3))


def test_keras_is_only_needed_where_it_may_compute(identity: Path) -> None:
    model = modelfile.read(identity)
    assert may_need_keras(model, engine="keras", device="cpu")
    assert may_need_keras(model, precision="bfloat16", device="cpu")
    assert may_need_keras(model, device="gpu")
    assert not may_need_keras(model, device="cpu")
    assert not may_need_keras(model, engine="numpy")
    assert not may_need_keras(model, patches=1)

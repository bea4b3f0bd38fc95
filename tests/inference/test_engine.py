"""Which engine a job runs on, and what tells that there is a GPU."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from denoiser.errors import DeviceError, UsageError
from denoiser.inference.engine import open_engine
from denoiser.weights.architectures import DenseConfig
from denoiser.weights.modelfile import ModelFile
from tests.helpers.chance import ALONE, random_model


class Choice:
    """What `open_engine` does on a machine with, or without, a GPU, and what it imports."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, driver: bool, usable: bool) -> None:
        import types

        self.imported = False
        module: Any = types.ModuleType("denoiser.inference.keras_engine")
        choice = self

        class Fake:
            name = "keras"

            def __init__(
                self, model: ModelFile, *, device: str, batch_size: int | None, precision: str
            ) -> None:
                choice.imported = True
                self.model, self.device, self.batch_size = model, device, batch_size
                self.precision = precision

        module.KerasEngine, module.gpu = Fake, lambda: "A GPU" if usable else None
        monkeypatch.setitem(sys.modules, "denoiser.inference.keras_engine", module)
        monkeypatch.setattr("denoiser.system.hardware.may_have_gpu", lambda: driver)
        monkeypatch.setattr("denoiser.system.hardware.has_keras", lambda: True)  # or what stands for it

    def open(self, **options: Any) -> Any:
        return open_engine(ALONE["PatchAutoencoder"], **options)


MANY = 10**9


class TestChoosing:
    def test_without_a_gpu_it_is_numpy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        choice = Choice(monkeypatch, driver=False, usable=False)
        assert choice.open().name == "numpy"
        assert choice.open(patches=MANY).name == "numpy"
        assert choice.open(device="cpu").name == "numpy"
        assert not choice.imported

    def test_a_gpu_is_taken_for_work_that_is_worth_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        choice = Choice(monkeypatch, driver=True, usable=True)
        assert choice.open(patches=100).name == "numpy"
        assert choice.open(patches=MANY).name == "keras"
        assert choice.open().name == "keras"
        assert choice.open(patches=MANY, device="cpu").name == "numpy"
        assert choice.open(patches=MANY, engine="numpy").name == "numpy"
        assert choice.open(patches=1, device="gpu", batch_size=7).batch_size == 7

    def test_a_gpu_that_the_library_cannot_use_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert Choice(monkeypatch, driver=True, usable=False).open(patches=MANY).name == "numpy"

    def test_keras_on_the_cpu_by_wish(self, monkeypatch: pytest.MonkeyPatch) -> None:
        choice = Choice(monkeypatch, driver=False, usable=False)
        assert choice.open(engine="keras", device="cpu").device == "cpu"
        assert choice.open(engine="keras").name == "keras"

    def test_bfloat16_is_for_keras(self, monkeypatch: pytest.MonkeyPatch) -> None:
        choice = Choice(monkeypatch, driver=False, usable=False)
        assert choice.open(precision="bfloat16").precision == "bfloat16"
        assert choice.open(precision="bfloat16", device="cpu").name == "keras"
        assert choice.open(precision="auto").name == "numpy"
        assert choice.open(precision="auto").precision == "float32"
        assert choice.open(precision="auto", engine="keras").precision == "auto"

    def test_a_gpu_that_is_not_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        choice = Choice(monkeypatch, driver=False, usable=False)
        for engine in (None, "keras"):
            with pytest.raises(DeviceError, match="no GPU") as caught:
                choice.open(engine=engine, device="gpu")
            assert caught.value.hint
        assert not choice.imported

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"engine": "numpy", "device": "gpu"}, "CPU only"),
            ({"engine": "torch"}, "no engine 'torch'"),
            ({"device": "tpu"}, "no device 'tpu'"),
            ({"jobs": 0}, "jobs must be at least 1"),
            ({"batch_size": -1}, "batch size must be at least 1"),
            ({"precision": "half"}, "no precision 'half'"),
            ({"precision": "bfloat16", "engine": "numpy"}, "float32 only"),
        ],
    )
    def test_what_cannot_be(self, options: Any, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(UsageError, match=words) as caught:
            Choice(monkeypatch, driver=True, usable=True).open(**options)
        assert "\n" not in str(caught.value)

    def test_cost_of_a_patch(self) -> None:
        model = random_model("PatchAutoencoder", {})
        assert model.config.multiply_adds == 49 * 96 * (2 * 64 + 7 * (49 + 2 * 128))
        assert DenseConfig(65).multiply_adds == 2 * 784 * 65

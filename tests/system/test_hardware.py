"""Whether a machine may have a GPU."""

from __future__ import annotations

import os

import pytest

from denoiser.system.hardware import _cuda_devices, may_have_gpu


class TestLookingForAGpu:
    @pytest.fixture(autouse=True)
    def machine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def put(self, monkeypatch: pytest.MonkeyPatch, *, traces: set[str], devices: int) -> None:
        monkeypatch.setattr(os.path, "exists", lambda path: path in traces)
        monkeypatch.setattr("denoiser.system.hardware._cuda_devices", lambda: devices)

    @pytest.mark.parametrize(
        ("traces", "devices", "expected"),
        [
            (set(), 1, False),
            ({"/dev/nvidiactl"}, 1, True),
            ({"/proc/driver/nvidia"}, 0, False),
            ({"/dev/dxg"}, 1, True),
            ({"/dev/kfd"}, 0, True),
        ],
    )
    def test_by_its_driver(
        self, traces: set[str], devices: int, expected: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.put(monkeypatch, traces=traces, devices=devices)
        assert may_have_gpu() is expected

    @pytest.mark.parametrize(("visible", "expected"), [("", False), ("-1", False), (" ", False), ("0", True)])
    def test_that_is_hidden(self, visible: str, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        self.put(monkeypatch, traces={"/dev/nvidiactl"}, devices=1)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert may_have_gpu() is expected

    def test_without_a_driver(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import ctypes

        def missing(_: str) -> None:
            raise OSError("no such library")

        monkeypatch.setattr(ctypes, "CDLL", missing)
        assert _cuda_devices() == 0

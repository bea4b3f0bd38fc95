"""The hardware of this machine: its cores, and whether it may have a GPU."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

from denoiser.errors import DeviceError


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def has_keras() -> bool:
    """Return True if Keras is installed; it is not imported."""
    return importlib.util.find_spec("keras") is not None


def require_keras(purpose: str) -> None:
    """Raise DeviceError if Keras is not installed; `purpose` is the subject of "needs Keras"."""
    if not has_keras():
        raise DeviceError(
            f"{purpose} needs Keras, which is not installed.",
            "Install TensorFlow, which brings it: python -m pip install tensorflow",
        )


def may_have_gpu() -> bool:
    """Return False if this machine certainly has no usable GPU; imports no deep-learning library."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    amd = os.path.exists("/dev/kfd")  # noqa: PTH110 - faster
    if visible is not None and visible.strip() in ("", "-1") and not amd:
        return False
    traces = ("/proc/driver/nvidia", "/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg")
    if amd:
        return True
    if os.name == "posix" and not any(map(os.path.exists, traces)):
        return False
    return _cuda_devices() > 0


def _cuda_devices() -> int:
    """Return the number of devices that NVIDIA's driver reports; 0 without a driver."""
    import ctypes

    try:
        driver: Any = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
        count = ctypes.c_int(0)
        if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
            return 0
    except (OSError, AttributeError):
        return 0
    return count.value

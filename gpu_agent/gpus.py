"""Which GPUs this machine has, asked of NVIDIA's library when there is one.

By ctypes on ``libnvidia-ml.so.1``, which comes with the driver: no package is needed. Without driver, library
or GPU the answer is empty, and never an error: an agent serves without GPUs too. ``CUDA_VISIBLE_DEVICES``
holds for models, so it holds here: numbers as the driver counts, or beginnings of UUIDs.
"""

import ctypes
import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

from coordinator.protocol.messages import Gpu

log = logging.getLogger("cogflare.agent")

LIBRARY = "libnvidia-ml.so.1"
_NAME_BYTES = 96
"""NVML_DEVICE_NAME_V2_BUFFER_SIZE."""
_MOST = 64
_SUCCESS = 0


class _Memory(ctypes.Structure):
    """nvmlMemory_t"""

    _fields_ = (
        ("total", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        ("used", ctypes.c_ulonglong),
    )


class _Failed(Exception):
    """A function of the library said no."""


def gpus(library: str = LIBRARY, environment: Mapping[str, str] = os.environ) -> tuple[Gpu, ...]:
    """The GPUs that models of this process may use. Blocks for as long as the driver needs to wake."""
    try:
        nvml = ctypes.CDLL(library)
    except OSError:
        return ()
    try:
        _call(nvml.nvmlInit_v2)
        try:
            return _all(nvml, environment.get("CUDA_VISIBLE_DEVICES"))
        finally:
            nvml.nvmlShutdown()
    except (_Failed, AttributeError) as error:
        log.warning("this machine's GPUs are not known: %s", error)
        return ()


def _all(nvml: ctypes.CDLL, visible: str | None) -> tuple[Gpu, ...]:
    count = ctypes.c_uint()
    _call(nvml.nvmlDeviceGetCount_v2, ctypes.byref(count))
    found = []
    for index in range(min(count.value, _MOST)):
        device = ctypes.c_void_p()
        name = ctypes.create_string_buffer(_NAME_BYTES)
        uuid = ctypes.create_string_buffer(_NAME_BYTES)
        memory = _Memory()
        try:
            _call(nvml.nvmlDeviceGetHandleByIndex_v2, ctypes.c_uint(index), ctypes.byref(device))
            _call(nvml.nvmlDeviceGetUUID, device, uuid, ctypes.c_uint(_NAME_BYTES))
            if not _shown(index, uuid.value.decode(errors="replace"), visible):
                continue
            _call(nvml.nvmlDeviceGetName, device, name, ctypes.c_uint(_NAME_BYTES))
            _call(nvml.nvmlDeviceGetMemoryInfo, device, ctypes.byref(memory))
        except _Failed as error:
            log.warning("GPU %d is left out: %s", index, error)
            continue
        found.append(Gpu(kind=name.value.decode(errors="replace"), memory_bytes=memory.total))
    return tuple(found)


def _shown(index: int, uuid: str, visible: str | None) -> bool:
    """Whether CUDA_VISIBLE_DEVICES lets models see it."""
    if visible is None:
        return True
    words = [word.strip() for word in visible.split(",")]
    return any(word == str(index) or (word.startswith("GPU-") and uuid.startswith(word)) for word in words)


def _call(function: Callable[..., Any], *arguments: Any) -> None:
    code = function(*arguments)
    if code != _SUCCESS:
        name = getattr(function, "__name__", "NVML")
        raise _Failed(f"{name} answered {code}")

"""GPUs, asked of a real shared library with NVML's functions, compiled here."""

import shutil
import subprocess
from pathlib import Path

import pytest

from coordinator.protocol.messages import Gpu
from gpu_agent.gpus import LIBRARY, gpus

SOURCE = """
#include <string.h>
#ifndef INIT
#define INIT 0
#endif
static int ready = 0;
int nvmlInit_v2(void) { ready = INIT == 0; return INIT; }
int nvmlShutdown(void) { ready = 0; return 0; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = 3; return ready ? 0 : 1; }
static unsigned int devices[3] = {0, 1, 2};
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {
    if (index == 1) return 15;  /* a GPU that has fallen off the bus */
    *device = &devices[index];
    return 0;
}
int nvmlDeviceGetUUID(void *device, char *uuid, unsigned int length) {
    strncpy(uuid, *(unsigned int *)device ? "GPU-2222-b" : "GPU-0000-a", length);
    return 0;
}
int nvmlDeviceGetName(void *device, char *name, unsigned int length) {
    strncpy(name, *(unsigned int *)device ? "NVIDIA L4" : "NVIDIA A100-SXM4-80GB", length);
    return 0;
}
typedef struct { unsigned long long total, free, used; } memory_t;
int nvmlDeviceGetMemoryInfo(void *device, memory_t *memory) {
    memory->total = *(unsigned int *)device ? 24ULL << 30 : 80ULL << 30;
    memory->free = memory->used = 1;
    return 0;
}
"""
A100 = Gpu(kind="NVIDIA A100-SXM4-80GB", memory_bytes=80 << 30)
L4 = Gpu(kind="NVIDIA L4", memory_bytes=24 << 30)
COMPILER = shutil.which("cc") or shutil.which("gcc")


def library(folder: Path, source: str, *options: str) -> str:
    assert COMPILER is not None
    code, made = folder / "nvml.c", folder / LIBRARY
    code.write_text(source)
    subprocess.run([COMPILER, "-shared", "-fPIC", *options, "-o", made, code], check=True)
    return str(made)


needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")


@needs_compiler
@pytest.mark.parametrize(
    ("visible", "found"),
    [
        (None, (A100, L4)),
        ("0", (A100,)),
        ("2,0", (A100, L4)),
        ("GPU-2222", (L4,)),
        ("", ()),
        ("-1", ()),
    ],
)
def test_kinds_and_memory_of_those_that_models_may_use(tmp_path, visible, found):
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert gpus(library(tmp_path, SOURCE), environment) == found


@needs_compiler
def test_a_driver_that_does_not_answer_is_no_error(tmp_path):
    assert gpus(library(tmp_path, SOURCE, "-DINIT=9")) == ()


@needs_compiler
def test_a_library_without_the_functions_is_no_error(tmp_path):
    assert gpus(library(tmp_path, "int nothing(void) { return 0; }")) == ()


def test_without_the_library_there_are_none(tmp_path):
    assert gpus(str(tmp_path / LIBRARY)) == ()

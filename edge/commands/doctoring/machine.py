"""Checks of a machine that runs models: its cards and their driver, and the models' Pythons."""

import contextlib
import ctypes
import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge.commands.doctoring.data import room
from edge.commands.doctoring.findings import Finding, fail, ok, skip, warn
from edge.commands.doctoring.subject import Subject
from edge.quantities import about_size
from gpu_agent.gpus import LIBRARY, gpus
from gpu_agent.interpreters import OLDEST, find, of_models, own_version, probe
from gpu_agent.model_dir import ModelDir, ModelDirError

_NO_CARD = "no NVIDIA card with a driver here; models run without one, too"
CUDA_LIBRARY = "libcuda.so.1"
NVIDIA, DISPLAY = "0x10de", "0x03"
"""PCI: the maker, and what classes of display controllers begin with."""
CUDA_S, TORCH_S = 30.0, 120.0
_TEXT_BYTES = 96
_NVML_HINTS = {
    4: "run this as the user that runs models; in a container give it the devices (--gpus all)",
    9: "load the driver: modprobe nvidia; after an update of kernel or driver, restart the machine",
    12: "install the driver: its library is not whole",
    15: "a card has fallen off the bus: see dmesg, and restart the machine",
    18: "the driver was updated under the running kernel: restart the machine",
}
"""What nvmlReturn_t means for an operator."""
_CUDA_HINTS = {
    3: "another program holds the card, or a driver update needs a restart",
    34: "libcuda.so.1 is the stub of the toolkit: take its folder out of LD_LIBRARY_PATH",
    100: "no card is shown: see CUDA_VISIBLE_DEVICES; in a container start it with --gpus all",
    101: "CUDA_VISIBLE_DEVICES names a card that is not there",
    803: "driver and library are of different versions: restart the machine; in a container use an image "
    "whose CUDA is no newer than the driver's",
    804: "this card cannot run CUDA newer than its driver: update the driver",
    999: "load the module nvidia_uvm: apt install nvidia-modprobe, and restart the agent",
}
"""What cuInit answers, CUresult."""
_CUDA = "import ctypes, sys; print(ctypes.CDLL(sys.argv[1]).cuInit(0))"
_TORCH = """
import json
try:
    import torch
except ModuleNotFoundError:
    print(json.dumps({"version": None}))
else:
    said = ""
    try:
        torch.cuda.init()
    except Exception as error:
        said = str(error)
    print(json.dumps({"version": torch.__version__, "cuda": torch.version.cuda,
                      "available": torch.cuda.is_available(), "said": said}))
"""


@dataclass(frozen=True, slots=True)
class Driver:
    """What NVIDIA's library says. ``code`` is not 0 when it says no more than that."""

    code: int
    version: str = ""
    cuda: tuple[int, int] = (0, 0)
    """The newest CUDA that it runs."""


def driver(
    subject: Subject, *, library: str = LIBRARY, devices: Path = Path("/sys/bus/pci/devices")
) -> Finding:
    """The cards of this machine have a driver that answers."""
    found = driver_of(library)
    cards = cards_of(devices)
    if found is None and not cards:
        return skip(_NO_CARD)
    if found is None:
        return fail(
            f"{cards} NVIDIA card{'s' if cards > 1 else ''}, and no driver ({library} is missing)",
            "install NVIDIA's driver, until nvidia-smi shows the card; in WSL2 the one of Windows",
        )
    if found.code:
        return fail(
            f"the driver does not answer (NVML says {found.code})",
            _NVML_HINTS.get(found.code, "see what nvidia-smi says"),
        )
    shown = [f"{gpu.kind}, {about_size(gpu.memory_bytes)}" for gpu in gpus(library)]
    if not shown:
        return warn(
            f"driver {found.version}, and no card is shown", "see CUDA_VISIBLE_DEVICES and nvidia-smi -L"
        )
    major, minor = found.cuda
    return ok(f"driver {found.version}, up to CUDA {major}.{minor}: {'; '.join(shown)}")


def cuda(subject: Subject, *, library: str = CUDA_LIBRARY, nvml: str = LIBRARY) -> Finding:
    """Models can begin to use the cards. Asked in a process of its own: it may hang, or end it."""
    if driver_of(nvml) is None:
        return skip(_NO_CARD)
    command = [sys.executable, "-c", _CUDA, library]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=CUDA_S, check=False)
    except subprocess.TimeoutExpired:
        return fail(f"CUDA did not begin within {CUDA_S:g} s", "see dmesg, and restart the machine")
    if done.returncode or not done.stdout.strip().isdigit():
        return fail(
            f"{library} cannot be used", "install NVIDIA's driver whole; in a container use --gpus all"
        )
    code = int(done.stdout)
    if code:
        return fail(f"CUDA does not begin (cuInit says {code})", _CUDA_HINTS.get(code, "see dmesg"))
    return ok("it begins")


def state(subject: Subject) -> Finding:
    """The agent can keep results there that it cannot deliver now."""
    folder = subject.state
    if folder is None:
        return skip("no --state")
    nearest = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    if not nearest.is_dir():
        return fail(f"{nearest} is no directory", "give the agent another --state")
    if not os.access(nearest, os.W_OK | os.X_OK):
        return fail(f"{nearest} cannot be written", "run this as the agent's user, or correct its owner")
    found = room(nearest, "make room, or give the agent another --state: results wait there for the server")
    return replace(found, detail=f"{folder}, {found.detail}")


def models(subject: Subject) -> Finding:
    """Each model's folder can be read, and its Python is there."""
    folders = _folders(subject)
    if not folders:
        return skip("no --model")
    told = []
    for folder in folders:
        try:
            model = ModelDir.read(folder, versioned=False)
        except ModelDirError as error:
            return fail(str(error), "name a model's folder with --model")
        wanted = model.build.minor_version
        told.append(f"{folder.name}" + (f" (Python {wanted})" if wanted else ""))
        if subject.python is None and wanted and find(wanted) is None:
            return fail(
                f"{folder} wants Python {wanted}, which this machine does not have",
                f"install it (pyenv install {wanted}), or name another with --python PATH",
            )
    return ok(", ".join(told))


def python(subject: Subject) -> Finding:
    """The interpreter that models run in, or that their environments are made of."""
    if subject.python is not None:
        found = probe(str(subject.python))
        if found is None:
            return fail(f"{subject.python} is no Python that runs", "name an interpreter with --python")
    else:
        own = of_models()
        found = (probe(own[0]) if own else None) or find(own[1] if own else own_version())
        if found is None:
            return fail("no Python here can be run", "install Python 3")
    if tuple(map(int, found.minor_version.split("."))) < OLDEST:
        return fail(f"{found.path} is Python {found.version}", "models run from 3.9 on: name a newer one")
    if subject.python is None:
        done = subprocess.run(
            [found.path, "-I", "-c", "import ensurepip, venv"],
            capture_output=True,
            timeout=CUDA_S,
            check=False,
        )
        if done.returncode:
            return warn(
                f"{found.path} cannot make environments (--install)",
                f"apt install python{found.minor_version}-venv",
            )
    return ok(f"{found.path}, {found.version}")


def torch(subject: Subject, *, nvml: str = LIBRARY) -> Finding:
    """PyTorch of the models' interpreter and this machine's driver go together."""
    found = driver_of(nvml)
    if found is None or found.code:
        return skip(_NO_CARD)
    own = of_models()
    command = [str(subject.python or (own[0] if own else sys.executable)), "-c", _TORCH]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TORCH_S, check=False)
    except subprocess.TimeoutExpired:
        return fail(f"PyTorch did not begin within {TORCH_S:g} s", "see dmesg, and restart the machine")
    said: dict[str, Any] = {}
    with contextlib.suppress(ValueError):
        said = json.loads((done.stdout.strip().splitlines() or [""])[-1])
    if not said:
        last = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
        return fail(f"PyTorch cannot be imported: {last}", "install it anew in the model's environment")
    return _judged(said, found)


def _judged(said: dict[str, Any], driver: Driver) -> Finding:
    version, built_for = said["version"], said.get("cuda")
    if version is None:
        return skip("no PyTorch in the interpreter; name the models' one with --python")
    if not built_for:
        return fail(
            f"PyTorch {version} is built without CUDA",
            "install the build for CUDA: see https://pytorch.org/get-started/locally/",
        )
    if said["available"]:
        return ok(f"PyTorch {version} for CUDA {built_for} uses the card")
    major, minor = driver.cuda
    if tuple(map(int, built_for.split(".")[:2])) > driver.cuda:
        return fail(
            f"PyTorch {version} is built for CUDA {built_for}, and the driver runs up to {major}.{minor}",
            f"update the driver, or install a PyTorch for CUDA {major}.{minor} or older",
        )
    return fail(
        f"PyTorch {version} finds no card: {said.get('said') or 'it does not say why'}",
        "see the line of CUDA",
    )


def driver_of(library: str) -> Driver | None:
    """What the library says; None when there is none."""
    try:
        nvml = ctypes.CDLL(library)
        if code := nvml.nvmlInit_v2():
            return Driver(code)
    except (OSError, AttributeError):
        return None
    try:
        text, number = ctypes.create_string_buffer(_TEXT_BYTES), ctypes.c_int()
        nvml.nvmlSystemGetDriverVersion(text, ctypes.c_uint(_TEXT_BYTES))
        nvml.nvmlSystemGetCudaDriverVersion_v2(ctypes.byref(number))
        cuda = (number.value // 1000, number.value % 1000 // 10)
        return Driver(0, text.value.decode(errors="replace"), cuda)
    finally:
        nvml.nvmlShutdown()


def cards_of(devices: Path) -> int:
    """How many NVIDIA cards the PCI bus has, driver or not."""

    def is_card(device: Path) -> bool:
        try:
            vendor, kind = (device / "vendor").read_text(), (device / "class").read_text()
        except OSError:
            return False
        return vendor.strip() == NVIDIA and kind.startswith(DISPLAY)

    return sum(map(is_card, devices.iterdir())) if devices.is_dir() else 0


def _folders(subject: Subject) -> list[Path]:
    """The folders of ``--model``, as an agent's or alone; a Cog server's URL is none."""
    places = [name.partition("=")[2] or name for name in subject.models]
    return [Path(place).expanduser() for place in places if "://" not in place]

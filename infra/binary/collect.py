"""What the single file holds: an interpreter, its standard library, its shared libraries, and our packages.

bin/cogflare-python          the interpreter; its libraries are looked for in ../lib before anywhere else
lib/*.so*                    what it and its extension modules link to, but the C library
lib/python3.11/              the standard library
lib/python3.11/site-packages cogflare[server] as it is installed here, and Cogflare's own wheel
"""

import compileall
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path
from py_compile import PycInvalidationMode

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[2]
OF_THE_C_LIBRARY = re.compile(
    r"(ld-linux.*|libc|libm|libdl|librt|libpthread|libutil|libresolv|libnss_\w+|libanl|libnsl)\.so\.\d+$"
)
"""Must be the system's: they belong to its kernel and its name service."""
NOT_OF_THE_LIBRARY = re.compile(
    r"(^|/)__pycache__$|^(site-packages|dist-packages|test|idlelib|tkinter|turtledemo|turtle\.py|lib2to3|venv"
    r"|ensurepip|pydoc_data|distutils|unittest|config-[^/]*|EXTERNALLY-MANAGED)$"
    r"|^lib-dynload/(_test|_xx|xx|_ctypes_test|_tkinter|readline|_curses|_dbm|_gdbm|nis|ossaudiodev|audioop)"
)
"""Of the standard library: what nothing in here imports."""
OURS = ("edge", "coordinator", "gpu_agent", "migrations")
UNUSED = ("faker", "polyfactory", "pycparser", "tzdata")
"""Distributions that are required, and imported only by what we do not use: examples made up for a schema."""
NOT_OF_A_PACKAGE = re.compile(
    r"(^|/)(__pycache__|tests|include)/|\.(pyx|pxd|pxi|c|h|cpp|pyi|exe)$|^\.\./|^boto3/(data|examples)/"
    r"|^botocore/data/(?!s3/|endpoints|partitions|sdk-default|_retry)|^pygments/lexers/(?!__init__|_mapping|python)"
    r"|/py\.typed$|\.dist-info/(RECORD|WHEEL|INSTALLER|REQUESTED|top_level\.txt)$"
)
"""Of a distribution: sources of compiled modules, what only pip and type checkers read, the descriptions of
services other than S3, and the colours of languages other than Python. Each file delays the first start."""


def collect(tree: Path) -> Path:
    """Fill the folder ``tree``, which is made; the interpreter in it."""
    library = tree / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copytree(sysconfig.get_path("stdlib"), library, ignore=_unwanted_of_the_library)
    program = tree / "bin" / "cogflare-python"
    program.parent.mkdir()
    shutil.copy(Path(sys._base_executable).resolve(), program)  # type: ignore[attr-defined]
    site = packages_of(program)
    site.mkdir(parents=True, exist_ok=True)
    for found in _installed("cogflare", ("server",)):
        _copy_package(found, site)
    _copy_ourselves(site)
    _bring_libraries(tree)
    _compile(tree, site)
    return program


def _unwanted_of_the_library(folder: str, names: list[str]) -> set[str]:
    root = sysconfig.get_path("stdlib")
    return {name for name in names if NOT_OF_THE_LIBRARY.search(os.path.relpath(f"{folder}/{name}", root))}


def packages_of(program: Path) -> Path:
    """Where this interpreter looks for packages: Debian's has a place of its own."""
    ask = "import site, sys; print(site.getsitepackages([sys.prefix])[-1])"
    environment = {"LD_LIBRARY_PATH": sysconfig.get_config_var("LIBDIR") or ""}
    found = subprocess.run(
        [program, "-I", "-S", "-c", ask], env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    return Path(found.stdout.strip())


def _installed(name: str, extras: tuple[str, ...]) -> Iterator[Distribution]:
    """The distributions that it needs, in any depth, without itself."""
    seen: set[tuple[str, str]] = set()
    given: set[str] = {canonicalize_name(name)}
    waiting = [(name, extra) for extra in ("", *extras)]
    while waiting:
        wanted = waiting.pop()
        if wanted in seen:
            continue
        seen.add(wanted)
        found = distribution(wanted[0])
        for line in found.requires or ():
            need = Requirement(line)
            if need.marker and not need.marker.evaluate({"extra": wanted[1]}):
                continue
            needed = canonicalize_name(need.name)
            if needed in UNUSED:
                continue
            waiting += [(needed, extra) for extra in ("", *need.extras)]
            if needed not in given:
                given.add(needed)
                yield distribution(needed)


def _copy_package(package: Distribution, site: Path) -> None:
    for file in package.files or ():
        if NOT_OF_A_PACKAGE.search(file.as_posix()):
            continue
        place = site / file
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(str(package.locate_file(file)), place)


def _copy_ourselves(site: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
        subprocess.run(build, cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)


def _bring_libraries(tree: Path) -> None:
    """Copy what the tree's machine code links to, and make it look for that in here and nowhere else."""
    folder = tree / "lib"
    program = tree / "bin" / "cogflare-python"
    code = [path for path in tree.rglob("*") if path.is_file() and (path == program or ".so" in path.name)]
    for name, source in _linked(code).items():
        if not OF_THE_C_LIBRARY.match(name):
            shutil.copy(source, folder / name)
            code.append(folder / name)
    for path in code:
        path.chmod(0o755)
        subprocess.run(["strip", "--strip-unneeded", path], check=True)
        _patchelf("--remove-rpath", path)
    # The old kind of path: it counts for every library that this process loads, and before LD_LIBRARY_PATH.
    _patchelf("--force-rpath", "--set-rpath", "$ORIGIN/../lib", program)


def _compile(tree: Path, site: Path) -> None:
    """Ours keep their sources, which coglet's are run from; of all others only what is compiled stays."""
    ours = {path for name in OURS for path in (site / name).rglob("*.py")}
    theirs = set(tree.rglob("*.py")) - ours
    for files, beside in ((ours, False), (theirs, True)):
        for path in sorted(files):
            done = compileall.compile_file(
                path,
                quiet=2,
                force=True,
                legacy=beside,
                stripdir=str(tree),
                invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
            )
            if not done:
                raise SystemExit(f"{path} cannot be compiled")
    for path in theirs:
        path.unlink()


def _linked(code: list[Path]) -> dict[str, Path]:
    """By the name that is linked to, in any depth."""
    said = subprocess.run(["ldd", *code], check=False, stdout=subprocess.PIPE, text=True).stdout
    missing = set(re.findall(r"^\s*(\S+) => not found", said, re.MULTILINE))
    found = {name: Path(path) for name, path in re.findall(r"^\s*(\S+) => (/\S+)", said, re.MULTILINE)}
    if missing - found.keys():
        raise SystemExit(f"these libraries are not on this machine: {', '.join(sorted(missing))}")
    return found


def _patchelf(*words: str | Path) -> None:
    subprocess.run([Path(sys.executable).with_name("patchelf"), *words], check=True)

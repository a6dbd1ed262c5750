"""A model's virtual environment: made once of what its ``cog.yaml`` lists, and kept.

    CACHE/environments/DIGEST/tree-XXXX/    the environment; its scripts name this place, so it never moves
    CACHE/environments/DIGEST/venv          a link to it, which appears by a rename once it is whole
    CACHE/environments/DIGEST/lock          held by who makes it
    CACHE/environments/DIGEST/used          held by who runs models in it (environment_use.py)

The digest is of the interpreter, the lines that list packages, and the local files that these name. Anything
here may be removed while no model runs in it; it is made again. What nobody has used for long we remove.
"""

import contextlib
import fcntl
import hashlib
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from gpu_agent.coglet_command import OWN_ENVIRONMENT
from gpu_agent.environment_use import LOCK, Say, in_words, remove, remove_unused, size_bytes, use
from gpu_agent.interpreters import OLDEST, Interpreter, find, of_models, probe
from gpu_agent.model_dir import CONFIG, ModelDir
from gpu_agent.requirements import RequirementsFailed, ingredients

_NOT_FOR_PIP = frozenset({"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PIP_TARGET", "PIP_PREFIX", "PIP_USER"})


class EnvironmentFailed(Exception):
    """There is no environment for the model; the text is one line that says what to do."""


def default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cogflare"


def environments(cache: Path | None) -> Path:
    """The directory of all of them; ``cache`` is what ``--cache`` names."""
    return (cache or default_cache()).absolute() / "environments"


def prepare(model: ModelDir, cache: Path | None, say: Say) -> str:
    """The interpreter of the model's environment, which is made when it is not there, and kept until this
    process has ended.

    Blocks for as long as pip needs, which prints on stderr; ``say`` gets what else is worth telling. What
    ends it early (``KeyboardInterrupt``) ends pip too and leaves nothing. Raises ``EnvironmentFailed``.
    """
    if left := left_to_do(model):
        say(left)
    base = _base(model)
    folder = environments(cache) / _digest(model, base)
    python = str(folder / "venv" / "bin" / "python")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        use(folder)
        if not os.path.exists(python):  # noqa: PTH110 - follows the links, to the end
            with _held(folder / LOCK, model, say):
                if not os.path.exists(python):  # noqa: PTH110
                    say(f"{model.path}: making its environment, Python {base.version}, in {folder}")
                    _make(model, base, folder)
                    say(f"{model.path}: its environment is there, {in_words(size_bytes(folder))}")
    except OSError as error:
        raise EnvironmentFailed(
            f"the environment of {model.path} cannot be made in {folder}: {error.strerror or error}; "
            "choose another place with --cache"
        ) from None
    return python


def default_interpreter() -> tuple[str, str]:
    """Path and minor version of the interpreter of models that name none. Raises ``EnvironmentFailed``."""
    found = of_models()
    if found is None:
        raise EnvironmentFailed(
            "no python3 on PATH that models could run in: install Python 3.9 or newer, "
            "or name one with --python PATH"
        )
    return found


def forget_unused(cache: Path | None, unused_s: float, say: Say) -> None:
    """Remove the environments that nobody has used for so long; 0 keeps all. What this process has prepared
    by now is in use."""
    if unused_s > 0:
        remove_unused(environments(cache), unused_s, say)


def left_to_do(model: ModelDir) -> str:
    """One line on what ``cog.yaml`` lists and we do not install; empty when there is nothing."""
    build = model.build
    parts = []
    if build.system_packages:
        parts.append(f"system_packages ({', '.join(build.system_packages)})")
    if build.commands:
        parts.append(f"run ({build.commands} command{'s' if build.commands > 1 else ''})")
    if not parts:
        return ""
    return f"{model.path / CONFIG}: also lists {' and '.join(parts)}: that is left to you"


def _base(model: ModelDir) -> Interpreter:
    wanted, minor = model.build.python_version, ""
    if not wanted:
        path, minor = default_interpreter()
        found = probe(path) or find(minor)
    elif tuple(map(int, model.build.minor_version.split("."))) < OLDEST:
        raise EnvironmentFailed(
            f"{model.path / CONFIG}: python_version is {wanted}, and models run here from 3.9 on: "
            "write a newer one"
        )
    else:
        found = find(wanted)
    if found is None:
        minor = model.build.minor_version or minor
        raise EnvironmentFailed(
            f"{model.path}: no Python {minor} on this machine: install it (pyenv install {minor}), "
            "or name an interpreter with --python PATH"
        )
    return found


def _digest(model: ModelDir, base: Interpreter) -> str:
    digest = hashlib.sha256()
    made_of = [sys.platform, platform.machine(), base.path, base.minor_version]
    try:
        for part in (*map(os.fsencode, made_of), *ingredients(model.build, model.path)):
            digest.update(b"%d:" % len(part) + part)
    except RequirementsFailed as error:
        raise EnvironmentFailed(str(error)) from None
    return digest.hexdigest()[:32]


@contextlib.contextmanager
def _held(path: Path, model: ModelDir, say: Say) -> Iterator[None]:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{model.path}: waiting for another process that is making its environment")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _make(model: ModelDir, base: Interpreter, folder: Path) -> None:
    for unfinished in (*folder.glob("tree-*"), *folder.glob("venv*")):
        remove(unfinished)
    tree = Path(tempfile.mkdtemp(prefix="tree-", dir=folder))
    try:
        _fill(model, base, tree)
        os.sync()  # a link must not outlive a power cut that its target did not
        link = folder / "venv-link"
        link.symlink_to(tree.name)
        link.rename(folder / "venv")
    except BaseException:
        remove(tree)
        raise


def _fill(model: ModelDir, base: Interpreter, tree: Path) -> None:
    build = model.build
    without_pip = () if build.installs else ("--without-pip",)
    if _run([base.path, "-I", "-m", "venv", *without_pip, str(tree)], model.path):
        raise EnvironmentFailed(
            f"{base.path} cannot make a virtual environment: see above "
            f"(on Debian and Ubuntu: apt install python{base.minor_version}-venv)"
        )
    if not build.installs:
        return
    listed = tree / "python_packages.txt"
    listed.write_text("".join(f"{line}\n" for line in build.python_packages), "utf-8")
    sources = ["-r", str(listed)]
    if build.python_requirements:
        sources += ["-r", str(model.path / build.python_requirements)]
    pip = [str(tree / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input"]
    if _run([*pip, "install", *sources], model.path):
        raise EnvironmentFailed(
            f"pip could not install what {model.path / CONFIG} lists: see above, and try again"
        )


def _run(command: Sequence[str], folder: Path) -> int:
    """Run it with our stderr for both of its outputs; its exit code."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(OWN_ENVIRONMENT) and name not in _NOT_FOR_PIP
    }
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=2,
        stderr=2,
        start_new_session=True,
    )
    try:
        return process.wait()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise

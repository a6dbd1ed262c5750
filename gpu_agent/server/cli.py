"""``cogflare cog-server``: from settings to exit code.

The order of the start is its speed: the model's process is started first, and what the server itself needs is
imported while that boots.
"""

import asyncio
import dataclasses
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from coordinator.protocol.addresses import AddressRules, http_url
from gpu_agent.interpreters import bundled
from gpu_agent.model_dir import ModelDir
from gpu_agent.server.settings import CogServerSettings

if TYPE_CHECKING:
    from gpu_agent.server.app import App
    from gpu_agent.server.orders import DoorOf
    from gpu_agent.server.service import Service

log = logging.getLogger("cogflare.cog_server")

EXIT_OK, EXIT_FAILED = 0, 1
COMMAND = "cogflare cog-server"


class HttpServer(Protocol):
    """What listens. ``serve`` returns after ``leave``, when every answer is out."""

    async def serve(self) -> None: ...
    def leave(self) -> None: ...


Listen = Callable[["App", socket.socket], HttpServer]


class BadSetting(ValueError):
    """A setting that cannot be right; the text is one line for the operator."""


class NoInterpreter(Exception):
    """The model's environment could not be made; the text is one line."""


def check(settings: CogServerSettings) -> None:
    """Raises ``BadSetting`` for the first setting that cannot be right."""
    try:
        AddressRules(settings.allow_private)
    except ValueError as error:
        raise BadSetting(f"--allow-private: {error}") from None
    if settings.upload_url and http_url(settings.upload_url) is None:
        raise BadSetting(f"--upload-url {settings.upload_url!r}: expected http://… or https://…")
    if procedure_mode(settings):
        for name, given in (
            ("DIR", settings.dir != Path()),
            ("--predictor", settings.predictor),
            ("--trainer", settings.trainer),
        ):
            if given:
                raise BadSetting(f"{name} is for one model: with --procedure-mode each request names its own")
    for name, text in (("--webhook-token", settings.webhook_token), ("--user-agent", settings.user_agent)):
        if not text.isascii() or (text and not text.isprintable()):
            raise BadSetting(f"{name} has characters that no header has")


def procedure_mode(settings: CogServerSettings) -> bool:
    """Whether requests say what is run."""
    return settings.procedure_mode or settings.use_procedure_mode


def isolated(settings: CogServerSettings) -> bool:
    """Whether each procedure runs as a user of its own. Raises ``BadSetting`` when it should and cannot."""
    able = sys.platform == "linux" and os.geteuid() == 0
    if settings.isolation == "uid" and not able:
        raise BadSetting("--isolation uid: only root on Linux can run procedures as users of their own")
    return able and settings.isolation != "off"


def model_of(settings: CogServerSettings) -> ModelDir:
    """The model to serve. Raises ``ModelDirError`` and ``BadSetting``."""
    model = ModelDir.read(
        settings.dir, predict_ref=settings.predictor, train_ref=settings.trainer, versioned=False
    )
    if settings.x_mode == "train":
        if not model.train_ref:
            raise BadSetting(f"--x-mode train: {model.path} has no train in its cog.yaml, nor --trainer")
        model = dataclasses.replace(model, predict_ref=model.train_ref)
    if settings.max_concurrency is not None:
        model = dataclasses.replace(model, concurrency=settings.max_concurrency)
    return model


def interpreter_of(settings: CogServerSettings, model: ModelDir) -> str:
    """The model's interpreter. Blocks while its environment is made. Raises ``NoInterpreter``."""
    if settings.python:
        return settings.python
    if not settings.install and not model.build.minor_version and not bundled():
        return sys.executable
    from gpu_agent.choice import choose
    from gpu_agent.environment import EnvironmentFailed, forget_unused

    def say(line: str) -> None:
        print(f"cogflare cog-server: {line}", file=sys.stderr)

    install, cache = settings.install, settings.cache
    try:
        python = choose(model, python="", install=install, cache=cache, command=COMMAND, say=say).python
    except EnvironmentFailed as error:
        raise NoInterpreter(str(error)) from None
    if install:
        forget_unused(cache, settings.unused_environment_s, say)
    return python


def advice(settings: CogServerSettings, model: ModelDir, python: str, module: str) -> str:
    """What mends a model's interpreter that lacks a module."""
    from gpu_agent.choice import Choice

    origin: Literal["named", "installed", "own"] = (
        "named" if settings.python else "installed" if settings.install else "own"
    )
    return Choice(model, python, origin, COMMAND).missing(module)


async def main(
    settings: CogServerSettings,
    model: ModelDir,
    python: str,
    listener: socket.socket,
    *,
    door_of: "Callable[[], DoorOf]",
    listen: Listen,
) -> int:
    """Serve until told to leave. Returns the exit code: 1 when the model could not be set up.

    ``door_of`` and ``listen`` are called when the model's process has been started: they may import a lot.
    """
    from gpu_agent.server.engine import Model, Workshop
    from gpu_agent.server.terminal import Words, configure_log
    from gpu_agent.server.work_dir import WorkDir

    configure_log(settings.log_level, settings.log_format)
    say = Words(settings.log_format)
    folder = WorkDir()
    workshop = Workshop(
        model=model,
        python=python,
        work_dir=folder.path,
        setup_timeout_s=settings.limits.setup_timeout_s or None,
        cancel_grace_s=settings.limits.cancel_grace_s,
        log_bytes=settings.limits.log_bytes,
    )
    engine = Model(workshop, wait_file=settings.wait_file, say=say)
    engine.begin()
    engine.advice = lambda module: advice(settings, model, python, module)
    try:
        # One turn, in which the process is started; from here on it boots beside us.
        await asyncio.sleep(0)
        from gpu_agent.server.app import App
        from gpu_agent.server.model_service import ModelService

        service = ModelService(settings, workshop, engine, door_of=door_of(), say=say)
        _catch_signals(service)
        await _serve(service, listen(App(service), listener), listener)
    finally:
        await engine.stop()
        folder.close()
    return EXIT_FAILED if service.failed else EXIT_OK


async def serve_procedures(
    settings: CogServerSettings, listener: socket.socket, *, door_of: "Callable[[], DoorOf]", listen: Listen
) -> int:
    """Serve what requests name until told to leave. Returns the exit code. Raises ``BadSetting``."""
    from gpu_agent.environment import EnvironmentFailed, default_interpreter
    from gpu_agent.server.app import App
    from gpu_agent.server.procedures.cells import Cells, cannot_run
    from gpu_agent.server.procedures.service import ProcedureService
    from gpu_agent.server.terminal import Words, configure_log
    from gpu_agent.server.work_dir import WorkDir

    configure_log(settings.log_level, settings.log_format)
    os.umask(0o077)  # what we write for one procedure is not another's to read
    folder = WorkDir()
    try:
        processes = settings.procedures.runner_processes
        cells = Cells(folder.path, isolated=isolated(settings), processes=processes)
        try:
            python = settings.python or default_interpreter()[0]
        except EnvironmentFailed as error:
            raise BadSetting(str(error)) from None
        if not cells.isolated:
            log.warning(
                "isolation by uid is off: procedures run as uid %d, each other's files in reach", os.geteuid()
            )
        elif not settings.install and (problem := cannot_run(python, folder.path)):
            raise BadSetting(
                f"procedures run as users of their own, and those cannot run {python} ({problem}): "
                "name one that they can with --python, or give that up with --isolation off"
            )
        if cells.isolated:
            os.setgroups([])  # what we do in a procedure's name must have no rights of our groups
        say = Words(settings.log_format)
        service = ProcedureService(settings, folder.path, cells, door_of=door_of(), say=say)
        _catch_signals(service)
        await _serve(service, listen(App(service), listener), listener)
    finally:
        folder.close()
    return EXIT_OK


async def _serve(service: "Service", http: HttpServer, listener: socket.socket) -> None:
    opening = asyncio.create_task(service.open(), name="open")
    serving = asyncio.create_task(http.serve(), name="http")
    host, port = listener.getsockname()[:2]
    log.info("listening on http://%s:%d", f"[{host}]" if ":" in host else host, port)
    leaving = asyncio.create_task(service.leaving.wait())
    try:
        await asyncio.wait((leaving, serving), return_when="FIRST_COMPLETED")
        # A model that is still being set up has nothing that is worth waiting for.
        opening.cancel()
        await service.drain()
    finally:
        leaving.cancel()
        http.leave()
        # Who reads a large answer slowly is waited for, but not by who is in a hurry.
        hurried = asyncio.create_task(service.hurry.wait())
        await asyncio.wait((serving, hurried), return_when="FIRST_COMPLETED")
        for task in (hurried, serving):
            task.cancel()
        await asyncio.wait((serving, hurried))
        await service.close()
        if not serving.cancelled():
            serving.result()


def _catch_signals(service: "Service") -> None:
    """The first SIGTERM or SIGINT asks to leave, the second one not to wait for what runs."""

    def leave(number: int) -> None:
        if number == signal.SIGTERM and service.settings.await_explicit_shutdown:
            log.info("SIGTERM is ignored (--await-explicit-shutdown): POST /shutdown ends the server")
            return
        log.info("leaving: %s", signal.Signals(number).name)
        if service.leaving.is_set():
            service.hurry.set()
        service.leaving.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leave, number)

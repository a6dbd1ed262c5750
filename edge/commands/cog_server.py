"""``cogflare cog-server``: one model behind Cog's HTTP API."""

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

from edge.exits import CommandFailed, ExitCode
from gpu_agent.server.settings import CogServerSettings

if TYPE_CHECKING:
    from socket import socket

    from gpu_agent.server.app import App
    from gpu_agent.server.cli import HttpServer
    from gpu_agent.server.orders import DoorOf

SETTINGS = CogServerSettings
ABOUT = (
    "Serve one model's folder behind Cog's own HTTP API: predictions, trainings, webhooks, streams and "
    "files, without accounts or tokens: whoever reaches the port may use it. SIGTERM, Ctrl-C and POST "
    "/shutdown finish what was accepted (--drain-s) and leave; a second signal cancels it. With "
    "--procedure-mode there is no DIR: each request names the source of what it runs, below /procedures."
)


def run(settings: CogServerSettings) -> int:
    if sys.platform == "win32":
        raise CommandFailed(
            "cogflare cog-server does not run on Windows itself", ExitCode.UNSUPPORTED, "run it in WSL2"
        )
    for library in ("uvicorn", "httptools"):
        # Said before the model is started; what is there is imported while it boots.
        if find_spec(library) is None:
            raise ModuleNotFoundError(f"No module named {library!r}", name=library)
    import asyncio

    import uvloop

    from edge.address import bind
    from gpu_agent.model_dir import ModelDirError
    from gpu_agent.server.cli import (
        BadSetting,
        NoInterpreter,
        check,
        interpreter_of,
        main,
        model_of,
        procedure_mode,
        serve_procedures,
    )

    try:
        check(settings)
        if procedure_mode(settings):
            with (
                bind(settings.host, settings.port) as listener,
                asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
            ):
                return runner.run(serve_procedures(settings, listener, door_of=_door_of, listen=_listen))
        model = model_of(settings)
    except (BadSetting, ModelDirError) as error:
        raise CommandFailed(str(error), ExitCode.USAGE) from error
    try:
        python = interpreter_of(settings, model)
    except NoInterpreter as error:
        raise CommandFailed(str(error)) from error
    with (
        bind(settings.host, settings.port) as listener,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        return runner.run(main(settings, model, python, listener, door_of=_door_of, listen=_listen))


def _door_of() -> "DoorOf":
    from edge.inputs import VersionSchema

    return VersionSchema


def _listen(app: "App", listener: "socket") -> "HttpServer":
    from edge.asgi_listener import AsgiServer

    return AsgiServer(app, listener, last_answers_s=app.limits.drain_s)

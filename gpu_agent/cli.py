"""``cogflare agent``: from settings to exit code."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import TYPE_CHECKING

from coordinator.protocol.log_lines import JsonFormatter
from coordinator.protocol.otlp import NoTelemetry, Otlp
from gpu_agent.settings import AgentSettings, SettingsError

if TYPE_CHECKING:
    from gpu_agent.choice import Choice
    from gpu_agent.state_dir import StateDir

log = logging.getLogger("cogflare.agent")

EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2


def main(settings: AgentSettings) -> int:
    """Run the agent until it is told to leave. Problems are one line on stderr; returns the exit code."""
    if os.name == "nt":
        print("cogflare agent does not run on native Windows; use WSL2", file=sys.stderr)
        return EXIT_USAGE
    from gpu_agent.choice import choose
    from gpu_agent.environment import EnvironmentFailed, forget_unused
    from gpu_agent.model_dir import ModelDir, ModelDirError
    from gpu_agent.state_dir import open_state_dir

    _log_to_terminal(settings.log_format)
    try:
        settings.check()
        models = {name: ModelDir.read(path) for name, path in settings.model_dirs().items()}
        state = open_state_dir(settings.state)
    except (SettingsError, ModelDirError) as error:
        print(f"cogflare agent: {error}", file=sys.stderr)
        return EXIT_USAGE
    try:
        # Until the loop has handlers of its own: what is being made is taken away again.
        signal.signal(signal.SIGTERM, _leave)
        otlp = _otlp(settings.otlp_endpoint)
        choices = {
            name: choose(
                model,
                python=settings.python,
                install=settings.install,
                cache=settings.cache,
                command="cogflare agent",
                say=log.warning,
            )
            for name, model in models.items()
        }
        if settings.install:
            forget_unused(settings.cache, settings.unused_environment_s, log.warning)
        return asyncio.run(_serve(settings, choices, state, otlp))
    except NoTelemetry as error:
        print(f"cogflare agent: --otlp-endpoint: {error}; install cogflare[otel]", file=sys.stderr)
        return EXIT_USAGE
    except EnvironmentFailed as error:
        print(f"cogflare agent: {error}", file=sys.stderr)
        return EXIT_FAILED
    finally:
        state.release()


async def _serve(
    settings: AgentSettings, choices: "Mapping[str, Choice]", state: "StateDir", otlp: Otlp | None
) -> int:
    from gpu_agent.agent import Agent
    from gpu_agent.gpus import gpus
    from gpu_agent.source import FolderSource, Source
    from gpu_agent.tls import client_context

    tls = client_context()
    sources: dict[str, Source] = {
        name: FolderSource(choice, setup_timeout_s=settings.setup_timeout_s)
        for name, choice in choices.items()
    }
    try:
        if servers := settings.cog_servers():
            from gpu_agent.container.source import sources_of

            sources |= sources_of(servers, settings, state.work, tls)
        agent = Agent(
            settings, sources, state, tls, await asyncio.to_thread(gpus), None if otlp is None else otlp.tell
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, agent.drain)
        return await agent.run()
    except* Exception as group:
        for leaf in _leaves(group):
            print(f"cogflare agent: {leaf}", file=sys.stderr)
    finally:
        if otlp is not None:
            await asyncio.to_thread(otlp.close)
    return EXIT_FAILED


def _otlp(endpoint: str) -> Otlp | None:
    return Otlp(endpoint, "cogflare-agent", metadata.version("cogflare")) if endpoint else None


def _leave(number: int, _frame: object) -> None:
    sys.exit(128 + number)


def _log_to_terminal(form: str) -> None:
    handler = logging.StreamHandler()
    text = logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S")
    handler.setFormatter(JsonFormatter() if form == "json" else text)
    root = logging.getLogger("cogflare")
    root.handlers[:] = [handler]
    root.propagate = False
    root.setLevel(logging.INFO)


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error

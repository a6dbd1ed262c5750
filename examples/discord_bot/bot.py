"""A Discord bot for a model of yours: /landscape answers with a picture that develops in its message.

pip install -r examples/discord_bot/requirements.txt
export DISCORD_TOKEN=... REPLICATE_BASE_URL=http://127.0.0.1:8000 REPLICATE_API_TOKEN=cf_...
python examples/discord_bot/bot.py
"""

import asyncio
import contextlib
import logging
import os
import random
import signal
import sys
from typing import Any, Literal
from urllib.parse import urlsplit

import aiohttp
import discord
from discord import app_commands
from job import Job
from server import Server

MODEL = "demo/landscape"
NEEDED = ("DISCORD_TOKEN", "REPLICATE_BASE_URL", "REPLICATE_API_TOKEN")


class Bot(discord.AutoShardedClient):
    def __init__(self, server: Server) -> None:
        # It reads no messages, and nothing that a model says may call people.
        super().__init__(
            intents=discord.Intents(guilds=True), allowed_mentions=discord.AllowedMentions.none()
        )
        self._server = server
        self._tree = app_commands.CommandTree(self)
        self._tree.command(description="Paint a landscape")(landscape)
        self._jobs: set[asyncio.Task[Any]] = set()

    async def setup_hook(self) -> None:
        await self._tree.sync()

    async def on_ready(self) -> None:
        print(f"ready as {self.user}: type /landscape in Discord", flush=True)

    async def run_job(self, interaction: discord.Interaction[Any], model: str, input: dict[str, Any]) -> None:
        """Answer a command with what the model makes of this input."""
        job = asyncio.create_task(Job(self._server, interaction, model, input).run())
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        await job

    async def close(self) -> None:
        """Nobody would end the pictures that are being painted: cancel them first."""
        jobs = list(self._jobs)
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        await super().close()


@app_commands.describe(
    hour="Which light the landscape stands in",
    seed="Same seed, same landscape; by chance when you give none",
    size="Width x height in pixels",
    steps="Pictures from first sketch to finished print",
)
async def landscape(
    interaction: discord.Interaction[Bot],
    hour: Literal["dawn", "day", "sunset", "moonlight", "aurora"] = "sunset",
    seed: app_commands.Range[int, 0, 2**31 - 1] | None = None,
    size: Literal["640x400", "960x600", "1280x800", "800x1000"] = "1280x800",
    steps: app_commands.Range[int, 1, 12] = 8,
) -> None:
    """The command: its options are the model's inputs."""
    chosen = random.randrange(2**31) if seed is None else seed
    await interaction.client.run_job(
        interaction, MODEL, {"hour": hour, "seed": chosen, "size": size, "steps": steps}
    )


async def serve(environment: dict[str, str]) -> None:
    """Until it is canceled, by Ctrl-C or SIGTERM. Raises what discord.py raises."""
    task = asyncio.current_task()
    assert task is not None
    with contextlib.suppress(NotImplementedError):  # Windows
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    server = Server(environment["REPLICATE_BASE_URL"], environment["REPLICATE_API_TOKEN"])
    async with server, Bot(server) as bot:
        await bot.start(environment["DISCORD_TOKEN"])


def main() -> int:
    environment = dict(os.environ)
    if problem := wrong(environment):
        return stop(problem)
    discord.utils.setup_logging(level=logging.WARNING)
    discord.VoiceClient.warn_nacl = False
    discord.http.Route.BASE = environment.get("DISCORD_API_BASE") or discord.http.Route.BASE
    try:
        asyncio.run(serve(environment))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 0
    except discord.LoginFailure:
        return stop(
            "Discord does not accept DISCORD_TOKEN: reset it on the page of your bot, and copy it anew"
        )
    except (discord.DiscordException, aiohttp.ClientError, OSError) as error:
        return stop(f"Discord cannot be reached: {error}")
    return 0


def wrong(environment: dict[str, str]) -> str:
    """What is wrong with these settings, or nothing."""
    if missing := [name for name in NEEDED if not environment.get(name)]:
        return f"set {', '.join(missing)}: see examples/discord_bot/README.md"
    url = urlsplit(environment["REPLICATE_BASE_URL"])
    if url.scheme not in ("http", "https") or not url.netloc:
        return "REPLICATE_BASE_URL: expected http://HOST[:PORT] or https://HOST"
    token = environment["REPLICATE_API_TOKEN"]
    if not token.isascii() or not token.isprintable() or " " in token:
        return "REPLICATE_API_TOKEN has characters that no token has"
    return ""


def stop(line: str) -> int:
    print(f"bot.py: {line}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())

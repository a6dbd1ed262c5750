"""One command, from the question to the picture."""

import asyncio
import logging
from typing import Any

import aiohttp
import discord
from cancel import CancelButton
from progress import Progress
from reply import Picture, Reply
from server import Event, Server, Sorry
from words import MISTAKE, NO_FILE, STOPPED, ending

log = logging.getLogger("discord_bot")

STOP_S = 8.0
"""For so long a bot that is stopped has for its last words; Discord may let it wait for 5 s."""


class Job:
    """Runs ``model`` for whoever asked, and shows how it goes. Use once."""

    def __init__(
        self,
        server: Server,
        interaction: discord.Interaction[Any],
        model: str,
        input: dict[str, Any],
    ) -> None:
        self._server = server
        self._interaction = interaction
        self._model = model
        self._input = input
        title = ", ".join(f"{name} {value}" for name, value in input.items())
        self._reply = Reply(interaction, title)
        self._progress = Progress()
        self._news = asyncio.Event()
        self._shown = ""
        self._id = ""
        self._creating: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """To the end, whatever that is. Canceling it cancels the prediction, and says so."""
        button = CancelButton(self._interaction.user.id, self._cancel)
        try:
            await self._reply.begin()
            text, picture = await self._result(button)
            await self._reply.edit(text, picture=picture)
        except (discord.DiscordException, aiohttp.ClientError, OSError) as error:
            log.warning("the message of %s cannot be written any more: %s", self._id or "a command", error)
            await self._give_up()
        except asyncio.CancelledError:
            async with asyncio.timeout(STOP_S):
                await asyncio.gather(self._give_up(), self._reply.edit(STOPPED))
            raise
        finally:
            button.stop()

    async def _result(self, button: CancelButton) -> tuple[str, Picture | None]:
        """What to say at the end, and the picture if there is one."""
        try:
            # It goes on when this is stopped: what was created must be known to be canceled.
            self._creating = asyncio.create_task(self._create())
            await asyncio.shield(self._creating)
            prediction = await self._watched(button)
            if prediction["status"] != "succeeded":
                return discord.utils.escape_markdown(ending(prediction)), None
            return await self._finished(prediction)
        except Sorry as sorry:
            return discord.utils.escape_markdown(str(sorry)), None
        except (discord.DiscordException, aiohttp.ClientError):
            raise
        except Exception:
            log.exception("prediction %s of %s", self._id, self._model)
            return MISTAKE, None

    async def _create(self) -> None:
        user, key = f"discord:{self._interaction.user.id}", f"discord-{self._interaction.id}"
        self._id = (await self._server.create(self._model, self._input, user, key))["id"]

    async def _watched(self, button: CancelButton) -> dict[str, Any]:
        """The prediction once it has ended; until then its message says how far it is."""
        following = asyncio.create_task(self._server.follow(self._id, self._take))
        following.add_done_callback(lambda _: self._news.set())
        self._news.set()
        try:
            while not following.done():
                await self._news.wait()
                await self._reply.may_edit()
                self._news.clear()
                if not following.done():
                    await self._show(button)
            return following.result()
        finally:
            following.cancel()

    async def _show(self, button: CancelButton) -> None:
        try:
            picture = await self._sketch()
            await self._reply.edit(self._progress.line(), view=button, picture=picture)
        except (discord.NotFound, discord.Forbidden):
            raise
        except (discord.HTTPException, aiohttp.ClientError, OSError) as error:
            log.warning("an edit of %s was lost: %s", self._id, error)

    async def _sketch(self) -> Picture | None:
        """The newest picture, if the message does not show it."""
        url = self._progress.picture
        if url == self._shown:
            return None
        try:
            content = await self._server.download(url)
        except Sorry:
            return None
        self._shown = url
        return Picture(url, content) if len(content) <= self._reply.largest else None

    async def _finished(self, prediction: dict[str, Any]) -> tuple[str, Picture | None]:
        url = self._progress.picture
        if not url:
            return NO_FILE, None
        content = await self._server.download(url)
        if len(content) > self._reply.largest:
            return f"Done, but too large for Discord: {url}", None
        return f"Done in {prediction['metrics']['predict_time']:.1f} s", Picture(url, content)

    def _take(self, event: Event) -> None:
        self._progress.take(event)
        self._news.set()

    async def _cancel(self) -> None:
        await self._server.cancel(self._id)
        self._progress.canceling = True
        self._news.set()

    async def _give_up(self) -> None:
        """Cancel it, if it was created: nobody will see it."""
        if self._creating:
            await asyncio.wait({self._creating})
        if self._id:
            try:
                await self._server.cancel(self._id)
            except Sorry as sorry:
                log.warning("prediction %s may go on: %s", self._id, sorry)

"""The bot's answer in Discord: one message, edited at most once a second."""

import asyncio
import io
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import discord

EDIT_S = 1.0
"""Discord allows five edits in five seconds, and people read no faster."""
LONGEST = 2000
"""Characters of a message."""
INVALID_TOKEN = 50027
"""Discord's code for a command's token that is over, as it is after 15 minutes."""


class Picture(NamedTuple):
    url: str
    content: bytes

    def file(self) -> discord.File:
        return discord.File(io.BytesIO(self.content), unquote(PurePosixPath(urlsplit(self.url).path).name))


class Reply:
    """Call ``begin`` first, within three seconds of the command. Methods raise what discord.py raises."""

    def __init__(self, interaction: discord.Interaction[Any], title: str) -> None:
        self._interaction = interaction
        self._title = title
        self._expired = False
        self._message = 0
        self._next_at = 0.0
        self._shown: dict[str, Any] = {}
        self._editing: asyncio.Task[None] | None = None

    @property
    def largest(self) -> int:
        """The bytes that a file may have here."""
        guild = self._interaction.guild
        return guild.filesize_limit if guild else discord.utils.DEFAULT_FILE_SIZE_LIMIT_BYTES

    async def begin(self) -> None:
        """Acknowledge the command: Discord shows that the bot is thinking."""
        answer = await self._interaction.response.defer(thinking=True)
        self._message = (answer and answer.message_id) or 0

    async def may_edit(self) -> None:
        """Wait until a second has passed since the last edit."""
        await asyncio.sleep(max(0.0, self._next_at - asyncio.get_running_loop().time()))

    async def edit(
        self, text: str, *, view: discord.ui.View | None = None, picture: Picture | None = None
    ) -> None:
        """Show this, if it is not there already; without a picture the one that is there stays."""
        if self._editing:
            await asyncio.wait({self._editing})
        await self.may_edit()
        changes: dict[str, Any] = {"content": f"**{self._title}**\n{text}"[:LONGEST], "view": view}
        if changes == self._shown and picture is None:
            return
        self._shown = changes
        # One that has begun is never broken off, or it might come after the next one.
        self._editing = asyncio.create_task(self._edit(changes, picture))
        await asyncio.shield(self._editing)

    async def _edit(self, changes: dict[str, Any], picture: Picture | None) -> None:
        try:
            if not self._expired:
                self._expired = not await self._edit_as_answer(_with(changes, picture))
            if self._expired:
                await self._edit_as_author(_with(changes, picture))
        finally:
            self._next_at = asyncio.get_running_loop().time() + EDIT_S

    async def _edit_as_answer(self, changes: dict[str, Any]) -> bool:
        """False when the command's token is over."""
        try:
            await self._interaction.edit_original_response(**changes)
        except discord.HTTPException as error:
            if error.code != INVALID_TOKEN:
                raise
            return False
        return True

    async def _edit_as_author(self, changes: dict[str, Any]) -> None:
        """For this the bot must be a member of the Discord server and see the channel."""
        channel = self._interaction.channel_id
        if not channel or not self._message:
            raise discord.ClientException("the command's token is over, and its channel is not known")
        messageable = self._interaction.client.get_partial_messageable(channel)
        await messageable.get_partial_message(self._message).edit(**changes)


def _with(changes: dict[str, Any], picture: Picture | None) -> dict[str, Any]:
    """A file can be sent once only, so that each edit has its own."""
    return {**changes, "attachments": [picture.file()]} if picture else changes

"""The button under a picture that is not finished yet."""

from collections.abc import Awaitable, Callable
from typing import Any

import discord
from server import Sorry
from words import NOT_YOURS


class CancelButton(discord.ui.View):
    """Only ``asker`` may press it. ``stop`` it when there is nothing left to cancel."""

    def __init__(self, asker: int, cancel: Callable[[], Awaitable[None]]) -> None:
        super().__init__(timeout=None)
        self._asker = asker
        self._cancel = cancel

    async def interaction_check(self, interaction: discord.Interaction[Any]) -> bool:
        if interaction.user.id == self._asker:
            return True
        await interaction.response.send_message(NOT_YOURS, ephemeral=True)
        return False

    @discord.ui.button(label="Cancel", style=discord.ButtonStyle.danger)
    async def press(
        self, interaction: discord.Interaction[Any], button: "discord.ui.Button[CancelButton]"
    ) -> None:
        await interaction.response.defer()
        try:
            await self._cancel()
        except Sorry as sorry:
            await interaction.followup.send(str(sorry), ephemeral=True)

"""Commands that are run as ``python -m cog.command.NAME``."""

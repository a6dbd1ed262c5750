"""Where the third generation has ``Input``."""

from cog.fields import FieldInfo, Input

__all__ = ["FieldInfo", "Input"]

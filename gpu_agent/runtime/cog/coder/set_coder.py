"""A coder of sets, for those that name it: they are understood without it, as lists."""

import typing
from typing import Any, Dict, Optional

from cog.coder import Coder


class SetCoder(Coder):
    @staticmethod
    def factory(tpe: Any) -> "Optional[SetCoder]":
        return SetCoder() if tpe is set or typing.get_origin(tpe) is set else None

    def encode(self, x: Any) -> Dict[str, Any]:
        return {"items": list(x)}

    def decode(self, x: Dict[str, Any]) -> Any:
        return set(x["items"])


Coder.register(SetCoder)

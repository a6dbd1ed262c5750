"""A coder of objects of JSON, for those that name it: they are understood without it."""

import typing
from typing import Any, Dict, Optional

from cog.coder import Coder


class JsonCoder(Coder):
    @staticmethod
    def factory(tpe: Any) -> "Optional[JsonCoder]":
        return JsonCoder() if tpe is dict or tpe is Any or typing.get_origin(tpe) is dict else None

    def encode(self, x: Any) -> Dict[str, Any]:
        return dict(x)

    def decode(self, x: Dict[str, Any]) -> Any:
        return x


Coder.register(JsonCoder)

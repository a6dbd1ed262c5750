"""A coder of dataclasses, for those that name it: they are understood without it."""

import dataclasses
from typing import Any, Dict, Optional

from cog.coder import Coder


class DataclassCoder(Coder):
    def __init__(self, cls: Any) -> None:
        self.cls = cls

    @staticmethod
    def factory(tpe: Any) -> "Optional[DataclassCoder]":
        return DataclassCoder(tpe) if isinstance(tpe, type) and dataclasses.is_dataclass(tpe) else None

    def encode(self, x: Any) -> Dict[str, Any]:
        return {field.name: getattr(x, field.name) for field in dataclasses.fields(x)}

    def decode(self, x: Dict[str, Any]) -> Any:
        return self.cls(**x)


Coder.register(DataclassCoder)

"""A coder of pydantic models, for those that name it: they are understood without it."""

from typing import Any, Dict, Optional

from cog.coder import Coder


class PydanticCoder(Coder):
    """Works with the pydantic that the model has, its first or second version."""

    def __init__(self, cls: Any) -> None:
        self.cls = cls

    @staticmethod
    def factory(tpe: Any) -> "Optional[PydanticCoder]":
        known = hasattr(tpe, "model_validate") or (hasattr(tpe, "parse_obj") and hasattr(tpe, "__fields__"))
        return PydanticCoder(tpe) if isinstance(tpe, type) and known else None

    def encode(self, x: Any) -> Dict[str, Any]:
        dump = getattr(x, "model_dump", None) or x.dict
        found: Dict[str, Any] = dump()
        return found

    def decode(self, x: Dict[str, Any]) -> Any:
        validate = getattr(self.cls, "model_validate", None) or self.cls.parse_obj
        return validate(x)


BaseModelCoder = PydanticCoder
Coder.register(PydanticCoder)

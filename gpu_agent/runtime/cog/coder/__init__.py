"""Coders: how a type of the author's own becomes an object of JSON, and back."""

from typing import Any, Dict, List, Optional, Type


class Coder:
    """Subclass it, and hand the subclass to ``Coder.register``.

    ``factory`` says whether it is one for a type, by an instance or None. Dataclasses, dicts, sets and
    pydantic models need none.
    """

    _registered: "List[Type[Coder]]" = []

    @staticmethod
    def register(coder: "Type[Coder]") -> None:
        """Ask this one for every type; those that were registered later are asked first. Safe to repeat.

        Those of this package, which their modules register when they are imported, are asked last.
        """
        if coder not in Coder._registered:
            ours = coder.__module__.startswith("cog.coder.")
            Coder._registered.insert(0 if ours else len(Coder._registered), coder)

    @staticmethod
    def lookup(tpe: Any) -> "Optional[Coder]":
        """The coder of a type, or None."""
        for coder in reversed(Coder._registered):
            found = coder.factory(tpe)
            if found is not None:
                return found
        return None

    @staticmethod
    def factory(tpe: Any) -> "Optional[Coder]":
        """An instance for this type, or None when it is not one that this coder knows."""
        raise NotImplementedError

    def encode(self, x: Any) -> Dict[str, Any]:
        """The object of JSON of a value."""
        raise NotImplementedError

    def decode(self, x: Dict[str, Any]) -> Any:
        """The value of an object of JSON. Raises ``ValueError`` when it is none."""
        raise NotImplementedError

"""``Annotated[T, Opaque]``: an object of JSON that is handed on as it is."""


class _Opaque:
    def __repr__(self) -> str:
        return "Opaque"


Opaque = _Opaque()

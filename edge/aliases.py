"""Repeated creations: by an ``Idempotency-Key``, or by an id of the client's own.

The name is reserved in the control store with the ids that will be used, before anything is created: so the
same request again, at the same time or after a crash, is the same predictions.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from coordinator.ids import ALPHABET, LENGTH
from coordinator.store.aliases import Alias, Kind
from edge.auth import Principal
from edge.errors import InvalidField, Problem, invalid_input
from edge.services import Services

HEADERS = (b"idempotency-key", b"x-idempotency-key")
LONGEST_KEY, LONGEST_ID = 255, 128
"""In characters: no settings, for both are kept as they are."""
_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._:@-]*[A-Za-z0-9])?")
_LIKE_OURS = re.compile(f"[{ALPHABET}]{{{LENGTH}}}")


class Name(NamedTuple):
    """What a client calls a request."""

    kind: Kind
    text: str


def key_of(headers: Iterable[tuple[bytes, bytes]]) -> Name | None:
    """The request's ``Idempotency-Key``, if it has one. Raises Problem ``invalid_input``."""
    text = next((value.decode("latin-1").strip() for name, value in headers if name in HEADERS), None)
    if text is None:
        return None
    if len(text) > LONGEST_KEY or not _KEY.fullmatch(text):
        detail = f"Must be 1 to {LONGEST_KEY} visible ASCII characters"
        raise invalid_input(InvalidField("format", "Idempotency-Key", detail))
    return Name("key", text)


def is_own_id(id: str) -> bool:
    """Whether a client may call a prediction so: nothing that could be one of our ids."""
    return len(id) <= LONGEST_ID and bool(_ID.fullmatch(id)) and not _LIKE_OURS.fullmatch(id)


def own_id(id: str) -> Name:
    """The id that a client gives to what it creates. Raises Problem ``invalid_input``."""
    if is_own_id(id):
        return Name("id", id)
    detail = f"Must be 1 to {LONGEST_ID} letters, digits, and . _ : @ - inside"
    if _LIKE_OURS.fullmatch(id):
        detail = (
            f"{LENGTH} such characters look like an id that the server makes: use another form, as a UUID"
        )
    raise invalid_input(InvalidField("format", "id", detail))


def digest_of(path: str, *content: Any) -> bytes:
    """What is the same for the same request, however its JSON is written."""
    digest = hashlib.sha256(path.encode())
    for part in content:
        digest.update(b"\0" + msgspec.json.encode(part, order="sorted"))
    return digest.digest()


async def reserved(services: Services, principal: Principal, name: Name, digest: bytes) -> Sequence[str]:
    """The ids that the name stands for; empty when it is new. Raises Problem ``key_reused``."""
    name = _of(principal, name)
    alias = await services.store.aliases.get(principal.account, *name, services.clock.now())
    return () if alias is None else _same(alias, digest)


async def reserve(
    services: Services, principal: Principal, name: Name, digest: bytes, ids: Sequence[str]
) -> Sequence[str]:
    """Reserve a name; gives the ids to be used, which are another's if that was first.

    Raises Problem ``key_reused``, and Unavailable when it is not known whether it is reserved.
    """
    now, name = services.clock.now(), _of(principal, name)
    alias = Alias(
        account=principal.account,
        kind=name.kind,
        name=name.text,
        digest=digest,
        ids=tuple(ids),
        created_at=now,
        # An id of the client's own is kept as long as what it names.
        expires_at=now + int(services.limits.idempotency_s * 1e6) if name.kind == "key" else None,
    )
    return _same(await services.store.aliases.reserve(alias), digest)


def _of(principal: Principal, name: Name) -> Name:
    """What it is kept under: a user's key must not stand for what another one's has created."""
    return name if principal.maker is None else Name(name.kind, f"{principal.token} {name.text}")


def _same(alias: Alias, digest: bytes) -> Sequence[str]:
    if alias.digest == digest:
        return alias.ids
    what = f"The id {alias.name}" if alias.kind == "id" else "This Idempotency-Key"
    raise Problem(
        "key_reused",
        f"{what} was used before, for another request. Send the same body to the same path, or use another.",
    )

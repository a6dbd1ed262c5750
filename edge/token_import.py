"""Takes over the tokens of a Cogflare of 2022: what its key-value store said of each, as records of ours.

A client keeps its secret. The ``worker`` string that it named was the address of a queue; here it becomes the
secret of a worker's token on a pool of its own, whose name is random: the string is stored hashed and is
shown nowhere. Everybody who named the same string shares that pool. All of a file goes into one account:
there a model's name belongs to one account, and several ``worker`` strings may serve models of the same name.
"""

import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from coordinator.letters import COGFLARE
from coordinator.store.tokens import Token, Tokens, hint_of, new_id
from edge.control import ImportedToken
from edge.provider_keys import NotOurs, ProviderKeys

CLIENT_SCOPES = frozenset({"submit", "read"})


@dataclass
class _Plan:
    """What an import would change."""

    made: list[tuple[Token, str]] = field(default_factory=list)
    changed: list[Token] = field(default_factory=list)
    unchanged: int = 0
    problems: list[str] = field(default_factory=list)


class TokenImport:
    """One import into ``account``. Nothing is written unless ``run`` finds no problem, or may skip them."""

    def __init__(self, tokens: Tokens, keys: ProviderKeys, account: str, now: int) -> None:
        self._tokens = tokens
        self._keys = keys
        self._account = account
        self._now = now
        self._plan = _Plan()
        self._pools: dict[str, str] = {}

    async def run(self, entries: Sequence[ImportedToken], *, skip_bad: bool, dry_run: bool) -> dict[str, Any]:
        """What was done, or would be. Raises Invalid for a bad account, StoreError."""
        plan = self._plan
        workers = {entry.worker for entry in entries if entry.worker}
        known = await self._tokens.known([*(entry.secret for entry in entries), *workers])
        clients = {entry.secret: entry for entry in entries}
        for worker in sorted(workers):
            self._take_worker(worker, known.get(worker), clients.get(worker))
        for entry in entries:
            self._take_client(entry, known.get(entry.secret))
        applied = not dry_run and (skip_bad or not plan.problems)
        if applied:
            await self._tokens.adopt(self._account, plan.made, plan.changed, self._now)
        return {
            "account": self._account,
            "applied": applied,
            "made": [_described(token, exists=applied) for token, _ in plan.made],
            "changed": [_described(token) for token in plan.changed],
            "unchanged": plan.unchanged,
            "problems": plan.problems,
        }

    def _take_worker(self, secret: str, known: Token | None, client: ImportedToken | None) -> None:
        """The pool of this ``worker`` string; none is known for it when it cannot be used."""
        if client is not None:
            # One secret is one record: it can be both only when it serves its own queue.
            if client.worker in (None, secret):
                serves = known is not None and "worker" in known.scopes
                self._pools[secret] = known.pools[0] if known is not None and serves else _new_pool()
            return
        if known is None:
            self._pools[secret] = pool = _new_pool()
            token = self._record(secret, frozenset({"worker"}), pool, worker=pool, prefix="")
            self._plan.made.append((token, secret))
        elif known.account == self._account and "worker" in known.scopes and known.revoked_at is None:
            self._pools[secret] = known.pools[0]
            self._plan.unchanged += 1

    def _take_client(self, entry: ImportedToken, known: Token | None) -> None:
        plan = self._plan
        if entry.worker is not None and entry.worker not in self._pools:
            plan.problems.append(f"{entry.label}: its worker string is a token of another account, or kind")
            return
        own_worker = self._pools.get(entry.secret)  # workers dial in with this client's own secret
        scopes = CLIENT_SCOPES if own_worker is None else CLIENT_SCOPES | {"worker"}
        pool = own_worker or ("default" if entry.worker is None else self._pools[entry.worker])
        if known is None:
            sealed = None if entry.replicate is None else self._keys.seal(entry.replicate)
            token = self._record(
                entry.secret,
                scopes,
                pool,
                worker=own_worker,
                prefix=hint_of(entry.secret),
                allow=entry.allow,
                replicate=sealed,
            )
            plan.made.append((token, entry.secret))
        elif reason := self._foreign(known):
            plan.problems.append(f"{entry.label}: {reason}")
        elif (token := self._updated(known, entry, scopes, pool, own_worker)) != known:
            plan.changed.append(token)
        else:
            plan.unchanged += 1

    def _foreign(self, known: Token) -> str | None:
        if known.account != self._account:
            return f"it is a token of account {known.account} already"
        if known.revoked_at is not None:
            return "it was imported before, and has been revoked since"
        if known.api != COGFLARE or "submit" not in known.scopes:
            return "it is another kind of token here already"
        return None

    def _updated(
        self, known: Token, entry: ImportedToken, scopes: frozenset[str], pool: str, worker: str | None
    ) -> Token:
        """The record as the file has it now; the same one when nothing is new."""
        replicate = known.replicate
        if self._opened(replicate) != entry.replicate:
            replicate = None if entry.replicate is None else self._keys.seal(entry.replicate)
        return replace(
            known, scopes=scopes, pools=(pool,), worker=worker, replicate=replicate, allow=entry.allow
        )

    def _opened(self, sealed: bytes | None) -> str | None:
        try:
            return None if sealed is None else self._keys.open(sealed)
        except NotOurs:
            return None

    def _record(
        self,
        secret: str,
        scopes: frozenset[str],
        pool: str,
        *,
        worker: str | None,
        prefix: str,
        allow: bool = True,
        replicate: bytes | None = None,
    ) -> Token:
        kind = "imported" if scopes & CLIENT_SCOPES else "imported-worker"
        return Token(
            id=new_id(),
            account=self._account,
            name=f"{kind}-{secrets.token_hex(4)}",
            scopes=scopes,
            pools=(pool,),
            worker=worker,
            replicate=replicate,
            allow=allow,
            api=COGFLARE,
            prefix=prefix,
            created_at=self._now,
        )


def _new_pool() -> str:
    return f"imported-{secrets.token_hex(5)}"


def _described(token: Token, *, exists: bool = True) -> dict[str, Any]:
    """Without the id and the name, which would be others the next time, of one that was not made."""
    return {
        "id": token.id if exists else None,
        "name": token.name if exists else None,
        "prefix": token.prefix,
        "scopes": sorted(token.scopes),
        "pool": token.pools[0],
        "allow": token.allow,
        "replicate": token.replicate is not None,
    }


def counts(records: Sequence[dict[str, Any]]) -> str:
    """``3 clients and 1 worker``."""
    kinds = Counter("client" if "submit" in record["scopes"] else "worker" for record in records)
    parts = [f"{n} {kind}{'' if n == 1 else 's'}" for kind, n in sorted(kinds.items())]
    return " and ".join(parts) or "nothing"

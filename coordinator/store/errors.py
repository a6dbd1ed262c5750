"""Errors of the control store.

StoreError
├── StoreUnavailable    the database cannot be used now: repeat the call (HTTP 503)
├── SchemaTooNew        the database was written by newer software
├── NotMigrated         there is no Cogflare schema in this database
├── UnsupportedDatabase the URL names a database that this version cannot use
├── Invalid             a value that the store does not take (a name, a scope, a version id, a cursor)
├── NameTaken           another live row of this account has the name
├── NotFound            no such row, or not of this account
│   └── ObjectNotFound  no object has this number
├── InUse               something else needs the row: it cannot be taken away
├── Ambiguous           the name alone does not say which row
└── NotAllowed          the name belongs to somebody else, or the token may not use it

Each message is one line for an operator or a client; ``hint`` says what to do about it.
"""

from coordinator.errors import NoSuchObject, Unavailable


class StoreError(Exception):
    """Base of this package's errors. ``hint`` is empty when there is nothing to advise."""

    def __init__(self, detail: str, hint: str = "") -> None:
        super().__init__(detail)
        self.hint = hint


class StoreUnavailable(StoreError, Unavailable):
    """The database could not be read or written. The same call may be repeated once ``hint`` is seen to."""

    def __init__(self, detail: str, hint: str = "", retry_after_s: float = 1.0) -> None:
        super().__init__(detail, hint)
        self.retry_after_s = retry_after_s


class SchemaTooNew(StoreError):
    """The database has a revision that this code does not know."""


class NotMigrated(StoreError):
    """The database has no schema yet: ``migrate`` makes one."""


class UnsupportedDatabase(StoreError):
    """The database URL is not one that this version can use."""


class Invalid(StoreError):
    """A value that the store refuses, before anything is written."""


class NameTaken(StoreError):
    """The name is used by another live row of the same account."""


class NotFound(StoreError):
    """No such row, or not of this account."""


class ObjectNotFound(NotFound, NoSuchObject):
    """No object has this number."""


class InUse(StoreError):
    """Something else needs the row, which ``hint`` says how to change."""


class Ambiguous(StoreError):
    """Several rows go by this name: say the account, or use the id."""


class NotAllowed(StoreError):
    """The caller has no right to this name."""

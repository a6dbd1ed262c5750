"""Errors of the actor runtime.

ActorError
├── CommitFailed     this batch is not durable and never will be; the instance is discarded
│   └── Fenced       another instance owns the object now
├── ReadFailed       these rows cannot be had now; the instance is discarded, what is on disk is as before
└── StorageBroken    the device failed (fsync, I/O, corruption): the process must end
"""


class ActorError(Exception):
    """Base of this package's errors."""


class CommitFailed(ActorError):
    """The write did not happen (full or read-only disk, or a row that storage refuses). Nothing that depended
    on it was told to anybody."""


class Fenced(CommitFailed):
    """The object's generation is another one: this instance is no longer the owner."""


class ReadFailed(ActorError):
    """Rows could not be read (no file handle or memory left, a disk that cannot be locked). Nothing was
    written; the next instance asks again."""


class StorageBroken(ActorError):
    """What is on the disk cannot be known any more. Only a new process may look."""

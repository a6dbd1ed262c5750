"""Errors of the actor runtime.

ActorError
├── CommitFailed     this batch is not durable and never will be; the instance is discarded
│   └── Fenced       another instance owns the object now
└── StorageBroken    the device failed (fsync, I/O, corruption): the process must end
"""


class ActorError(Exception):
    """Base of this package's errors."""


class CommitFailed(ActorError):
    """The write did not happen (full or read-only disk, or a row that storage refuses). Nothing that depended
    on it was told to anybody."""


class Fenced(CommitFailed):
    """The object's generation is another one: this instance is no longer the owner."""


class StorageBroken(ActorError):
    """What is on the disk cannot be known any more. Only a new process may look."""

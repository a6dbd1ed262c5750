"""What names may look like: models, pools, accounts. Pure rules, used at every door."""

import hashlib
import re

_PART = r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?"
_MODEL = re.compile(rf"{_PART}/{_PART}")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._@-]{0,62}[A-Za-z0-9])?")
_VERSION = re.compile(r"[0-9a-f]{64}")
_TRAINS = "@train"


def valid_model_name(name: str) -> bool:
    """True for ``owner/name``, each of 1 to 63 lower-case letters, digits, and ``. _ -`` inside."""
    return _MODEL.fullmatch(name) is not None


def valid_name(name: str) -> bool:
    """True for a name of a pool, account or token: 1 to 64 letters and digits, and ``. _ @ -`` inside."""
    return _NAME.fullmatch(name) is not None


def valid_version(version: str) -> bool:
    """True for a version id: 64 lower-case hexadecimal digits."""
    return _VERSION.fullmatch(version) is not None


def training_queue(model: str) -> str:
    """The name under which a model's trainings have a queue, and workers, of their own: no model has it."""
    return model + _TRAINS


def queue_of(model: str, destination: str) -> str:
    """Where predictions of a model wait or, with a destination, its trainings."""
    return training_queue(model) if destination else model


def is_training_queue(name: str) -> bool:
    """Whether ``training_queue`` has made this name."""
    return name.endswith(_TRAINS)


def without_train(name: str) -> str:
    """The model whose predictions, or trainings, a queue of this name has."""
    return name.removesuffix(_TRAINS)


def legacy_version(model: str) -> str:
    """The version that stands for whatever workers of 2022 run under this name: they tell none."""
    return hashlib.sha256(f"cogflare 2022 worker of {model}".encode()).hexdigest()

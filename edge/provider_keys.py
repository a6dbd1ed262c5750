"""Keys of other providers (Replicate's), encrypted before they reach the database.

The key that encrypts them comes from the data directory's 0600 secret, which is in no database: a stolen copy
of ``control.db`` gives nobody an account elsewhere.
"""

import base64
from collections.abc import Callable
from functools import cached_property

from cryptography.fernet import Fernet, InvalidToken

LABEL = "provider keys"
"""What the data directory derives the encrypting key for (``DataDir.key``)."""


class NotOurs(Exception):
    """It was encrypted with the secret of another data directory, or is damaged."""


class ProviderKeys:
    """``secret`` gives 32 bytes; it is asked once, when there is a key to seal or to open."""

    def __init__(self, secret: Callable[[], bytes]) -> None:
        self._secret = secret

    @cached_property
    def _fernet(self) -> Fernet:
        return Fernet(base64.urlsafe_b64encode(self._secret()))

    def seal(self, key: str) -> bytes:
        """What is stored of a provider's key; another one each time."""
        return self._fernet.encrypt(key.encode())

    def open(self, sealed: bytes) -> str:
        """The provider's key. Raises NotOurs."""
        try:
            return self._fernet.decrypt(sealed).decode()
        except InvalidToken:
            raise NotOurs("a provider key does not fit this data directory's secret.key") from None

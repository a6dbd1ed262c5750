"""Tokens of event streams: the URL itself is the secret, since clients open streams without a header."""

import base64
import binascii

from coordinator.blobs.signing import Signer

_PURPOSE = "stream"


class StreamTokens:
    """Makes and reads stream tokens. Stateless: a token is the prediction, its account, and a signature."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    def make(self, prediction: str, account: str) -> str:
        name = f"{prediction}.{account}"
        text = base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")
        return f"{text}.{self._signer.mac(_PURPOSE, name)}"

    def read(self, token: str) -> tuple[str, str] | None:
        """(prediction, account), or None when this server did not make the token."""
        text, _, mac = token.partition(".")
        try:
            name = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
        except (binascii.Error, UnicodeDecodeError, ValueError):
            return None
        if not self._signer.has_mac(_PURPOSE, name, mac):
            return None
        prediction, _, account = name.partition(".")
        return prediction, account

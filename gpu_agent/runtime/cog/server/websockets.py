"""``python -m cog.server.websockets WS_URL UPLOAD_URL OWNER/NAME``: how Cogflare's 2022 workers were started.

It becomes ``cogflare agent``, which serves the current folder to that server until it is killed.
"""

import os
import re
import sys
from typing import Dict, List, NamedTuple, Optional, Sequence
from urllib.parse import unquote, urlsplit

from cog.server.installation import NotInstalled, become

PROGRAM = "python -m cog.server.websockets"
USAGE_EXIT, MISSING_EXIT = 2, 8
USAGE = (
    f"usage: {PROGRAM} WS_URL UPLOAD_URL OWNER/NAME\n\n"
    "  WS_URL      wss://HOST/v1/models/OWNER/NAME/websockets/WORKER-TOKEN\n"
    "  UPLOAD_URL  https://HOST/v1/models/OWNER/NAME/files\n"
    "  OWNER/NAME  the name under which the model in the current folder is served\n\n"
    "Becomes cogflare agent; its options may be given as COGFLARE_ variables."
)
SCHEMES = {"ws": "http", "wss": "https", "http": "http", "https": "https"}
PORTS = {"http": 80, "https": 443}
_PATH = re.compile(r"(?P<prefix>.*)/v1/models/(?P<model>[^/]+/[^/]+)/websockets?/(?P<token>[^/]+)(/.*)?")


class Refused(Exception):
    """Something about the arguments is wrong; the text is one line."""


class Place(NamedTuple):
    """Whom to serve."""

    server: str
    token: str
    model: str


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Become the agent. Returns an exit code only when that is not possible; the reason is on stderr."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if {"-h", "--help"} & set(words):
        print(USAGE)
        return 0
    try:
        place = read(words)
        become(agent_words(place), agent_environment(place, dict(os.environ)))
    except Refused as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return USAGE_EXIT
    except NotInstalled as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return MISSING_EXIT


def read(words: Sequence[str]) -> Place:
    """What the arguments say. Raises ``Refused``; no token is repeated."""
    if len(words) != 3:
        raise Refused(f"expected WS_URL UPLOAD_URL OWNER/NAME, not {len(words)} arguments (see --help)")
    ws_url, upload_url, model = words
    server, path = _split(ws_url, "the first URL")
    found = _PATH.fullmatch(path)
    if found is None:
        raise Refused(
            "the first URL is not the websocket of a model: expected "
            "wss://HOST/v1/models/OWNER/NAME/websockets/WORKER-TOKEN"
        )
    if unquote(found["model"]) != model:
        raise Refused(f"the first URL is of {unquote(found['model'])}, the last argument says {model!r}")
    if _split(upload_url, "the second URL")[0] != server:
        raise Refused("the second URL is of another server: expected https://HOST/v1/models/OWNER/NAME/files")
    return Place(server + found["prefix"], unquote(found["token"]), model)


def agent_words(place: Place) -> List[str]:
    """The command line, which everybody on the machine can read."""
    return ["agent", "--model", f"{place.model}=.", "--python", sys.executable]


def agent_environment(place: Place, environment: Dict[str, str]) -> Dict[str, str]:
    """The environment, which only our own user can read."""
    return dict(environment, COGFLARE_SERVER=place.server, COGFLARE_TOKEN=place.token)


def _split(url: str, what: str) -> "tuple[str, str]":
    """The origin as http(s)://HOST[:PORT], and the path. Raises ``Refused``."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Refused(f"{what} is no URL") from None
    scheme = SCHEMES.get(parts.scheme)
    if scheme is None or not parts.hostname or parts.username or parts.password:
        raise Refused(f"{what} is not ws://HOST/…, wss://HOST/…, http://HOST/… or https://HOST/…")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{scheme}://{host}" + (f":{port}" if port and port != PORTS[scheme] else ""), parts.path


if __name__ == "__main__":
    sys.exit(main())

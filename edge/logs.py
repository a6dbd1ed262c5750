"""Where the server's log goes: stderr, one line a record, nothing of requests' inputs or tokens."""

import asyncio
import logging
import sys

from coordinator.protocol.log_lines import JsonFormatter

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
# uvicorn's websocket server says this, as an error, of every upgrade that we refuse with a status.
REFUSED_UPGRADE = "ASGI callable returned without completing handshake."


def configure(level: str, form: str = "text") -> None:
    """Log everything from ``level`` on to stderr; of the HTTP server only what is wrong."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else logging.Formatter(FORMAT))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for library in ("uvicorn", "alembic", "aiosqlite", "httpx", "httpcore", "websockets"):
        logging.getLogger(library).setLevel(logging.WARNING)
    # Below this they tell signed URLs and what requests were signed with.
    for library in ("botocore", "aiobotocore", "boto3", "aioboto3", "aiohttp", "urllib3"):
        logging.getLogger(library).setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    # A request that outlasts the drain is cut off by cancelling it: the line that counts them is enough.
    cut_off = record.exc_info is not None and isinstance(record.exc_info[1], asyncio.CancelledError)
    return record.msg != REFUSED_UPGRADE and not cut_off

"""Checks of a server as its clients and agents reach it: by its URL, through whatever stands between."""

import json
import socket
import ssl
import time
from urllib.parse import urlsplit

import httpx
import websockets
from websockets.sync.client import connect

from coordinator.protocol.messages import PATH, SUBPROTOCOL
from edge.commands.doctoring.clocks import SYNCHRONIZE, judged
from edge.commands.doctoring.findings import Finding, fail, ok, skip, warn
from edge.commands.doctoring.subject import ANSWER_S, Answer, Subject, get
from gpu_agent.tls import client_context

SOON_DAYS = 14
"""Certificates of 90 days are renewed 30 days before their end: one that has less was not."""
_NO_URL = "no --server, and no server that runs here says its public URL"
_LOOPBACK = ("localhost", "127.", "::1")
_PROBLEM = "application/problem+json"
_GATEWAYS = (502, 503, 504)
_VERIFY_HINTS = {
    9: SYNCHRONIZE,
    10: "renew the certificate, and give the server or proxy the new one",
    18: "it signs itself: have one of Let's Encrypt (the proxy Caddy does that by itself), or name its "
    "authority in SSL_CERT_FILE on every machine that connects",
    19: "name your own authority in SSL_CERT_FILE on every machine that connects",
    20: "the chain is not whole: serve fullchain.pem; for an authority of yours set SSL_CERT_FILE",
    21: "the chain is not whole: serve fullchain.pem, not cert.pem",
    62: "have a certificate for this name, or use the name that it has",
    64: "have a certificate for this address, or use the name that it has",
}
"""OpenSSL's X509_V_ERR codes."""


def reachable(subject: Subject) -> Finding:
    """A Cogflare answers there."""
    if not subject.url:
        return skip(_NO_URL)
    answer = subject.health
    if isinstance(answer, Exception):
        return _unreachable(subject.url, answer)
    if answer.status in (301, 302, 307, 308):
        to = answer.headers.get("location", "").removesuffix("/healthz")
        return fail(
            f"{subject.url} sends on to {to}", "clients do not follow: use that URL, also as --public-url"
        )
    if answer.status in _GATEWAYS:
        return fail(
            f"{subject.url} answered {answer.status}: there is a proxy, and no server behind it",
            "does `cogflare serve` run, and at the address that the proxy has?",
        )
    if answer.status != 200 or not _is_cogflare(answer):
        return fail(
            f"what answers at {subject.url} is no Cogflare (status {answer.status})",
            "have the proxy pass every path on, unchanged; or correct the URL",
        )
    return ok(f"{subject.url} answers")


def ourselves(subject: Subject) -> Finding:
    """The public URL leads to the server of this data directory: only that knows an id of its making."""
    data = subject.data
    if data is None or not subject.url or not data.secret_key.exists():
        return skip("there is no data directory here to compare with" if subject.url else _NO_URL)
    if not _answers(subject):
        return skip("nothing answers there")
    from coordinator.ids import Ids

    id = Ids(data.key("prediction ids")).make(1)
    answer = get(f"{subject.url}/p/{id}")
    if answer.status == 200:
        return ok(f"{subject.url} is the server of {data.path}")
    return fail(
        f"{subject.url} is not the server of {data.path}",
        "correct --public-url, or where the proxy and the name (DNS) lead to",
    )


def clock(subject: Subject) -> Finding:
    if not subject.url:
        return skip(_NO_URL)
    answer = subject.health
    return (
        skip("nothing answers there")
        if isinstance(answer, Exception)
        else judged(answer.ahead_s, subject.url)
    )


def certificate(subject: Subject) -> Finding:
    """Whoever connects will believe it, today and in two weeks."""
    if not subject.url:
        return skip(_NO_URL)
    parts = urlsplit(subject.url)
    host, port = parts.hostname or "", parts.port or 443
    if parts.scheme == "http":
        if host.startswith(_LOOPBACK):
            return skip("http, on this machine")
        return warn(
            "http: tokens can be read on the way, and Replicate's clients make no files of http URLs",
            "serve https: a proxy such as Caddy (infra/compose), or --tls-cert and --tls-key",
        )
    try:
        with (
            socket.create_connection((host, port), ANSWER_S) as raw,
            client_context().wrap_socket(raw, server_hostname=host) as tls,
        ):
            found, version = tls.getpeercert() or {}, tls.version()
    except ssl.SSLCertVerificationError as error:
        return fail(
            f"{host}: {error.verify_message}", _VERIFY_HINTS.get(error.verify_code, "correct the certificate")
        )
    except ssl.SSLError as error:
        said = (error.reason or str(error)).replace("_", " ").lower()
        return fail(
            f"{host}: no TLS on port {port} ({said})", "is it http there? Then say http://, or serve https"
        )
    except OSError:
        return skip("nothing answers there")
    left = days_left(str(found.get("notAfter", "")), time.time())
    detail = f"{version}, good for {left} more days"
    return (
        warn(detail, "it should have been renewed by now: see the proxy's log")
        if left < SOON_DAYS
        else ok(detail)
    )


def websocket(subject: Subject) -> Finding:
    """An agent's connection comes through."""
    if not subject.url:
        return skip(_NO_URL)
    if not _answers(subject):
        return skip("nothing answers there")
    scheme, _, rest = subject.url.partition("://")
    try:
        with connect(
            ("wss://" if scheme == "https" else "ws://") + rest + PATH,
            ssl=client_context() if scheme == "https" else None,
            subprotocols=[websockets.Subprotocol(SUBPROTOCOL)],
            additional_headers={"Authorization": f"Bearer {subject.token}"} if subject.token else {},
            compression=None,
            open_timeout=ANSWER_S,
            close_timeout=1.0,
        ) as connection:
            if connection.subprotocol != SUBPROTOCOL:
                return _no_upgrade(f"the subprotocol {SUBPROTOCOL} was lost")
            return ok("an agent's connection was opened and closed")
    except websockets.InvalidStatus as refusal:
        return _refused(refusal, subject)
    except (OSError, EOFError, TimeoutError, websockets.WebSocketException) as error:
        return _no_upgrade(str(error) or type(error).__name__)


def token(subject: Subject) -> Finding:
    """The server knows it."""
    if not subject.token:
        return skip("no --token")
    if not subject.url or not _answers(subject):
        return skip("no server to ask" if subject.url else _NO_URL)
    answer = get(f"{subject.url}/v1/account", subject.token)
    if answer.status == 401:
        return fail(
            "the server does not know this token, or it was revoked", "see `cogflare token list` there"
        )
    if answer.status == 403:  # known, and not for reading: an agent's
        return ok("the server knows it; it may not read")
    if answer.status != 200:
        return fail(f"the server answered {answer.status}", "see its log")
    return ok(f"the server knows it, of account {json.loads(answer.body)['name']}")


def days_left(not_after: str, now: float) -> int:
    """Whole days until a certificate's end; ``not_after`` as OpenSSL writes it."""
    return int((ssl.cert_time_to_seconds(not_after) - now) // 86_400)


def _answers(subject: Subject) -> bool:
    answer = subject.health
    return isinstance(answer, Answer) and _is_cogflare(answer)


def _is_cogflare(answer: Answer) -> bool:
    return "x-request-id" in answer.headers and answer.body.strip() == b'{"status":"ok"}'


def _unreachable(url: str, error: Exception) -> Finding:
    host = urlsplit(url).hostname
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return fail(f"{url} answers, and its TLS cannot be believed", "see the line of the certificate")
        if isinstance(cause, socket.gaierror):
            return fail(f"there is no machine called {host}", "make its name known (DNS), or correct the URL")
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx.TimeoutException):
        hint = "open the port in the firewall, and lead it on in the router; is the address the right one?"
        return fail(f"{url} does not answer within {ANSWER_S:g} s", hint)
    said = str(error) or type(error).__name__
    return fail(
        f"{url} cannot be reached: {said}",
        "is the server or proxy started, and does it listen on more than 127.0.0.1 (--host)?",
    )


def _refused(refusal: websockets.InvalidStatus, subject: Subject) -> Finding:
    """Our own server refuses an upgrade with a status, and answers 404 to what has come without one."""
    answer = refusal.response
    ours = answer.headers.get("Content-Type", "") == _PROBLEM
    if not ours or answer.status_code == 404:
        return _no_upgrade(f"it was answered with {answer.status_code}")
    if answer.status_code == 401 and not subject.token:
        return ok("it arrives as one; with --token of an agent it is opened, too")
    if answer.status_code == 401:
        return ok("it arrives as one; the token is not known")
    if answer.status_code == 403:
        return ok("it arrives as one; the token is no agent's")
    return warn(f"it arrives as one, and was answered with {answer.status_code}", "try again in a moment")


def _no_upgrade(said: str) -> Finding:
    return fail(
        f"no agent can connect: the websocket did not come through ({said})",
        "have the proxy pass upgrades on: nginx needs `proxy_http_version 1.1` and the headers Upgrade and "
        "Connection; Caddy and Traefik do it by themselves",
    )

"""``cogflare serve`` from its first start to its end, and what it says when it cannot start."""

import json
import os
import pty
import signal
import socket
import sqlite3
import ssl
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.commands import COGFLARE, Command, Server, run, until

Serve = Callable[..., Server]


def refused(*options: str) -> tuple[int, str]:
    """Exit code and the one line of a server that does not start."""
    done = run("serve", "--port", "0", *options)
    assert not done.stdout
    assert done.stderr.count("\n") == 1, done.stderr
    return done.returncode, done.stderr


def certificate(folder: Path, name: str) -> tuple[str, str]:
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    subject = ("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    files = ("-keyout", str(key), "-out", str(cert))
    subprocess.run(
        ["openssl", "req", "-x509", "-nodes", *curve, *subject, *files], check=True, capture_output=True
    )
    return str(cert), str(key)


def test_a_first_start_makes_the_directory_and_an_admin_token(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    data = tmp_path / "data"
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    file = data / "admin-token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    secret = file.read_text().strip()
    assert server.command is not None
    text = "\n".join(server.command.lines)
    assert str(data) in text
    assert str(file) in text
    assert secret not in text, "stdout is no terminal: it may be kept by anybody"
    answer = httpx.get(f"{server.url}/v1/account", headers={"Authorization": f"Bearer {secret}"})
    assert answer.json()["username"] == "default"


def test_a_later_start_keeps_the_token_and_says_nothing_of_it(serve: Serve) -> None:
    server = serve()
    secret = (server.data / "admin-token").read_text().strip()
    assert server.stop() == 0
    server.start()
    assert server.command is not None
    assert not [line for line in server.command.lines if "token" in line]
    answer = httpx.get(f"{server.url}/v1/account", headers={"Authorization": f"Bearer {secret}"})
    assert answer.status_code == 200


def test_a_person_at_a_terminal_is_shown_the_token(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [COGFLARE, "serve", "--port", "0", "--data", str(tmp_path / "data")]
    process = subprocess.Popen(command, stdout=theirs, stdin=subprocess.DEVNULL)
    os.close(theirs)
    shown = b""
    try:
        while b"shown this once" not in shown:
            shown += os.read(ours, 4096)
    finally:
        process.terminate()
        process.wait(20)
        os.close(ours)
    assert (tmp_path / "data" / "admin-token").read_bytes().strip() in shown


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_leaves_with_zero(serve: Serve, number: signal.Signals) -> None:
    server = serve()
    assert server.command is not None
    server.command.process.send_signal(number)
    assert server.command.process.wait(20) == 0
    assert not (server.data / "control.sock").exists()
    assert not [line for line in server.command.lines if "Traceback" in line or "ERROR" in line]


@contextmanager
def request_in_progress(server: Server) -> Iterator[socket.socket]:
    """A request whose body never comes: the server would wait for it."""
    secret = (server.data / "admin-token").read_text().strip()
    head = (
        "POST /v1/predictions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {secret}\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(head.encode())
        # The answer comes once the handler has asked for the body: from then on it is in progress.
        assert b"100 Continue" in connection.recv(100)
        yield connection


def test_a_drain_waits_for_requests_no_longer_than_its_grace(serve: Serve) -> None:
    server = serve("--drain-s", "500ms")
    with request_in_progress(server):
        assert server.stop() == 0
    assert server.command is not None
    assert not [line for line in server.command.lines if "Traceback" in line]


def test_a_second_signal_leaves_at_once(serve: Serve) -> None:
    server = serve("--drain-s", "1h")
    assert server.command is not None
    with request_in_progress(server):
        server.command.process.terminate()
        server.command.line("leaving: SIGTERM")
        server.command.process.terminate()
        assert server.command.process.wait(10) == 128 + signal.SIGTERM
    assert server.start().stop() == 0


def test_https_with_a_certificate(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path, "tls")
    options = ("--port", "0", "--data", str(tmp_path / "data"), "--tls-cert", cert, "--tls-key", key)
    command = Command("serve", *options)
    try:
        url = command.line(r"URL +(https://[\w.]+:\d+)")[1]
        answer = httpx.get(f"{url}/healthz", verify=ssl.create_default_context(cafile=cert))
        assert answer.status_code == 200
    finally:
        command.close()


def test_a_certificate_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    cert, _ = certificate(tmp_path, "one")
    _, key = certificate(tmp_path, "other")
    data = ("--data", str(tmp_path / "data"))
    code, line = refused(*data, "--tls-cert", cert, "--tls-key", key)
    assert (code, "belong together" in line) == (7, True)
    code, line = refused(*data, "--tls-cert", cert)
    assert (code, "go together" in line) == (7, True)
    code, line = refused(*data, "--tls-cert", cert, "--tls-key", str(tmp_path / "none"))
    assert (code, "No such file" in line) == (7, True)


def test_a_port_in_use_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, line = refused("--data", str(tmp_path / "data"), "--port", str(port))
    assert code == 4
    assert f"127.0.0.1:{port}: Address already in use" in line
    assert "--port" in line


def test_a_data_directory_that_another_server_holds_is_told(serve: Serve) -> None:
    server = serve()
    code, line = refused("--data", str(server.data))
    assert server.command is not None
    assert code == 3
    assert f"in use by process {server.command.process.pid}: cogflare serve" in line


def test_a_data_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert refused("--data", str(tmp_path / "file" / "data"))[0] == 5
    if Path("/proc/self").exists():
        code, line = refused("--data", "/proc/cogflare")
        assert (code, "no folder can be made there" in line) == (5, True)
    full = tmp_path / "full"
    full.mkdir()
    (full / ".probe").symlink_to("/dev/full")
    code, line = refused("--data", str(full))
    assert (code, "the disk is full" in line) == (5, True)


def test_data_of_a_newer_version_is_refused(serve: Serve) -> None:
    server = serve()
    assert server.stop() == 0
    with sqlite3.connect(server.data / "control.db") as database:
        database.execute("UPDATE alembic_version SET version_num = 'from-the-future'")
    database.close()
    code, line = refused("--data", str(server.data))
    assert code == 6
    assert "newer" in line


@pytest.mark.parametrize("url", ["cogflare.example.org", "https://[cogflare", "https://cogflare:99999"])
def test_a_bad_public_url_is_told(tmp_path: Path, url: str) -> None:
    code, line = refused("--data", str(tmp_path / "data"), "--public-url", url)
    assert (code, "--public-url" in line) == (2, True)


def test_origins_of_pages_are_named_or_refused(serve: Serve, tmp_path: Path) -> None:
    code, line = refused("--data", str(tmp_path / "data"), "--cors-origin", "https://app.example.org/")
    assert (code, "'https://app.example.org/'" in line) == (2, True)
    server = serve("--cors-origin", "https://app.example.org", "--cors-origin", "http://localhost:3000")
    for origin in ("https://app.example.org", "http://localhost:3000"):
        headers = {"origin": origin, "access-control-request-method": "QUERY"}
        answer = httpx.options(f"{server.url}/v1/models", headers=headers)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, origin)


def test_a_search_by_the_method_query_reaches_the_server(serve: Serve) -> None:
    server = serve()
    headers = {"authorization": f"Bearer {server.token()}"}
    answer = httpx.request("QUERY", f"{server.url}/v1/models", content="anything", headers=headers)
    assert (answer.status_code, answer.json()["results"]) == (200, [])


def test_status_of_a_running_and_of_a_stopped_server(serve: Serve) -> None:
    server = serve()
    assert server.command is not None
    status = json.loads(run("status", "--json", "--data", str(server.data)).stdout)
    assert status["url"] == server.url
    assert status["process"] == server.command.process.pid
    assert status["state"] == "ready"
    assert server.stop() == 0
    assert run("status", "--data", str(server.data)).returncode == 10


def test_a_server_killed_outright_starts_again_on_its_directory(serve: Serve) -> None:
    server = serve()
    server.kill()
    assert (server.data / "control.sock").exists()
    server.start()
    assert run("token", "list", "--data", str(server.data)).returncode == 0


def test_refusing_an_agent_is_no_error_in_the_log(serve: Serve) -> None:
    server = serve()
    answer = httpx.get(
        f"{server.url}/v1/workers/websocket",
        headers={
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        },
    )
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert server.stop() == 0
    assert server.command is not None
    assert not [line for line in server.command.lines if "ERROR" in line]


def test_migrate_makes_a_directory_that_tokens_can_be_made_in(tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    assert run("migrate", "--data", data).returncode == 0
    assert run("migrate", "--data", data).returncode == 0
    made = run("token", "create", "early", "--json", "--data", data)
    assert made.returncode == 0
    server = Server(Path(data)).start()
    try:
        until(lambda: (Path(data) / "admin-token").exists(), "the first admin token is there")
        secret = json.loads(made.stdout)["token"]
        answer = httpx.get(f"{server.url}/v1/account", headers={"Authorization": f"Bearer {secret}"})
        assert answer.status_code == 200
    finally:
        server.close()

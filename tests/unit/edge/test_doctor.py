"""``cogflare doctor``: each check against the real thing: directories, servers on sockets, certificates, a
driver's library that is compiled here."""

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from coordinator.protocol.limits import ServerLimits
from coordinator.store.database import migrate
from edge.cli import main
from edge.commands.doctoring import data, machine, server, storage
from edge.commands.doctoring.clocks import judged
from edge.commands.doctoring.findings import Check, Finding, looked, ok, passed_over, skip, told, warn
from edge.commands.doctoring.settings import DoctorSettings
from edge.commands.doctoring.subject import Subject, ahead_s
from edge.control import AskStatus, ControlServer, Done
from edge.data_dir import DataDir
from edge.exits import CommandFailed
from tests.support.listening import Listening, listening
from tests.support.threads import start_deaf
from tests.unit.gpu_agent.test_gpus import SOURCE, library, needs_compiler

Look = Callable[..., Finding]


def of(look: Look, **settings: object) -> Finding:
    return looked(Check("it", look), Subject(DoctorSettings(**settings)))  # type: ignore[arg-type]


# --- a data directory ---------------------------------------------------------------------------------------

LOOKS = (
    data.directory,
    data.secret,
    data.file_system,
    data.writable,
    data.free_space,
    data.fsync,
    data.one_server,
    data.schema,
    storage.probe,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As a first start leaves it."""
    made = DataDir(tmp_path / "data")
    made.create()
    migrate(made.database_url)
    made.secret_key.write_bytes(bytes(32))
    made.secret_key.chmod(0o600)
    return made.path


def test_a_good_directory_passes_and_keeps_no_trace(folder: Path) -> None:
    before = sorted(folder.iterdir())
    for look in LOOKS:
        found = of(look, dir=folder)
        assert found.state in ("ok", "warn") if look in (data.fsync, data.free_space) else "ok", found
        assert found.state == "ok" or look in (data.fsync, data.free_space), found
    assert sorted(folder.iterdir()) == before


def test_one_that_is_not_made_yet_is_no_fault(tmp_path: Path) -> None:
    assert of(data.directory, dir=tmp_path).state == "ok"
    assert of(data.schema, dir=tmp_path).state == "ok"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("harm", "look", "state", "detail", "hint"),
    [
        ("missing", data.directory, "fail", "there is no", "name another DIR"),
        ("file", data.directory, "fail", "is no directory", "data directory"),
        ("foreign", data.directory, "fail", "holds other things", "name another DIR"),
        ("open", data.directory, "warn", "mode 755", "chmod 700"),
        ("no key", data.secret, "fail", "is missing", "from the backup"),
        ("short key", data.secret, "fail", "is damaged", "from the backup"),
        ("shown key", data.secret, "fail", "can be read by others", "chmod 600"),
        ("restoring", data.one_server, "fail", "has not come to its end", "cogflare restore"),
        ("held", data.one_server, "fail", "cogflare migrate", "log"),
        ("newer", data.schema, "fail", "newer than this version", "upgrade Cogflare"),
        ("older", data.schema, "warn", "none, and this version has", "cogflare backup"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(
    folder: Path, harm: str, look: Look, state: str, detail: str, hint: str
) -> None:
    where = folder
    holder = DataDir(folder)
    if harm == "missing":
        where = folder / "no"
    elif harm == "file":
        where = folder / "secret.key"
    elif harm == "foreign":
        (folder / "control.db").unlink()
    elif harm == "open":
        folder.chmod(0o755)
    elif harm == "no key":
        holder.secret_key.unlink()
    elif harm == "short key":
        holder.secret_key.write_bytes(b"short")
    elif harm == "shown key":
        holder.secret_key.chmod(0o644)
    elif harm == "restoring":
        holder.restoring.touch()
    elif harm == "held":
        holder.hold("migrate")
    elif harm in ("newer", "older"):
        change_revision(holder.database, "9999" if harm == "newer" else None)
    found = of(look, dir=where)
    holder.release()
    assert (found.state, detail in found.detail, hint in found.hint) == (state, True, True), found


def change_revision(database: Path, revision: str | None) -> None:
    import sqlite3

    with sqlite3.connect(database) as connection:
        connection.execute("DELETE FROM alembic_version")
        if revision is not None:
            connection.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
    connection.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_nothing_is_written_into_a_directory_of_another_user(folder: Path) -> None:
    os.chown(folder, 65534, 65534)
    found = of(data.directory, dir=folder)
    assert found.state == "fail"
    assert "sudo -u nobody cogflare doctor" in found.hint
    for look in (data.secret, data.writable, data.fsync, data.one_server, data.schema, storage.probe):
        assert of(look, dir=folder).state == "skip"


async def test_a_running_server_says_its_url_and_storage(folder: Path) -> None:
    said = {"state": "ready", "process": 7, "public_url": "https://cog.example.org/", "storage": "s3://files"}

    async def answer(order: object, _by: object) -> Done:
        assert isinstance(order, AskStatus)
        return Done(said)

    control = ControlServer(folder / "control.sock", answer)
    await control.start()
    import asyncio

    subject = Subject(DoctorSettings(dir=folder))
    found = await asyncio.to_thread(data.one_server, subject)
    await control.stop()
    assert found == ok("a server runs, ready, process 7")
    assert (subject.url, subject.storage) == ("https://cog.example.org", "s3://files")


def test_the_file_system_is_the_innermost_mount() -> None:
    mounts = "/dev/sda1 / ext4 rw 0 0\nbox:/x /mnt/nfs nfs4 rw 0 0\nC: /mnt/with\\040space 9p rw 0 0\nbad\n"
    assert data.kind_of(mounts, Path("/var/lib")) == "ext4"
    assert data.kind_of(mounts, Path("/mnt/nfs/data")) == "nfs4"
    assert data.kind_of(mounts, Path("/mnt/with space/data")) == "9p"
    assert data.kind_of("", Path("/")) == ""


# --- clocks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offset_s", "state"), [(0, "ok"), (2, "ok"), (-3, "ok"), (30, "warn"), (-30, "warn"), (200, "fail")]
)
def test_how_far_clocks_may_be_apart(offset_s: int, state: str) -> None:
    now = 1_800_000_000.0
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(now - offset_s))
    found = judged(ahead_s(date, now, now + 0.3), "there")
    assert found.state == state
    if state != "ok":
        assert f"{'ahead of' if offset_s > 0 else 'behind'} there" in found.detail
        assert "timedatectl" in found.hint


@pytest.mark.parametrize("date", [None, "", "yesterday"])
def test_a_server_without_a_time_says_nothing_of_ours(date: str | None) -> None:
    assert judged(ahead_s(date, 0.0, 1.0), "there").state == "skip"


# --- a server -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cogflare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    with listening(tmp_path_factory.mktemp("server"), ServerLimits()) as found:
        yield found


@contextmanager
def answering(say: Callable[[socket.socket], object]) -> Iterator[str]:
    """A port where each connection gets what ``say`` gives it."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    say(connection)

    thread = threading.Thread(target=serve, daemon=True)
    start_deaf(thread)
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def http(status: str, *headers: str, body: str = "") -> Callable[[socket.socket], None]:
    def say(connection: socket.socket) -> None:
        connection.recv(65536)
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
        connection.sendall(("\r\n".join(lines) + f"\r\n\r\n{body}").encode())

    return say


SERVER_LOOKS = (server.reachable, server.clock, server.websocket)


def test_a_server_that_is_well_passes(cogflare: Listening) -> None:
    worker = cogflare.do(lambda one: one.secret("gpu", scopes=("worker",)))
    for look in SERVER_LOOKS:
        found = of(look, server=cogflare.url, token=worker)
        assert found.state == "ok", found
    assert of(server.websocket, server=cogflare.url, token=worker).detail == (
        "an agent's connection was opened and closed"
    )
    assert "may not read" in of(server.token, server=cogflare.url, token=worker).detail
    assert (
        "of account default"
        in of(server.token, server=f"{cogflare.url}/v1/", token=cogflare.server.token).detail
    )
    assert of(server.certificate, server=cogflare.url).state == "skip"


def test_a_token_that_is_none_is_told_and_the_way_is_tried_all_the_same(cogflare: Listening) -> None:
    found = of(server.token, server=cogflare.url, token="cf_wrong")
    assert (found.state, "token list" in found.hint) == ("fail", True)
    reader = cogflare.do(lambda one: one.secret("reader", scopes=("read",)))
    for token in ("", "cf_wrong", reader):
        assert of(server.websocket, server=cogflare.url, token=token).state == "ok"


def test_a_proxy_that_passes_no_upgrades_is_found(cogflare: Listening) -> None:
    port = int(cogflare.url.rpartition(":")[2])

    def strip(connection: socket.socket) -> None:
        request = connection.recv(65536).replace(b"Upgrade: websocket\r\n", b"")
        request = request.replace(b"Upgrade", b"close").replace(b"keep-alive", b"close")
        with socket.create_connection(("127.0.0.1", port)) as far:
            far.sendall(request)
            while answer := far.recv(65536):
                connection.sendall(answer)

    with answering(strip) as where:
        assert of(server.reachable, server=f"http://{where}").state == "ok"
        found = of(server.websocket, server=f"http://{where}")
    assert found.state == "fail"
    assert "404" in found.detail
    assert "proxy_http_version" in found.hint


@pytest.mark.parametrize(
    ("say", "detail", "hint"),
    [
        (
            http("301 Moved", "Location: https://cog.example.org/healthz"),
            "sends on to https://cog",
            "use that URL",
        ),
        (http("502 Bad Gateway"), "no server behind it", "cogflare serve"),
        (http("200 OK", body="<html>Welcome to nginx!"), "is no Cogflare", "pass every path on"),
        (http("404 Not Found"), "is no Cogflare (status 404)", "correct the URL"),
        (lambda connection: None, "cannot be reached", "--host"),
    ],
)
def test_what_else_may_answer(say: Callable[[socket.socket], object], detail: str, hint: str) -> None:
    with answering(say) as where:
        url = f"http://{where}"
        found = of(server.reachable, server=url)
        assert (found.state, detail in found.detail, hint in found.hint) == ("fail", True, True), found
        assert of(server.websocket, server=url).state == "skip"


def test_a_name_that_nobody_knows() -> None:
    found = of(server.reachable, server="https://nowhere.invalid")
    assert "no machine called nowhere.invalid" in found.detail
    assert of(server.certificate, server="https://nowhere.invalid").state == "skip"
    assert of(server.reachable).state == "skip"


@pytest.mark.parametrize("settings", [{"server": "cog.example.org"}, {"token": "two words"}])
def test_what_is_no_server_and_no_token_is_refused(settings: dict[str, str]) -> None:
    with pytest.raises(CommandFailed):
        Subject(DoctorSettings(**settings))  # type: ignore[arg-type]
    with pytest.raises(CommandFailed, match="two data directories"):
        Subject(DoctorSettings(dir=Path("a"), data=Path("b")))


# --- certificates -------------------------------------------------------------------------------------------


OURS = x509.IPAddress(ip_address("127.0.0.1"))


def certificate(folder: Path, days: int, name: x509.GeneralName) -> tuple[str, str]:
    """One that signs itself."""
    cert, key = folder / "cert.pem", folder / "cert.key"
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(subject, subject, private.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=99))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    cert.write_bytes(signed.public_bytes(pem))
    key.write_bytes(private.private_bytes(pem, form, serialization.NoEncryption()))
    return str(cert), str(key)


@contextmanager
def https(cert: str, key: str) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    def say(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as tls:
            tls.recv(1)

    with answering(say) as where:
        yield f"https://{where}"


@pytest.mark.parametrize(
    ("days", "name", "believed", "state", "detail", "hint"),
    [
        (90, OURS, True, "ok", "TLSv1.3, good for 8", ""),
        (5, OURS, True, "warn", "good for 4 more days", "renewed"),
        (-1, OURS, True, "fail", "expired", "renew"),
        (90, x509.DNSName("other.example.org"), True, "fail", "mismatch", "for this address"),
        (90, OURS, False, "fail", "self", "SSL_CERT_FILE"),
    ],
)
def test_certificates(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    days: int,
    name: x509.GeneralName,
    believed: bool,
    state: str,
    detail: str,
    hint: str,
) -> None:
    cert, key = certificate(tmp_path, days, name)
    if believed:
        monkeypatch.setenv("SSL_CERT_FILE", cert)
    with https(cert, key) as url:
        found = of(server.certificate, server=url)
        reached = of(server.reachable, server=url)
    assert (found.state, detail in found.detail, hint in found.hint) == (state, True, True), found
    if state == "fail":
        assert "see the line of the certificate" in reached.hint


def test_http_where_https_is_said_and_plain_http_to_others(cogflare: Listening) -> None:
    found = of(server.certificate, server=cogflare.url.replace("http://", "https://"))
    assert (found.state, "no TLS on port" in found.detail) == ("fail", True)
    found = of(server.certificate, server="http://cog.example.org")
    assert (found.state, "Caddy" in found.hint) == ("warn", True)


# --- storage ------------------------------------------------------------------------------------------------


def test_a_bucket_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    place = f"s3://files?endpoint=http://127.0.0.1:{port}&region=x"
    found = of(storage.probe, storage=place)
    assert (found.state, "is the store up?" in found.hint) == ("fail", True), found
    assert of(storage.clock, storage=place).state == "fail"


def test_a_stores_clock_and_a_folder_of_its_own(tmp_path: Path) -> None:
    with answering(http("403 Forbidden", "Date: Thu, 01 Jan 2015 00:00:00 GMT")) as where:
        found = of(storage.clock, storage=f"s3://files?endpoint=http://{where}")
    assert (found.state, "ahead of" in found.detail) == ("fail", True)
    assert of(storage.probe, storage=f"file://{tmp_path}/files").state == "ok"
    assert of(storage.probe, storage=f"file://{tmp_path}/no/files").state == "fail"
    with pytest.raises(CommandFailed):
        storage.probe(Subject(DoctorSettings(storage="ftp://x")))


# --- a machine with models ----------------------------------------------------------------------------------

VERSIONS = """
int nvmlSystemGetDriverVersion(char *text, unsigned int length) { strncpy(text, "570.86", length); return 0; }
int nvmlSystemGetCudaDriverVersion_v2(int *number) { *number = 12080; return 0; }
"""
CU_INIT = "int cuInit(unsigned int flags) { return RESULT; }"


@needs_compiler
def test_a_driver_that_answers_and_what_it_answers_when_not(tmp_path: Path) -> None:
    subject = Subject(DoctorSettings())
    good = library(tmp_path, SOURCE + VERSIONS)
    found = machine.driver(subject, library=good)
    assert found.detail == (
        "driver 570.86, up to CUDA 12.8: NVIDIA A100-SXM4-80GB, 80.0 GiB; NVIDIA L4, 24.0 GiB"
    )
    for code, hint in ((18, "restart the machine"), (9, "modprobe nvidia"), (77, "nvidia-smi")):
        bad = tmp_path / str(code)
        bad.mkdir()
        found = machine.driver(subject, library=library(bad, SOURCE + VERSIONS, f"-DINIT={code}"))
        assert (found.state, hint in found.hint) == ("fail", True), found


@needs_compiler
@pytest.mark.parametrize(
    ("code", "state", "hint"), [(0, "ok", ""), (999, "fail", "nvidia_uvm"), (100, "fail", "--gpus all")]
)
def test_cuda_beside_a_driver_that_is_well(tmp_path: Path, code: int, state: str, hint: str) -> None:
    (tmp_path / "cuda").mkdir()
    nvml = library(tmp_path, SOURCE + VERSIONS)
    cuda = library(tmp_path / "cuda", CU_INIT, f"-DRESULT={code}")
    found = machine.cuda(Subject(DoctorSettings()), library=cuda, nvml=nvml)
    assert (found.state, hint in found.hint) == (state, True), found
    assert machine.cuda(Subject(DoctorSettings()), library="libnone.so", nvml=nvml).state == "fail"
    assert machine.cuda(Subject(DoctorSettings()), nvml="libnone.so").state == "skip"


def test_a_card_without_a_driver(tmp_path: Path) -> None:
    for name, vendor, kind in (
        ("a", "0x10de", "0x030000"),
        ("b", "0x10de", "0x040300"),
        ("c", "0x8086", "0x030000"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(f"{vendor}\n")
        (tmp_path / name / "class").write_text(f"{kind}\n")
    subject = Subject(DoctorSettings())
    found = machine.driver(subject, library="libnone.so", devices=tmp_path)
    assert found.state == "fail"
    assert "1 NVIDIA card, and no driver" in found.detail
    assert machine.driver(subject, library="libnone.so", devices=tmp_path / "a").state == "skip"


def interpreter(folder: Path, torch: str) -> Path:
    """A Python that has this module ``torch``."""
    (folder / "torch.py").write_text(torch)
    path = folder / "python"
    path.write_text(f'#!/bin/sh\nPYTHONPATH={folder} exec {sys.executable} "$@"\n')
    path.chmod(0o755)
    return path


TORCH = """
__version__ = "2.9.0"
class version: cuda = {built!r}
class cuda:
    init = staticmethod(lambda: 1 / {available:d})
    is_available = staticmethod(lambda: {available})
"""


@needs_compiler
@pytest.mark.parametrize(
    ("built", "available", "state", "detail"),
    [
        ("12.8", True, "ok", "uses the card"),
        ("13.0", False, "fail", "built for CUDA 13.0, and the driver runs up to 12.8"),
        ("12.1", False, "fail", "finds no card: division by zero"),
        (None, False, "fail", "built without CUDA"),
    ],
)
def test_pytorch_and_the_driver_go_together(
    tmp_path: Path, built: str | None, available: bool, state: str, detail: str
) -> None:
    nvml = library(tmp_path, SOURCE + VERSIONS)
    python = interpreter(tmp_path, TORCH.format(built=built, available=available))
    found = machine.torch(Subject(DoctorSettings(python=python)), nvml=nvml)
    assert (found.state, detail in found.detail) == (state, True), found


@needs_compiler
def test_pytorch_that_is_broken_and_none_at_all(tmp_path: Path) -> None:
    nvml = library(tmp_path, SOURCE + VERSIONS)
    broken = interpreter(tmp_path, "raise ImportError('libcudnn.so.9: cannot open shared object file')")
    found = machine.torch(Subject(DoctorSettings(python=broken)), nvml=nvml)
    assert "libcudnn.so.9" in found.detail
    assert machine.torch(Subject(DoctorSettings()), nvml=nvml).state == "skip"
    assert machine.torch(Subject(DoctorSettings()), nvml="libnone.so").state == "skip"


def test_where_the_agent_keeps_results(tmp_path: Path) -> None:
    found = of(machine.state, state=tmp_path / "new" / "state")
    assert (found.state in ("ok", "warn"), "free" in found.detail) == (True, True)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    assert of(machine.state, state=tmp_path / "file" / "state").state == "fail"
    assert of(machine.state).state == "skip"


def test_models_and_their_pythons(tmp_path: Path) -> None:
    good, bad, old = tmp_path / "good", tmp_path / "bad", tmp_path / "old"
    for folder in (good, bad, old):
        folder.mkdir()
    (good / "predict.py").touch()
    (old / "predict.py").touch()
    (old / "cog.yaml").write_text('predict: predict.py:P\nbuild: {python_version: "3.1"}\n')
    assert of(machine.models, models=(f"me/good={good}", "me/x=http://127.0.0.1:5000")).detail == "good"
    assert "neither cog.yaml nor predict.py" in of(machine.models, models=(str(bad),)).detail
    found = of(machine.models, models=(str(old),))
    assert (found.state, "Python 3.1" in found.detail, "--python" in found.hint) == ("fail", True, True)
    assert of(machine.python).state in ("ok", "warn")
    assert of(machine.python, python=Path("/bin/ls")).state == "fail"


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (PermissionError(13, "Permission denied", "/var/lib/x"), "Permission denied: /var/lib/x"),
        (OSError(5, "Input/output error"), "Input/output error"),
        (httpx.ReadTimeout("timed out"), "no answer came: timed out"),
        (subprocess.TimeoutExpired(["python3"], 30.0), "python3 did not end within 30 s"),
        (CommandFailed("full"), "full"),
    ],
)
def test_what_goes_wrong_in_a_check_is_a_finding(error: Exception, detail: str) -> None:
    def look(_: object) -> Finding:
        raise error

    found = looked(Check("it", look), None)
    assert (found.state, found.detail) == ("fail", detail)


# --- how it is told -----------------------------------------------------------------------------------------


def test_lines_fit_the_terminal_and_say_what_to_do() -> None:
    lines = told("clock", warn("a " * 40, "do this"), 14, 80).splitlines()
    assert lines[0].startswith("warn  clock           a a")
    assert lines[-1].strip() == "-> do this"
    assert max(map(len, lines)) <= 80
    text = passed_over([("a", skip("no x")), ("b", ok("fine")), ("c", skip("no x"))], 80)
    assert text == "\nnot looked at:\n  a, c: no x\n\n"


def test_the_command_in_whole(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is True
    assert {"check", "state", "detail", "hint"} == set(found["checks"][0])
    (folder / "secret.key").unlink()
    assert main(["doctor", str(folder)]) == 1
    text = capsys.readouterr().out
    assert "FAIL  secret key" in text
    assert "1 failed" in text.splitlines()[-1]


def test_it_needs_no_library_of_the_server(tmp_path: Path) -> None:
    absent = "litestar", "sqlalchemy", "alembic", "aioboto3", "aiosqlite", "cryptography", "uvicorn", "uvloop"
    code = (
        f"import sys\nfor name in {absent}: sys.modules[name] = None\n"
        "from edge.cli import main\nsys.exit(main(['doctor', '--server', 'http://127.0.0.1:1', '--json']))"
    )
    environ = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environ, check=False
    )
    assert done.returncode == 1, done.stderr
    assert {each["check"] for each in json.loads(done.stdout)["checks"] if each["state"] == "fail"} == {
        "reachability"
    }

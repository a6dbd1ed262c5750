"""``make demo``: a server, an agent with three models and Replicate's own client, on this machine.

Stays up until Ctrl-C; with ``DEMO_ONCE=1`` it ends by itself. Everything it keeps is in ``demo-data/``, or
the folder that ``DEMO_DATA`` names, so the next start finds its tokens, predictions and pictures again.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent
ROOT = EXAMPLES.parent
DATA = Path(os.environ.get("DEMO_DATA") or ROOT / "demo-data")
COGFLARE = Path(sys.executable).with_name("cogflare")
MODELS = ("storyteller", "landscape", "restyle")
READY_S, CLIENT_S, STOP_S = 30.0, 90.0, 15.0


class DemoFailed(Exception):
    """One clear line; the log of the process that is to blame, if one is."""

    def __init__(self, line: str, log: Path | None = None) -> None:
        super().__init__(line)
        self.log = log


class Process:
    """A child with its log in ``demo-data/``. Ctrl-C reaches only the demo, which ends them in order."""

    def __init__(self, name: str, command: list[str], **environment: str) -> None:
        self.name = name
        self.log = DATA / f"{name}.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                start_new_session=True,
            )

    def output(self) -> str:
        """What it has said so far."""
        return self.log.read_text(errors="replace")

    def check(self) -> None:
        """Raise when the process has ended."""
        code = self._process.poll()
        if code is not None:
            raise DemoFailed(f"the {self.name} ended with exit code {code}", self.log)

    def wait_until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + READY_S
        while not holds():
            self.check()
            if time.monotonic() > deadline:
                raise DemoFailed(f"the {self.name} {what} within {READY_S:.0f} s", self.log)
            time.sleep(0.05)

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def main() -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        with ExitStack() as stack:
            try:
                run(stack)
            finally:
                # From here on the children are being ended: a second Ctrl-C must not leave one behind.
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    signal.signal(number, signal.SIG_IGN)
    except KeyboardInterrupt:
        say("\n  Stopped. `make demo` starts again with everything that is there.\n")
    except (DemoFailed, OSError) as error:
        say(f"\n  The demo stopped: {error}.")
        log = getattr(error, "log", None)
        if log:
            say(f"  The end of {show(log)}:\n")
            say("\n".join(f"    {line}" for line in log.read_text(errors="replace").splitlines()[-15:]))
        return 1
    return 0


def run(stack: ExitStack) -> None:
    """The whole demo; what it starts is ended by ``stack``."""
    DATA.mkdir(mode=0o700, exist_ok=True)
    say(f"\n  {bold('Cogflare')}  the API of Replicate, served by this machine\n")
    port = choose_port()
    url = f"http://127.0.0.1:{port}"

    started = time.monotonic()
    server = Process("server", [str(COGFLARE), "serve", "--port", str(port), "--data", str(DATA / "server")])
    stack.callback(server.stop)
    server.wait_until(lambda: answers(f"{url}/readyz"), "was not ready")
    say(f"  server  {url:<36} {dim(f'ready in {time.monotonic() - started:.1f} s')}")

    worker, client = token("demo-agent", "--worker", "default"), token("demo-client")
    started = time.monotonic()
    command = [str(COGFLARE), "agent", "--server", url, "--state", str(DATA / "agent"), "--drain-s", "5"]
    for model in MODELS:
        command += ["--model", f"demo/{model}={EXAMPLES / 'models' / model}"]
    agent = Process("agent", command, COGFLARE_TOKEN=worker)
    stack.callback(agent.stop)
    agent.wait_until(
        lambda: all(f"serving demo/{model} " in agent.output() for model in MODELS), "was not ready"
    )
    say(f"  agent   {', '.join(MODELS):<36} {dim(f'ready in {time.monotonic() - started:.1f} s')}")

    use(url, client, (server, agent))
    if os.environ.get("DEMO_ONCE") == "1":
        say(f"\n  {bold('It works.')} `make demo` without DEMO_ONCE stays up for your own requests.\n")
        return
    say(f"\n  {bold('It stays up')} until Ctrl-C. Your turn:\n")
    say(f"  export REPLICATE_BASE_URL={url}")
    say(f"  export REPLICATE_API_TOKEN={client}\n")
    say("  curl -s $REPLICATE_BASE_URL/v1/models/demo/storyteller/predictions \\")
    say('    -H "Authorization: Bearer $REPLICATE_API_TOKEN" -H "Prefer: wait" \\')
    say("""    -H "Content-Type: application/json" -d '{"input": {"prompt": "a green door"}}'\n""")
    while True:
        server.check()
        agent.check()
        time.sleep(0.5)


def use(url: str, client: str, behind: tuple[Process, ...]) -> None:
    """Run the example client, as a user would, with its output on this terminal."""
    program = [sys.executable, str(EXAMPLES / "clients" / "replicate_client.py")]
    environment = {**os.environ, "REPLICATE_BASE_URL": url, "REPLICATE_API_TOKEN": client}
    pictures = os.path.relpath(DATA / "pictures")
    process = subprocess.Popen([*program, "--output", pictures], env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + CLIENT_S
        while process.poll() is None:
            for service in behind:
                service.check()
            if time.monotonic() > deadline:
                raise DemoFailed(f"the client was not done within {CLIENT_S:.0f} s", behind[-1].log)
            time.sleep(0.05)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if process.returncode:
        raise DemoFailed(f"the client ended with exit code {process.returncode}", behind[-1].log)


def token(name: str, *options: str) -> str:
    """The demo's token of this name: made on the first start, read from its 0600 file afterwards."""
    file = DATA / f"{name}.token"
    where = ["--data", str(DATA / "server")]
    listed = json.loads(cogflare("token", "list", "--json", *where))
    alive = any(record["name"] == name and not record["revoked_at"] for record in listed)
    if file.exists() and alive:
        return file.read_text().strip()
    # Half of the pair is gone (a deleted file or data directory): make both anew.
    file.unlink(missing_ok=True)
    if alive:
        cogflare("token", "revoke", name, *where)
    cogflare("token", "create", name, "--output", str(file), *options, *where)
    return file.read_text().strip()


def cogflare(*arguments: str) -> str:
    run = subprocess.run([str(COGFLARE), *arguments], capture_output=True, text=True, timeout=READY_S)
    if run.returncode:
        raise DemoFailed(f"cogflare {' '.join(arguments[:2])} said: {run.stderr.strip()}")
    return run.stdout


def choose_port() -> int:
    """8000, which the documentation uses, or any other when that is taken."""
    for port in (8000, 0):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            chosen: int = probe.getsockname()[1]
            return chosen
    raise DemoFailed("there is no free port")


def answers(url: str) -> bool:
    with suppress(urllib.error.URLError, OSError), urllib.request.urlopen(url, timeout=5):
        return True
    return False


def show(path: Path) -> str:
    return os.path.relpath(path)


def say(text: str) -> None:
    print(text, flush=True)


def bold(text: str) -> str:
    return f"\x1b[1m{text}\x1b[0m" if sys.stdout.isatty() else text


def dim(text: str) -> str:
    return f"\x1b[2m{text}\x1b[0m" if sys.stdout.isatty() else text


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())

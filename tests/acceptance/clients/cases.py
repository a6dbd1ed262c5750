"""Carries out the cases of one Python client in this process, and tells what became of each as JSON.

Runs in the client's own environment: standard library only.
"""

import asyncio
import http.server
import inspect
import json
import sys
import threading
import time
import traceback

WORLD = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
"""What there is: url, token, and the versions of models."""
ONLY = sys.argv[2:]
"""Names of the cases to carry out; all of them without any."""
_CASES = {}


def case(*names):
    """This function is the case of these names."""

    def keep(function):
        for name in names:
            assert name not in _CASES, name
            _CASES[name] = function
        return function

    return keep


def report():
    """Carry out the cases, each function once, and print what went wrong in each, null for nothing."""
    known = {}
    for name, function in _CASES.items():
        if (not ONLY or name in ONLY) and function not in known:
            known[function] = _fault(function)
    print(json.dumps({name: known[function] for name, function in _CASES.items() if function in known}))


def _fault(function):
    try:
        found = function()
        if inspect.iscoroutine(found):
            asyncio.run(found)
    except Exception:
        return traceback.format_exc()
    return None


def until(condition, what, deadline_s=30):
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"after {deadline_s} s still not: {what}"
        time.sleep(0.02)


class Hook:
    """A receiver of one webhook."""

    def __enter__(self):
        self.requests = []
        requests = self.requests

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                requests.append((dict(self.headers.items()), body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook"
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def one(self):
        return until(lambda: self.requests, "a webhook")[0]
